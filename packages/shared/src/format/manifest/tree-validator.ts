// TreeValidator: what a restoring agent holds every entry against before it touches the disk (threat 40).

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { Entry } from './entry.ts';

/** Throws PATH_ESCAPES for '..', '.', an empty component, a leading slash, NUL; DAMAGED for one that is too long. */
export function checkPath(_path: ByteString): void {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** Key of an entry's hard-link group; undefined when its inode has no other name. */
export function hardLinkKey(_entry: Entry): string | undefined {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

export class TreeValidator {
  /** `start`: the path at which the walk begins ('' for all); its parents are the caller's to check. */
  constructor(_start: ByteString = '') {}

  /**
   * Checks the next entry of a walk: path well formed and inside `start`, strictly after the one before, its parent a
   * directory that came before it; its hard-link group, if any, of one type, target and device.
   * Throws PATH_ESCAPES or DAMAGED.
   */
  next(_entry: Entry): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }
}
