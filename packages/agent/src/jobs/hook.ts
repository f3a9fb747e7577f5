// Hooks: programs that an operator wants run before and after a backup.
//
// Invariants (hook.test.ts): H1 only an absolute path of an executable file that not everybody may write is run; H2 at the
// time-out, or when cancelled, no process of its group is left; H3 no more than OUTPUT_KEPT_BYTES of its output are held;
// H4 of the agent's environment it sees nothing but HOLDFAST_* and a fixed PATH.

import type { Clock } from '@holdfast/shared/runtime/clock';
import { runProgram, type ProgramResult } from './program.ts';

export interface HookRun {
  /** Program and arguments, at least the program. */
  readonly command: readonly string[];
  /** 0: the default. */
  readonly timeoutMs: number;
  /** HOLDFAST_*, by their full names. */
  readonly environment: Readonly<Record<string, string>>;
}

const DEFAULT_TIMEOUT_MS = 300_000;

/** Runs one hook to its end; never throws. */
export async function runHook(
  run: HookRun,
  clock: Clock,
  signal: AbortSignal,
  graceMs?: number,
): Promise<ProgramResult> {
  const timeoutMs = run.timeoutMs > 0 ? run.timeoutMs : DEFAULT_TIMEOUT_MS;
  const result = await runProgram({ ...run, timeoutMs }, clock, signal, graceMs);
  return result.ok ? result : { ...result, problem: `the hook ${result.problem}` };
}
