// Running a program of the operator's: without a shell, in a process group of its own that is ended as a whole, with bounds on
// time and on what is kept of its output.
//
// Hazard: such a program runs with the agent's rights, may hang, may flood, and may leave children that hold a database in
// backup mode. So it is started from an absolute path that not everybody may write, and at its time-out, or when the job is
// cancelled, no process of its group is left.
//
// Tested in hook.test.ts (H1–H4) and sources/command/engine.test.ts.

import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';

export interface ProgramRun {
  /** Program and arguments, at least the program. */
  readonly command: readonly string[];
  readonly timeoutMs: number;
  /** Besides PATH and LANG: nothing of the agent's own is passed on. */
  readonly environment: Readonly<Record<string, string>>;
  /**
   * Takes standard output as it comes; else its end is kept, with standard error's. What it throws ends the program, and
   * `runProgram` throws it.
   */
  readonly onOutput?: (chunk: Buffer) => void;
}

export interface ProgramResult {
  readonly ok: boolean;
  /** One sentence when it is not ok. */
  readonly problem: string;
  /** The end of what it printed and nobody took. */
  readonly output: string;
}

export const OUTPUT_KEPT_BYTES = 16 * 1024;
/** Between SIGTERM and SIGKILL. */
const GRACE_MS = 5000;
/** How long output may still come after the program itself has ended: kept for people, or taken, and then it must end. */
const LINGER_MS = 500;
const DRAIN_MS = 30_000;
const POLL_MS = 50;
const PROGRAM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Runs a program to its end. Throws only what `onOutput` threw. */
export async function runProgram(
  run: ProgramRun,
  clock: Clock,
  signal: AbortSignal,
  graceMs = GRACE_MS,
): Promise<ProgramResult> {
  const [program = '', ...args] = run.command;
  const refusal = refusedProgram(program);
  if (refusal !== undefined) return { ok: false, problem: refusal, output: '' };
  if (signal.aborted) return { ok: false, problem: `${program} was not started: the job was cancelled`, output: '' };

  const child = spawn(program, args, {
    cwd: '/',
    env: { PATH: PROGRAM_PATH, LANG: 'C.UTF-8', ...run.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    shell: false,
  });
  const output = new OutputTail(OUTPUT_KEPT_BYTES);
  const refused = new AbortController();
  child.stdout.on('data', (chunk: Buffer) => {
    if (run.onOutput === undefined) return output.add(chunk);
    if (refused.signal.aborted) return;
    try {
      run.onOutput(chunk);
    } catch (error) {
      refused.abort(error);
    }
  });
  child.stderr.on('data', (chunk: Buffer) => output.add(chunk));
  const ended = endOf(child);
  const closed = closeOf(child);
  const until = AbortSignal.any([signal, refused.signal]);
  const interruption = await firstOf(ended, run.timeoutMs, clock, until);
  if (interruption !== undefined) await endGroup(child, clock, graceMs);
  const how = await ended;
  const drainMs = run.onOutput === undefined || interruption !== undefined ? LINGER_MS : DRAIN_MS;
  const drained = await Promise.race([closed.then(() => true), sleep(clock, drainMs).then(() => false)]);
  child.stdout.destroy();
  child.stderr.destroy();
  refused.signal.throwIfAborted();
  const verdict = judge(program, how, interruption, run.timeoutMs);
  if (verdict.ok && !drained && run.onOutput !== undefined) {
    const problem = `${program} ended, but something that it started holds its output open`;
    return { ok: false, problem, output: output.text() };
  }
  return { ...verdict, output: output.text() };
}

/** Why the program may not be run, or undefined. */
export function refusedProgram(program: string): string | undefined {
  if (!isAbsolute(program)) return `${JSON.stringify(program)} is not an absolute path`;
  try {
    const stat = statSync(program);
    if (!stat.isFile()) return `${program} is not a file`;
    if ((stat.mode & 0o002) !== 0)
      return `${program} may be changed by everybody (mode ${(stat.mode & 0o7777).toString(8)})`;
    accessSync(program, constants.X_OK);
    return undefined;
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    return `${program} cannot be run (${why})`;
  }
}

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly error?: Error;
}

type Interruption = 'time' | 'cancelled';

function endOf(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', (error) => resolve({ code: null, signal: null, error }));
  });
}

function closeOf(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('close', () => resolve());
    if (child.stdout?.closed === true && child.stderr?.closed === true) resolve();
  });
}

async function firstOf(
  ended: Promise<Ending>,
  timeoutMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Interruption | undefined> {
  const waiting = new AbortController();
  const stop = AbortSignal.any([waiting.signal, signal]);
  const timedOut = sleep(clock, timeoutMs, stop).then((): Interruption => (signal.aborted ? 'cancelled' : 'time'));
  const first = await Promise.race([ended.then(() => undefined), timedOut]);
  waiting.abort();
  return first;
}

async function endGroup(child: ChildProcess, clock: Clock, graceMs: number): Promise<void> {
  if (child.pid === undefined) return;
  killGroup(child.pid, 'SIGTERM');
  const until = clock.monotonicMs() + graceMs;
  while (killGroup(child.pid, 0) && clock.monotonicMs() < until) await sleep(clock, POLL_MS);
  killGroup(child.pid, 'SIGKILL');
}

/** Whether the group was there. */
function killGroup(leader: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-leader, signal);
    return true;
  } catch {
    return false;
  }
}

function judge(
  program: string,
  how: Ending,
  interruption: Interruption | undefined,
  timeoutMs: number,
): Pick<ProgramResult, 'ok' | 'problem'> {
  if (interruption === 'cancelled') return { ok: false, problem: `${program} was ended: the job was cancelled` };
  if (interruption === 'time') {
    return { ok: false, problem: `${program} was ended after its ${Math.round(timeoutMs / 1000)} s` };
  }
  if (how.error !== undefined) return { ok: false, problem: `${program} could not be started: ${how.error.message}` };
  if (how.signal !== null) return { ok: false, problem: `${program} was ended by ${how.signal}` };
  if (how.code !== 0) return { ok: false, problem: `${program} ended with exit code ${how.code}` };
  return { ok: true, problem: '' };
}

/** The last bytes of a stream of any length. */
export class OutputTail {
  readonly #limit: number;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #dropped = false;

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  get heldBytes(): number {
    return this.#keptBytes;
  }

  add(chunk: Buffer): void {
    this.#kept.push(chunk);
    this.#keptBytes += chunk.length;
    if (this.#keptBytes <= 2 * this.#limit) return;
    const tail = Buffer.concat(this.#kept).subarray(-this.#limit);
    this.#kept = [Buffer.from(tail)];
    this.#keptBytes = tail.length;
    this.#dropped = true;
  }

  text(): string {
    const all = Buffer.concat(this.#kept);
    const dropped = this.#dropped || all.length > this.#limit;
    return (dropped ? '… ' : '') + all.subarray(-this.#limit).toString('utf8');
  }
}
