// What a piece of work cost: wall time, processor time and peak memory of every process that took part, as the kernel counts them.

import { spawn } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';

/** What counts together: a process that outlives the work, what it has started, or both. */
export interface Subject {
  readonly name: string;
  readonly pid: number;
  readonly counts: 'itself' | 'below' | 'all';
}

export interface Cost {
  readonly wallSeconds: number;
  /** User and system time of all subjects (or of the command itself). */
  readonly cpuSeconds: number;
  /** By subject's name; the largest resident set in MiB during the work. */
  readonly peakMiB: Readonly<Record<string, number>>;
  readonly output: string;
}

const TICKS_PER_SECOND = 100;
/** A look takes 2 ms of the machine that is measured; the kernel keeps each process's peak, so what a look can miss has ended since the last. */
const SAMPLE_MS = 100;

/** Runs `command` and adds up what the subjects (long-running processes) used meanwhile, and the command itself. */
export async function measure(command: readonly string[], subjects: readonly Subject[], cwd: string): Promise<Cost> {
  const tree = processTree();
  const before = subjects.map((subject) => cpuSecondsOf(pidsOf(subject, tree)));
  for (const subject of subjects) pidsOf(subject, tree).forEach(resetPeak);
  const peak: Record<string, number> = Object.fromEntries(subjects.map(({ name }) => [name, 0]));
  const look = (looked: readonly Subject[]): void => {
    const now = processTree();
    for (const one of looked) {
      peak[one.name] = Math.max(peak[one.name] ?? 0, sum(pidsOf(one, now).map(peakMiBOf)));
    }
  };

  const started = performance.now();
  // `time` of bash sees the whole process tree of the command, also what has already ended.
  const child = spawn('bash', ['-c', 'TIMEFORMAT="%U %S"; time "$@" 2>&1', 'bash', ...command], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let times = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  child.stderr.on('data', (data: Buffer) => (times += data.toString()));
  const shortLived: readonly Subject[] = [
    ...subjects.filter(({ counts }) => counts !== 'itself'),
    { name: 'command', pid: child.pid!, counts: 'all' },
  ];
  const sampler = setInterval(() => look(shortLived), SAMPLE_MS);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  clearInterval(sampler);
  const wallSeconds = (performance.now() - started) / 1000;
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}:\n${output.slice(-2000)}`);

  look(subjects);
  const after = processTree();
  const own = sum(times.trim().split('\n').at(-1)!.split(' ').map(Number));
  const others = sum(subjects.map((subject, index) => cpuSecondsOf(pidsOf(subject, after)) - before[index]!));
  return { wallSeconds, cpuSeconds: own + others, peakMiB: peak, output };
}

/** Of every process now, those that it has started. */
function processTree(): ReadonlyMap<number, readonly number[]> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(statFields(Number(name))?.[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  return children;
}

function pidsOf({ pid, counts }: Subject, tree: ReadonlyMap<number, readonly number[]>): number[] {
  if (counts === 'itself') return [pid];
  const found = [pid];
  for (let i = 0; i < found.length; i++) found.push(...(tree.get(found[i]!) ?? []));
  return counts === 'below' ? found.slice(1) : found;
}

/** Fields of /proc/PID/stat from the state on, or undefined when the process is gone. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** With the time of children that ended and were waited for. */
function cpuSecondsOf(pids: readonly number[]): number {
  const ticks = pids.map((pid) => sum((statFields(pid) ?? []).slice(11, 15).map(Number)));
  return sum(ticks) / TICKS_PER_SECOND;
}

function peakMiBOf(pid: number): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return Number(match?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

function resetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // Another user's process (PostgreSQL's, say) when not root: its peak then counts from its start.
  }
}

/** Proportional set size in MiB, as the kernel shares pages out (https://docs.kernel.org/filesystems/proc.html). */
export function pssMiBOf(pid: number): number {
  const match = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
