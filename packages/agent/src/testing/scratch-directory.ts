// A directory for one test, removed afterwards however hard that is (immutable files, 400 levels).

import { mkdtempSync, readdirSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromText } from '@holdfast/shared/base/byte-string';
import { RestoreTarget } from '../restore/target/restore-target.ts';

const made: string[] = [];

/** An empty directory, absolute and without links in its path. */
export function scratchDirectory(): string {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'holdfast-test-'));
  made.push(path);
  return path;
}

/** Removes all that were made. For `afterEach`. */
export function removeScratchDirectories(): void {
  for (const path of made.splice(0)) removeEverything(path);
}

export function removeEverything(path: string): void {
  const slash = path.lastIndexOf('/');
  const target = RestoreTarget.open(fromText(path.slice(0, slash) || '/'), {
    into: 'merge',
    onWarning: () => undefined,
  });
  try {
    target.remove(fromText(path.slice(slash + 1)));
  } finally {
    target.close();
  }
}

/** Descriptors that this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
