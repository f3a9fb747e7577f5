// What a walk is told, and what it says about what it left out.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { ExcludeRules } from './exclude-rules.ts';

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
  /** Named in `only`, but not there. */
  | 'missing'
  /** A directory that can't be listed, or an entry that can't be looked at: `message` has the system's error. */
  | 'unreadable'
  /** Became something else while the walk looked at it; not descended into. */
  | 'replaced'
  /** oneFileSystem: not descended into; a file that is mounted over is left out. */
  | 'other-file-system'
  /** proc, sysfs, …: not descended into; a file that is mounted over is left out. */
  | 'virtual-file-system'
  /** A directory that is its own ancestor (a bind mount): not descended into. */
  | 'loop'
  /** excludeCaches: not descended into. */
  | 'cache-directory';

export interface WalkNote {
  readonly kind: WalkNoteKind;
  readonly path: ByteString;
  /** Why, for people; may be empty. */
  readonly message: string;
}
