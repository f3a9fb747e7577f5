// TreeValidator: what a restoring agent holds every entry against before it touches the disk (threat 40).
//
// Hazard: entries come from a controller that may be hostile. A name '..', two entries of one name, a file below a symlink
// that an earlier entry planted, or a "hard link" to a symlink would make a restore write outside its target.
//
// Memory: the lengths of the paths above the current one, and a short string for each hard-linked inode. None is forgotten
// once `nlink` names came: a link count from a manifest proves nothing.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { Entry } from './entry.ts';
import { entryFault } from './entry-check.ts';
import { Ancestors, ascends, checkPath, isWithin, sharedLength, shortPath } from './paths.ts';
import { statIno, statMode, statRdevMajor, statRdevMinor, S_IFDIR, S_IFMT } from './stat-record.ts';

/** Key of an entry's hard-link group; undefined when its inode has no other name. */
export function hardLinkKey(entry: Entry): string | undefined {
  return entry.hardLinkGroup === 0 ? undefined : `${entry.hardLinkGroup}:${statIno(entry.stat)}`;
}

export class TreeValidator {
  readonly #start: ByteString;
  readonly #ancestors = new Ancestors();
  /** What all names of an inode must agree on. */
  readonly #groups = new Map<string, string>();
  #last: ByteString | undefined;

  /** `start`: the path at which the walk begins ('' for all); its parents are the caller's to check. */
  constructor(start: ByteString = '') {
    checkPath(start);
    this.#start = start;
  }

  /**
   * Checks the next entry of a walk: well formed, inside `start`, strictly after the one before, its parent a directory
   * that came before it; its hard-link group, if any, of one type, link target and device.
   * Throws PATH_ESCAPES or DAMAGED.
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
    this.#checkGroup(entry);
  }

  #checkGroup(entry: Entry): void {
    const key = hardLinkKey(entry);
    if (key === undefined) return;
    const nature = `${statMode(entry.stat) & S_IFMT}:${statRdevMajor(entry.stat)}:${statRdevMinor(entry.stat)}:${entry.linkTarget}`;
    const known = this.#groups.get(key);
    if (known === undefined) this.#groups.set(key, nature);
    else if (known !== nature) throw refused(entry.path, 'is a hard link to something of another type');
  }
}

function refused(path: ByteString, why: string): HoldfastError {
  return new HoldfastError('DAMAGED', `entry "${shortPath(path)}" ${why}`);
}

function escapes(path: ByteString, why: string): HoldfastError {
  return new HoldfastError('PATH_ESCAPES', `entry "${shortPath(path)}" ${why}`);
}
