// Processes that outlive whoever started them, and are ended by whoever comes later.
//
// Hazard: a pid alone proves nothing. After a while, or after a restart of the machine, it is somebody else's. So a process is
// remembered with its start time in clock ticks since boot, and the boot's id, and it is ours only while all three agree.
//
// Tested in processes.test.ts.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessRecord {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat (proc_pid_stat(5)). */
  readonly startTicks: number;
  readonly bootId: string;
}

export interface SpawnOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Appended to. */
  readonly logFile: string;
  /** Where the record goes, before this returns. */
  readonly runFile: string;
}

/** Starts a process in a session of its own, its output in the log file. */
export function spawnRecorded(options: SpawnOptions): ProcessRecord {
  mkdirSync(dirname(options.logFile), { recursive: true });
  mkdirSync(dirname(options.runFile), { recursive: true });
  const log = openSync(options.logFile, 'a', 0o600);
  try {
    const child = spawn(options.command, options.args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: ['ignore', log, log],
    });
    child.on('error', () => undefined); // reported below: there is no pid then
    child.unref();
    const { pid } = child;
    const startTicks = pid === undefined ? undefined : startTicksOf(pid);
    if (pid === undefined || startTicks === undefined) throw new Error(`could not start ${options.command}`);
    const record = { pid, startTicks, bootId: bootId() };
    writeFileSync(`${options.runFile}.new`, JSON.stringify(record));
    renameSync(`${options.runFile}.new`, options.runFile);
    return record;
  } finally {
    closeSync(log);
  }
}

/** The recorded process, if it still runs. */
export function recordedProcess(runFile: string): ProcessRecord | undefined {
  if (!existsSync(runFile)) return undefined;
  const value: unknown = JSON.parse(readFileSync(runFile, 'utf8') || 'null');
  if (typeof value !== 'object' || value === null) return undefined;
  const { pid, startTicks, bootId: boot } = value as Partial<ProcessRecord>;
  if (pid === undefined || startTicks === undefined || boot === undefined) return undefined;
  const record = { pid, startTicks, bootId: boot };
  return runs(record) ? record : undefined;
}

/** A process that somebody else started and that is to be watched or ended from here on. */
export function adoptProcess(pid: number): ProcessRecord | undefined {
  const startTicks = startTicksOf(pid);
  return startTicks === undefined ? undefined : { pid, startTicks, bootId: bootId() };
}

export function runs(record: ProcessRecord): boolean {
  return record.bootId === bootId() && startTicksOf(record.pid) === record.startTicks;
}

/** Sends a signal to the process if it is still the one; whether it was. */
export function signal(record: ProcessRecord, name: NodeJS.Signals): boolean {
  if (!runs(record)) return false;
  try {
    process.kill(record.pid, name);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

/** Asks the process to end, and after `graceMs` makes it. Returns when it is gone. */
export async function endProcess(record: ProcessRecord, first: NodeJS.Signals, graceMs: number): Promise<void> {
  if (!signal(record, first)) return;
  if (await gone(record, graceMs)) return;
  signal(record, 'SIGKILL');
  if (!(await gone(record, KILL_WAIT_MS))) throw new Error(`process ${record.pid} does not end, not even on SIGKILL`);
}

const KILL_WAIT_MS = 10_000;
const POLL_MS = 20;

/** Waits for the end of the process; whether it came within `timeoutMs`. */
export async function gone(record: ProcessRecord, timeoutMs: number): Promise<boolean> {
  const until = performance.now() + timeoutMs;
  while (runs(record)) {
    if (performance.now() > until) return false;
    await sleep(POLL_MS);
  }
  return true;
}

export function forget(runFile: string): void {
  rmSync(runFile, { force: true });
}

/** Undefined for a process that is not there, or is only waiting to be reaped. */
function startTicksOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything, parentheses and blanks as well.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19]);
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
