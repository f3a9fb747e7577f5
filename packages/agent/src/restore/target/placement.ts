// Giving a new inode its name in a target: directly where nothing stands, else under a temporary name that is renamed over
// what is there.
//
// Hazard: what stands at the path may be a hard link to a foreign file or a symbolic link (threat 37): opening it for writing
// would write elsewhere. It is never opened; its name is taken over by a rename, which touches no content.
//
// Invariants (restore-target.test.ts): N1 an existing inode is never written to; N2 what is of another type is replaced only when
// that was asked for; N3 nothing keeps its temporary name, whatever fails.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { S_IFDIR, S_IFMT, typeOfMode } from '@holdfast/shared/format/manifest/stat-record';
import { CName } from '../../os/c-name.ts';
import { renameAt, unlinkAt } from '../../os/directory-entries.ts';
import { EACCES, EEXIST, ENOENT, EPERM, succeed, systemCallError } from '../../os/errno.ts';
import { Statx } from '../../os/statx.ts';
import { removeTree, unlockEntry } from './remove-tree.ts';
import type { TargetDirectory } from './target-directories.ts';
import { temporaryName } from './temporary-name.ts';

/** Where an inode was made: under its own name, or under a temporary one. */
export interface Placed {
  readonly directory: TargetDirectory;
  readonly path: ByteString;
  readonly name: ByteString;
  /** undefined once it has its own name. */
  temporary: ByteString | undefined;
}

export class Placement {
  readonly #merging: boolean;
  readonly #replaceOtherTypes: boolean;
  readonly #statx = new Statx();
  readonly #cName = new CName();

  constructor(merging: boolean, replaceOtherTypes: boolean) {
    this.#merging = merging;
    this.#replaceOtherTypes = replaceOtherTypes;
  }

  /**
   * Runs `make`, which creates something under the name it is given and answers ≥ 0 or −errno. `type` is S_IFMT bits.
   * Throws ALREADY_EXISTS where something stands that may not be replaced.
   */
  create(
    directory: TargetDirectory,
    name: ByteString,
    path: ByteString,
    type: number,
    syscall: string,
    make: (name: ByteString) => number,
  ): { readonly placed: Placed; readonly result: number } {
    const result = make(name);
    if (result >= 0) return { placed: { directory, path, name, temporary: undefined }, result };
    if (result !== -EEXIST || !this.#merging) throw systemCallError(result, syscall, 'create', path);
    this.#mayReplace(directory, name, path, type);
    const temporary = temporaryName();
    const again = succeed(make(temporary), syscall, 'create', path);
    return { placed: { directory, path, name, temporary }, result: again };
  }

  /** Gives what was made its own name. On failure it is removed, and the error is thrown. */
  finish(placed: Placed, type: number): void {
    const { directory, name, path, temporary } = placed;
    if (temporary === undefined) return;
    try {
      const existing = this.#mayReplace(directory, name, path, type);
      if (existing !== undefined && existing !== type) removeTree(directory.fd, name, path, directory.device);
      let result = renameAt(directory.fd, temporary, directory.fd, name);
      if (result === -EPERM || result === -EACCES) {
        unlockEntry(directory.fd, name);
        result = renameAt(directory.fd, temporary, directory.fd, name);
      }
      succeed(result, 'renameat', 'replace', path);
      // Two names of one inode: rename does nothing, and the temporary name is still there.
      if (existing !== undefined) unlinkAt(directory.fd, temporary);
      placed.temporary = undefined;
    } catch (error) {
      this.remove(placed);
      throw error;
    }
  }

  /** Takes away what was made. */
  remove(placed: Placed): void {
    unlinkAt(placed.directory.fd, placed.temporary ?? placed.name);
  }

  /** Type of what stands at the name; undefined when nothing does. Throws ALREADY_EXISTS when it may not be replaced. */
  #mayReplace(directory: TargetDirectory, name: ByteString, path: ByteString, type: number): number | undefined {
    const result = this.#statx.at(directory.fd, this.#cName.of(name));
    if (result === -ENOENT) return undefined;
    succeed(result, 'statx', 'look at', path);
    const existing = this.#statx.mode & S_IFMT;
    if (existing !== type && !this.#replaceOtherTypes) throw otherType(path, existing, type);
    return existing;
  }
}

export function otherType(path: ByteString, existing: number, wanted: number): HoldfastError {
  const shown = displayPath(path);
  const there = typeOfMode(existing) ?? 'something unknown';
  return new HoldfastError(
    'ALREADY_EXISTS',
    `${shown} is a ${there} in the target and a ${typeOfMode(wanted) ?? 'something else'} in the snapshot; it was left as it is`,
    {
      hint:
        existing === S_IFDIR
          ? 'Move the directory away, or restore into another one.'
          : 'Remove it, or restore into another directory.',
      details: { path: shown },
    },
  );
}
