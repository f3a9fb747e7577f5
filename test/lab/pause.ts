// Stops and continues every process of a host, as SIGSTOP does: the kernel goes on with what it was told, connections are still accepted.
//
// Hazard: one that escapes, because it was being made while the others were stopped. So the host is looked at until a whole look
// finds nothing that runs.
//
// Tested in lab.test.ts.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 10_000;

interface Seen {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
}

/** @param init pid of the host's process 1, seen from here */
export async function pauseProcesses(init: number): Promise<void> {
  const until = performance.now() + PAUSE_MS;
  for (;;) {
    const running = processesOf(init).filter(({ state }) => !'TtZX'.includes(state));
    if (running.length === 0) return;
    if (performance.now() > until) throw new Error(`processes ${running.map(({ pid }) => pid).join(', ')} do not stop`);
    for (const { pid } of running) send(pid, 'SIGSTOP');
    await sleep(1);
  }
}

export function resumeProcesses(init: number): void {
  // Process 1 last: its children are there when it looks.
  for (const { pid } of processesOf(init).toReversed()) send(pid, 'SIGCONT');
}

/** Those of the host's process namespace and of namespaces made within it. Process 1 comes first. */
function processesOf(init: number): Seen[] {
  const namespace = namespaceOf(init);
  if (namespace === undefined) return [];
  const all = readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? lookAt(Number(name)) : []));
  const members = new Set(all.filter(({ pid }) => namespaceOf(pid) === namespace).map(({ pid }) => pid));
  // What is in a namespace within has its first process below one of ours.
  for (let grew = true; grew;) {
    const before = members.size;
    for (const { pid, parent } of all) if (members.has(parent)) members.add(pid);
    grew = members.size > before;
  }
  return all.filter(({ pid }) => members.has(pid)).toSorted((a, b) => Number(b.pid === init) - Number(a.pid === init));
}

function lookAt(pid: number): Seen[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return [{ pid, parent: Number(parent), state: state ?? 'X' }];
  } catch {
    return []; // it has ended
  }
}

function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}
