// Accounts of this machine, for servers that refuse to run as root.

import { readFileSync } from 'node:fs';

/** As whom a process runs, and whose its files are. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** undefined: /etc/passwd has no such name. */
export function accountNamed(name: string): Account | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}
