// Looks at a sandbox from outside: is it closed? What was asked of programs is not taken for done.

import { readFileSync, readlinkSync } from 'node:fs';

const NAMESPACES = ['net', 'pid', 'mnt', 'ipc', 'uts'];

/** In words, what leads out of the sandbox whose first process is `pid`; empty: nothing. */
export function wallsOf(pid: number): string[] {
  const shared = NAMESPACES.filter(
    (name) => readlinkSync(`/proc/${pid}/ns/${name}`) === readlinkSync(`/proc/self/ns/${name}`),
  );
  const devices = readFileSync(`/proc/${pid}/net/dev`, 'latin1')
    .split('\n')
    .flatMap((line) => /^\s*([^\s:]+):/.exec(line)?.[1] ?? [])
    .filter((name) => name !== 'lo');
  return [
    ...shared.map((name) => `it shares the ${name} namespace of this host`),
    ...devices.map((name) => `it has the network device ${name}`),
  ];
}
