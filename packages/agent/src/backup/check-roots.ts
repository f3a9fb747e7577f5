// Whether what a source of several paths names is there at all.
//
// Hazard: a walk of several paths goes down from / by single names and follows no link, so a path that is gone, unmounted or
// behind a symbolic link simply adds nothing, and the backup looks whole. A single path needs none of this: it is followed,
// and when it is missing the walk can't begin.

import { lstatSync, realpathSync } from 'node:fs';
import { displayPath, fromBytes, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Warnings } from '../jobs/warnings.ts';
import type { ScanWarning } from './scan.ts';

/** `roots`: relative to /. Throws NOT_FOUND when none of them is there. */
export function checkRoots(roots: readonly ByteString[], warnings: Warnings<ScanWarning>): void {
  const missing = roots.filter((root) => {
    const fault = faultOf(root);
    if (fault !== undefined) warnings.add(fault.code, root, fault.message);
    return fault?.code === 'missing';
  });
  if (missing.length > 0 && missing.length === roots.length) {
    throw new HoldfastError('NOT_FOUND', `none of the source's paths is there: ${missing.map(absolute).join(', ')}`, {
      hint: 'Is a file system not mounted? Nothing was backed up; earlier snapshots are as they were.',
    });
  }
}

function faultOf(root: ByteString): { readonly code: 'missing' | 'left-out'; readonly message: string } | undefined {
  const parent = `/${root.slice(0, Math.max(0, root.lastIndexOf('/')))}`;
  try {
    const real = fromBytes(realpathSync.native(toBytes(parent), 'buffer'));
    if (real !== parent) {
      const message = `it lies behind a symbolic link, which a source of several paths does not follow: ${displayPath(parent)} is ${displayPath(real)}`;
      return { code: 'missing', message };
    }
    if (!lstatSync(toBytes(`/${root}`)).isSymbolicLink()) return undefined;
    return { code: 'left-out', message: 'it is a symbolic link: the link is in the snapshot, what it leads to is not' };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // Anything else is the walk's to say, about the very entry that it meets.
    return code === 'ENOENT' || code === 'ENOTDIR' ? { code: 'missing', message: 'it is not there' } : undefined;
  }
}

function absolute(root: ByteString): string {
  return `/${displayPath(root)}`;
}
