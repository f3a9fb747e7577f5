// Programs of a plan: each in a session of its own, so that it outlives this agent, and what became of it is known to the next one.
//
// Hazards: a program started a second time because nobody knew that it runs; a daemon that dies at its first line of log because the
// agent that read it is gone; a program that hangs, floods, or leaves children. So a small supervisor stands between: it starts the program
// only when told to, after its own number is on disk; it notes the exit code in a file; and it drains the output for as long as somebody
// writes any, keeping the first and the last of it.
//
// Invariants (supervised-program.test.ts): U1 nothing starts when `onReady` throws, or the agent dies before; U2 at the end of its time, or
// cancelled, no process of its group is left; U3 the exit code of a program whose agent died is found by the next; U4 of any output at most
// OUTPUT_KEPT_BYTES are kept; U5 what the program leaves running stays, and may go on writing; U6 no shell reads the program's words.
//
// The supervisor is the system's shell with a fixed text. Program and arguments are its positional parameters and are never parsed.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import { refusedProgram } from '../../jobs/program.ts';
import { groupLives, identityOf, isAlive, type ProcessIdentity } from './process-identity.ts';

export interface SupervisedRun {
  /** Program (absolute) and arguments. */
  readonly command: readonly string[];
  /** What it leaves are files whose paths begin like this: .exit, .first, .last. The directory must be there. */
  readonly base: string;
  /** Besides PATH and LANG: nothing of the agent's own is passed on. */
  readonly environment: Readonly<Record<string, string>>;
  /** Called before the program starts; it starts when this returns. What it throws is thrown, and nothing was started. */
  onReady(supervisor: ProcessIdentity): void;
}

/** What of a run belongs to the step that it is a part of. */
export type NotedProgram = Pick<SupervisedRun, 'base' | 'onReady'>;

export type Ending =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'interrupted'; readonly why: 'time' | 'cancelled' }
  /** Killed by somebody, or the machine was restarted. */
  | { readonly kind: 'vanished' };

const PROGRAM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Between SIGTERM and SIGKILL. */
const GRACE_MS = 5000;
const POLL_MS = 50;
/** How long the end of the output may take after the program's own. */
const LINGER_MS = 500;
const HALF_BYTES = 32 * 1024;
export const OUTPUT_KEPT_BYTES = 2 * HALF_BYTES;

// Descriptor 3 is the agent's: a line on it starts the program, and the code goes back on it. What the agent's own unit asks for, to be
// nice and to be killed first, is not for what a plan starts.
const SUPERVISOR = `
read -r go <&3 || exit 125
umask 022
{ echo 0 >/proc/self/oom_score_adj; renice -n 0 -p $$; } >/dev/null 2>&1
{
  "$@" 3>&- </dev/null
  code=$?
  echo "$code" >"$0.exit.new" && mv -f "$0.exit.new" "$0.exit"
  echo "$code" >&3
} 2>&1 | {
  trap "" TERM
  exec 3>&-
  dd bs=1024 count=256 of="$0.first" 2>/dev/null
  tail -c ${HALF_BYTES} >"$0.last"
} &
exec 3>&- >/dev/null 2>&1
wait
`;

/** Runs a program to its end. Throws FAILED_PRECONDITION for one that may not be run, and what `onReady` throws. */
export async function runSupervised(
  run: SupervisedRun,
  timeoutMs: number,
  clock: Clock,
  signal: AbortSignal,
  graceMs = GRACE_MS,
): Promise<Ending> {
  const refusal = refusedProgram(run.command[0] ?? '');
  if (refusal !== undefined) throw new HoldfastError('FAILED_PRECONDITION', refusal);
  if (signal.aborted) return { kind: 'interrupted', why: 'cancelled' };
  forgetOutput(run.base);
  const child = spawn('/bin/sh', ['-c', SUPERVISOR, run.base, ...run.command], {
    cwd: '/',
    env: { PATH: PROGRAM_PATH, LANG: 'C.UTF-8', ...run.environment },
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    detached: true,
    shell: false,
  });
  const failed = new Promise<Error>((resolve) => child.once('error', resolve));
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const line = child.stdio[3] as Socket;
  line.on('error', () => undefined);
  const supervisor = child.pid === undefined ? undefined : identityOf(child.pid);
  if (supervisor === undefined) {
    const why = child.pid === undefined ? (await failed).message : 'it ended at once';
    throw new HoldfastError('SYSTEM_CALL_FAILED', `${run.command[0]} could not be started: ${why}`);
  }
  const code = codeFrom(line, gone);
  try {
    run.onReady(supervisor);
  } catch (error) {
    line.destroy();
    throw error;
  }
  line.write('go\n');
  return await endOf(child, supervisor.pid, run.base, code, { timeoutMs, graceMs, clock, signal, gone });
}

interface Waiting {
  readonly timeoutMs: number;
  readonly graceMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly gone: Promise<void>;
}

async function endOf(
  child: ChildProcess,
  pid: number,
  base: string,
  code: Promise<number | undefined>,
  { timeoutMs, graceMs, clock, signal, gone }: Waiting,
): Promise<Ending> {
  const over = new AbortController();
  const timedOut = sleep(clock, timeoutMs, AbortSignal.any([over.signal, signal])).then(() => 'late' as const);
  const first = await Promise.race([code, timedOut]);
  over.abort();
  if (first === 'late') {
    const why = signal.aborted ? 'cancelled' : 'time';
    await endGroup(pid, clock, graceMs);
    await gone;
    return { kind: 'interrupted', why };
  }
  await Promise.race([gone, sleep(clock, LINGER_MS)]);
  // Whoever still writes is drained by the supervisor, which needs us no more.
  child.unref();
  (child.stdio[3] as Socket).destroy();
  const known = first ?? exitCode(base);
  return known === undefined ? { kind: 'vanished' } : { kind: 'exited', code: known };
}

/** The code that the supervisor sends; undefined when it ends without. */
function codeFrom(line: Socket, gone: Promise<void>): Promise<number | undefined> {
  return new Promise((resolve) => {
    let said = '';
    const settle = (): void => resolve(/^\d+$/.test(said.trim()) ? Number(said) : undefined);
    line.on('data', (bytes: Buffer) => {
      said += bytes.toString('latin1').slice(0, 16);
      if (said.includes('\n')) settle();
    });
    line.once('close', settle);
    void gone.then(settle);
  });
}

/**
 * Waits for a program that an earlier agent started.
 * @param leftMs until it is ended, as it would have been; 0: at once
 */
export async function adopt(
  supervisor: ProcessIdentity,
  base: string,
  leftMs: number,
  clock: Clock,
  signal: AbortSignal,
  graceMs = GRACE_MS,
): Promise<Ending> {
  const until = clock.monotonicMs() + leftMs;
  while (isAlive(supervisor) && exitCode(base) === undefined) {
    if (signal.aborted || clock.monotonicMs() >= until) {
      const why = signal.aborted ? 'cancelled' : 'time';
      await endGroup(supervisor.pid, clock, graceMs);
      return { kind: 'interrupted', why };
    }
    await sleep(clock, 4 * POLL_MS, signal);
  }
  const code = exitCode(base);
  return code === undefined ? { kind: 'vanished' } : { kind: 'exited', code };
}

/** Of a program that has ended; undefined: it was killed, or never started. */
export function exitCode(base: string): number | undefined {
  try {
    const text = readFileSync(`${base}.exit`, 'latin1').trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined;
  }
}

/** The first and the last of what the program said. */
export function outputOf(base: string): Buffer {
  const first = readKept(`${base}.first`);
  const last = readKept(`${base}.last`);
  const all = Buffer.concat([first, last]);
  if (all.length <= OUTPUT_KEPT_BYTES) return all;
  return Buffer.concat([all.subarray(0, HALF_BYTES), all.subarray(-HALF_BYTES)]);
}

export function forgetOutput(base: string): void {
  for (const part of ['exit', 'exit.new', 'first', 'last']) rmSync(`${base}.${part}`, { force: true });
}

function readKept(path: string): Buffer {
  return existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
}

async function endGroup(leader: number, clock: Clock, graceMs: number): Promise<void> {
  signalGroup(leader, 'SIGTERM');
  const until = clock.monotonicMs() + graceMs;
  while (groupLives(leader) && clock.monotonicMs() < until) await sleep(clock, POLL_MS);
  signalGroup(leader, 'SIGKILL');
}

function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal);
  } catch {
    // Nobody is left.
  }
}
