// The walk of a source: every entry beneath a root, in manifest order, with its stat record.
//
// Not built yet: the signatures.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { CapturedMetadata } from './captured-metadata.ts';
import type { ExcludeRules } from './exclude-rules.ts';
import type { OpenedFile } from './opened-file.ts';

export interface WalkOptions {
  /** Absolute. The entry '' is what it names (a symlink there is followed); it need not be a directory. */
  readonly root: ByteString;
  /** Paths relative to the root. Given: only these, everything beneath them, and the directories that lead to them (as single entries). */
  readonly only?: readonly ByteString[];
  readonly rules?: ExcludeRules;
  /** Directories where another file system begins are entries, but are not descended into. */
  readonly oneFileSystem?: boolean;
  /** Of a directory with a valid CACHEDIR.TAG only itself and the tag are entries. */
  readonly excludeCaches?: boolean;
  /** What the walk left out or could not see. The walk goes on. */
  readonly onNote: (note: WalkNote) => void;
}

export type WalkNoteKind =
  /** Gone between the listing and the look at it. */
  | 'vanished'
  /** A directory that can't be listed, or an entry that can't be looked at: `message` has the system's error. */
  | 'unreadable'
  /** Became something else while the walk looked at it; not descended into. */
  | 'replaced'
  /** oneFileSystem: not descended into. */
  | 'other-file-system'
  /** proc, sysfs, …: not descended into. */
  | 'virtual-file-system'
  /** A directory that is its own ancestor (a bind mount): not descended into. */
  | 'loop'
  /** excludeCaches: not descended into. */
  | 'cache-directory';

export interface WalkNote {
  readonly kind: WalkNoteKind;
  readonly path: ByteString;
  readonly message: string;
}

/**
 * A cursor: `next()` moves it to the next entry; the fields describe that entry until the next call. Synchronous, for a
 * worker thread. `close()` when done, or when given up.
 */
export class Walk {
  /** Relative to the root; '' is the root itself. */
  path: ByteString = '';
  /** Last component ('' for the root). */
  name: ByteString = '';
  /** The stat record (format/manifest/stat-record.ts), 64 bytes, overwritten by the next call: copy what is kept. */
  readonly stat: Buffer = Buffer.alloc(64);
  /** Ordinal of the entry's file system: 0 for the root's, then 1, 2, … in order of meeting. */
  fileSystem = 0;

  constructor(_options: WalkOptions) {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Moves on; false at the end. Throws only when the root itself can't be looked at. */
  next(): boolean {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** The current entry's children are not visited. */
  skipChildren(): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Opens the current entry, a regular file, for reading. */
  openFile(): OpenOutcome {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Everything about the current entry besides its stat record; for a regular file use `capture(file)` on the opened file. */
  capture(_file?: OpenedFile): CapturedMetadata {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  close(): void {}
}

export type OpenOutcome =
  | { readonly kind: 'opened'; readonly file: OpenedFile }
  | { readonly kind: 'vanished' }
  /** No longer the regular file that the walk saw. */
  | { readonly kind: 'replaced' }
  | { readonly kind: 'unreadable'; readonly error: HoldfastError };

/** Root and `only` for the paths of a source: one path is the root; several keep their full paths beneath '/'. */
export function rootOf(_paths: readonly ByteString[]): { root: ByteString; only?: readonly ByteString[] } {
  throw new HoldfastError('INTERNAL', 'not built yet');
}
