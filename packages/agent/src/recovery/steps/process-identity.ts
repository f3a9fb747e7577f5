// Which process is meant, also after this one was restarted, and after the machine was.
//
// Hazard: a process number is given again. With when the process began, in ticks since boot, and the boot's id it is nobody else's.
//
// Tested in supervised-program.test.ts.

import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** In ticks since boot: /proc/PID/stat, field 22. */
  readonly startTime: string;
  /** /proc/sys/kernel/random/boot_id */
  readonly bootId: string;
}

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** Milliseconds since boot, sleep included: the one clock that two processes of a machine share and nobody sets. */
export function sinceBootMs(): number {
  return Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000);
}

/** Undefined when there is no such process, or only what is left of it. */
export function identityOf(pid: number): ProcessIdentity | undefined {
  try {
    const fields = statFields(pid);
    return fields === undefined ? undefined : { pid, startTime: fields[19] ?? '', bootId: bootId() };
  } catch {
    return undefined;
  }
}

/** Whether anybody of a process group lives. What init has not collected yet does not. */
export function groupLives(leader: number): boolean {
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return statFields(name)?.[2] === String(leader);
    } catch {
      return false;
    }
  });
}

/** From the state on; undefined for a process that has ended. */
function statFields(pid: number | string): string[] | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The name in brackets may hold anything, also brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields;
}

export function isAlive(process: ProcessIdentity): boolean {
  const now = identityOf(process.pid);
  return now !== undefined && now.startTime === process.startTime && now.bootId === process.bootId;
}
