// Which errors of one entry mean that no other will go through either.

import type { HoldfastError } from '@holdfast/shared/base/errors';
import { EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS, ESTALE, errnoName } from '../../os/errno.ts';

const ends: ReadonlySet<unknown> = new Set([ENOSPC, EDQUOT, EROFS, ESTALE, EMFILE, ENFILE, ENOMEM].map(errnoName));

/** Disk full, quota, read-only, the target gone, out of descriptors or memory: the rest need not be tried. */
export function endsRestore(error: HoldfastError): boolean {
  return ends.has(error.details['errno']);
}
