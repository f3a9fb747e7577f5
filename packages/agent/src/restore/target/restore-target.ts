// The directory a restore writes into.
//
// Not built yet: the signatures.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';
import type { TargetFile } from './target-file.ts';

export interface TargetOptions {
  /**
   * `fresh`: everything is created, and what stands at a path already is an error (ALREADY_EXISTS), except a directory.
   * `merge`: files, links and special files are written under a temporary name and renamed over what is there.
   */
  readonly into: 'fresh' | 'merge';
  /** merge: whether something of another type may be replaced (a directory with everything beneath it). Otherwise ALREADY_EXISTS. */
  readonly replaceOtherTypes?: boolean;
  /** Restore setuid, setgid (of files) and capabilities; takes root as well. Otherwise they are dropped with a warning. */
  readonly setuid?: boolean;
  /** Owners by name where this host knows the name, else by number. Default: by number. */
  readonly ownersByName?: boolean;
  /** A part of an entry's metadata that could not be set, or was left out. The entry itself is there. */
  readonly onWarning: (path: ByteString, message: string) => void;
}

/** What is set on an entry besides its content. */
export interface EntryMetadata {
  /** Stat record, 64 bytes: type, mode, owner, mtime, device numbers are used. */
  readonly stat: Buffer;
  readonly user: ByteString;
  readonly group: ByteString;
  readonly xattrs: readonly Xattr[];
  readonly inodeFlags: number;
}

/** Paths are those of the manifest; each is checked here again. Errors are HoldfastErrors and name the path. */
export class RestoreTarget {
  /**
   * Creates the directory if it is missing (not its parents), and checks that it is empty. Once per restore, before `open`.
   * Throws FAILED_PRECONDITION when it is not empty and `intoNonEmpty` is not set.
   */
  static prepare(_path: ByteString, _options: { intoNonEmpty: boolean }): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Each thread opens its own; several may write into one directory at the same time, different paths each. */
  static open(_path: ByteString, _options: TargetOptions): RestoreTarget {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Missing parents are created too (0700 until their metadata is set). A directory that is there is kept. */
  createDirectory(_path: ByteString): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** A new regular file, to be finished or abandoned. `inodeFlags`: those that must be set before content is written. */
  createFile(_path: ByteString, _size: number, _inodeFlags = 0): TargetFile {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** The file that is there, for writing in place (delta); undefined unless it is a regular file with this one name. */
  openForUpdate(_path: ByteString, _size: number): TargetFile | undefined {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  createSymlink(_path: ByteString, _linkTarget: ByteString, _metadata: EntryMetadata): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Fifo, socket or device, by the mode in the stat record. `skipped`, with a warning, where the system does not allow it. */
  createSpecial(_path: ByteString, _metadata: EntryMetadata): 'created' | 'skipped' {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Another name for what was restored at `existing` (never followed). `inode` is what it must be: `TargetFile.inode`, or `inodeOf`. */
  hardLink(_existing: ByteString, _path: ByteString, _inode?: bigint): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** The stat record of what stands at the path now (not followed); undefined when nothing does. */
  look(_path: ByteString): Buffer | undefined {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Names in the directory, sorted by bytes, for finding what the snapshot does not have. */
  list(_path: ByteString): ByteString[] {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Removes what stands at the path, with everything beneath it; nothing there is fine. */
  remove(_path: ByteString): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Keeps a directory's metadata until `finish`. The stat record is copied. */
  deferDirectory(_path: ByteString, _metadata: EntryMetadata): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /**
   * Sets the metadata of the deferred directories, deepest first, and the inode flags that had to wait, then makes all of
   * it durable. A directory that fails is given to `onError` and the rest goes on. Every thread must have written its last before.
   */
  finish(_onError: (path: ByteString, error: HoldfastError) => void): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  close(): void {}
}

/** Whether an error of one entry means that no other will go through either (disk full, read-only, quota). */
export function endsRestore(_error: HoldfastError): boolean {
  throw new HoldfastError('INTERNAL', 'not built yet');
}
