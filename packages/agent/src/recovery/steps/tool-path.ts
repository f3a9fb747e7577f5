// Where the system's own programs are.

import { accessSync, constants } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';

const DIRECTORIES = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin'];

/** Throws FAILED_PRECONDITION for a program that is not installed. @param hint how to get it */
export function toolPath(program: string, hint = ''): string {
  const found = DIRECTORIES.map((directory) => `${directory}/${program}`).find(isExecutable);
  if (found === undefined) throw new HoldfastError('FAILED_PRECONDITION', `this host has no ${program}`, { hint });
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
