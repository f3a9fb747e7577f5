// TreeValidator: what a restoring agent holds every entry against before it touches the disk (threat 40).
//
// Hazard: entries come from a controller that may be hostile. A name '..', two entries of one name, or a file below a symlink
// that an earlier entry planted would make a restore write outside its target. So would a "hard link" to a symlink: but names are
// of one group only while they agree on what they are (hardLinkKey), so there is no such link to make.
//
// Memory: the lengths of the paths above the current one.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { Entry } from './entry.ts';
import { entryFault } from './entry-check.ts';
import { Ancestors, ascends, checkPath, isWithin, sharedLength, shortPath } from './paths.ts';
import { statIno, statMode, statRdevMajor, statRdevMinor, S_IFDIR, S_IFMT } from './stat-record.ts';

/**
 * What the names of one inode have in common: its number, and what cannot differ between names of it, that is type, device and
 * link target. Undefined when it has no other name. In the snapshot of a tree that was in use, a number may have gone from one inode to
 * another, of another nature, between two names: those are two inodes.
 */
export function hardLinkKey(entry: Entry): string | undefined {
  if (entry.hardLinkGroup === 0) return undefined;
  const { stat, linkTarget } = entry;
  const nature = `${statMode(stat) & S_IFMT}:${statRdevMajor(stat)}:${statRdevMinor(stat)}:${linkTarget}`;
  return `${entry.hardLinkGroup}:${statIno(stat)}:${nature}`;
}

export class TreeValidator {
  readonly #start: ByteString;
  readonly #ancestors = new Ancestors();
  #last: ByteString | undefined;

  /** `start`: the path at which the walk begins ('' for all); its parents are the caller's to check. */
  constructor(start: ByteString = '') {
    checkPath(start);
    this.#start = start;
  }

  /**
   * Checks the next entry of a walk: well formed, inside `start`, strictly after the one before, its parent a directory
   * that came before it. Throws PATH_ESCAPES or DAMAGED.
   */
  next(entry: Entry): void {
    const { path } = entry;
    const fault = entryFault(entry);
    if (fault !== undefined) throw refused(path, fault);
    const isDirectory = (statMode(entry.stat) & S_IFMT) === S_IFDIR;
    if (this.#last === undefined) {
      checkPath(path);
      if (path !== this.#start) throw escapes(path, `comes where "${shortPath(this.#start)}" should`);
      this.#ancestors.reset(path, isDirectory);
    } else {
      const shared = sharedLength(this.#last, path);
      if (!ascends(this.#last, path, shared)) throw refused(path, `comes after "${shortPath(this.#last)}"`);
      checkPath(path, shared);
      if (!isWithin(path, this.#start)) throw escapes(path, `is outside "${shortPath(this.#start)}"`);
      if (!this.#ancestors.holds(path, shared)) throw escapes(path, 'stands below something that is no directory');
      this.#ancestors.enter(path, isDirectory);
    }
    this.#last = path;
  }
}

function refused(path: ByteString, why: string): HoldfastError {
  return new HoldfastError('DAMAGED', `entry "${shortPath(path)}" ${why}`);
}

function escapes(path: ByteString, why: string): HoldfastError {
  return new HoldfastError('PATH_ESCAPES', `entry "${shortPath(path)}" ${why}`);
}
