// An advisory lock on a file, held by the process and released by the kernel however the process ends.
//
// Hazard: a lock that is a file with a pid in it is stale after a crash, and mending a stale one races. flock(2) has no
// stale state. Node opens files close-on-exec, so no child keeps the lock.

import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { HoldfastError } from '@holdfast/shared/base/errors';

const LOCK_EXCLUSIVE = 2;
const LOCK_NOT_BLOCKING = 4;

const flock: (fd: number, operation: number) => number = koffi.load(null).func('flock', 'int', ['int', 'int']);

/** Takes the lock and keeps it until `release` is called or the process ends. Returns undefined when another process holds it. */
export function lockFile(path: string): { release(): void } | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'a', 0o600);
  } catch (cause) {
    throw new HoldfastError('SYSTEM_CALL_FAILED', `cannot open the lock file ${path}`, { cause });
  }
  if (flock(fd, LOCK_EXCLUSIVE | LOCK_NOT_BLOCKING) === 0) return { release: () => closeSync(fd) };
  closeSync(fd);
  return undefined;
}
