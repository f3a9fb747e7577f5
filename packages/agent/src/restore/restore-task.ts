// What the main thread and the restore threads say to each other. Plain data: everything here is cloned or transferred.
//
// Buffers arrive as Uint8Arrays on the other side; `asBuffer` looks at the same bytes.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';
import type { JobWarning } from '../jobs/job.ts';
import type { PackedPieces } from './packed-pieces.ts';
import type { LentFile } from './target/file-content.ts';

export type RestoreMode =
  /** Writes everything. */
  | 'write'
  /** Looks at what is there, and writes what differs. */
  | 'delta'
  /** Looks at what is there, and writes nothing. */
  | 'dry-run'
  /** Reads and checks everything, and writes nothing. */
  | 'verify';

/** Given to each thread at its start. */
export interface RestoreThreadData {
  readonly domainId: string;
  /** 32 bytes. */
  readonly domainSecret: Uint8Array;
  readonly mode: RestoreMode;
  /** verify: the checksum of each file is answered. */
  readonly checksums?: boolean;
  /** Absent in `verify`, and in a dry run whose target does not exist. */
  readonly target:
    | {
        readonly path: ByteString;
        /** The directory of the snapshot that it stands for. */
        readonly root: ByteString;
        readonly into: 'fresh' | 'merge';
        readonly setuid: boolean;
        /** It held something before, and is only added to: its own metadata stays. */
        readonly keepRoot: boolean;
        /** Whether a directory may give way to something else, with all that is beneath it. */
        readonly replaceDirectories: boolean;
      }
    | undefined;
}

/** A manifest leaf, opened. */
export interface PostedLeaf {
  readonly id: Uint8Array;
  readonly references: Uint8Array;
  readonly payload: Uint8Array;
}

/** A chunk as it was served, or why it was not. */
export interface PostedChunk {
  readonly id: Uint8Array;
  readonly envelope: Uint8Array | undefined;
  /** Empty when there is an envelope. */
  readonly problem: string;
}

export interface PostedDirectory {
  readonly path: ByteString;
  readonly stat: Uint8Array;
  readonly user: ByteString;
  readonly group: ByteString;
  readonly xattrs: readonly Xattr[];
  readonly inodeFlags: number;
}

export interface PostedLink {
  readonly path: ByteString;
  readonly existing: ByteString;
  readonly inode: bigint | undefined;
}

export type RestoreTask =
  /** `looks`: what `examine` answered for these entries, in the same order (delta). */
  | {
      readonly kind: 'entries';
      readonly leaf: PostedLeaf;
      readonly entries: Uint32Array;
      readonly chunks: readonly PostedChunk[];
      readonly looks: Uint8Array | undefined;
    }
  | { readonly kind: 'examine'; readonly leaf: PostedLeaf; readonly entries: Uint32Array }
  // A large file, named by `file`: one thread opens and ends it; its parts are any thread's, by the descriptor that is lent.
  /** Delta and dry run: opens what is there, and lends it. Answers its look as the only one. */
  | { readonly kind: 'file-examine'; readonly file: number; readonly leaf: PostedLeaf; readonly index: number }
  /** Answers `marks`: 1 for each piece that the existing file has already. */
  | {
      readonly kind: 'file-compare';
      readonly path: ByteString;
      readonly existing: LentFile;
      readonly pieces: PackedPieces;
    }
  /** Lends what is to be written: a new file, or with `inPlace` the one that is there, where that can be written to. */
  | {
      readonly kind: 'file-open';
      readonly file: number;
      readonly leaf: PostedLeaf;
      readonly index: number;
      readonly inPlace: boolean;
    }
  /** A data piece whose chunk is not given is taken from `existing`. Nothing is lent in `verify`. */
  | {
      readonly kind: 'file-part';
      readonly path: ByteString;
      readonly into: LentFile | undefined;
      readonly existing: LentFile | undefined;
      readonly pieces: PackedPieces;
      readonly chunks: readonly PostedChunk[];
    }
  /** `written`: what was written takes the path. `existing`: what is there stays, with the metadata set. `none`: neither. */
  | {
      readonly kind: 'file-end';
      readonly file: number;
      readonly keep: 'written' | 'existing' | 'none';
      readonly chunks: readonly PostedChunk[];
    }
  | { readonly kind: 'links'; readonly links: readonly PostedLink[] }
  /** Keeps directories' metadata for `settle`. */
  | { readonly kind: 'directories'; readonly directories: readonly PostedDirectory[] }
  /** Removes from a directory what is not among `names`; in a dry run only counts it. */
  | { readonly kind: 'prune'; readonly directory: ByteString; readonly names: ReadonlySet<ByteString> }
  /** What had to wait for the end: directories' metadata, and flags. After all other tasks of all threads. */
  | { readonly kind: 'settle' }
  /** Makes durable what all threads wrote. After every `settle`. */
  | { readonly kind: 'sync' }
  /** Gives up open files and closes the target. */
  | { readonly kind: 'close' };

/** What stands at an entry's path, as a dry run reports it and a delta acts on it. */
export const LOOK_ABSENT = 0;
/** Same type, content and metadata. */
export const LOOK_SAME = 1;
/** Same content; other metadata. */
export const LOOK_METADATA = 2;
/** Same type; other content. */
export const LOOK_CONTENT = 3;
/** Another type. */
export const LOOK_TYPE = 4;

export interface RestoreAnswer {
  /** Entries that are as the snapshot says, by this task. */
  readonly entries: number;
  readonly files: number;
  /** Of `files`, those whose content was written. */
  readonly filesWritten: number;
  /** Content bytes of `files` (or of this part), whether written or found. */
  readonly bytes: number;
  /** Indexes (in the leaf) of entries that were not restored. */
  readonly failed: readonly number[];
  /** Index and inode of files that have other names. */
  readonly inodes: readonly (readonly [index: number, inode: bigint])[];
  /** Index and xattrs of directories that keep them in a chunk. */
  readonly xattrs: readonly (readonly [index: number, list: readonly Xattr[]])[];
  /** examine: one look for each entry. */
  readonly looks: Uint8Array | undefined;
  /** examine: reference indexes of the chunks that must be fetched. file-compare: 1 for each piece that is there. */
  readonly marks: Uint32Array | undefined;
  /** file-examine, file-open: the file, for parts on any thread, until `file-end` is sent. */
  readonly lent: LentFile | undefined;
  /** verify: registers of files by index, begun with 0 (format/crc32c.ts); of a part of a large one under index 0. */
  readonly checksums: readonly (readonly [index: number, register: number])[];
  readonly removed: readonly ByteString[];
  readonly removedTotal: number;
  readonly warnings: readonly JobWarning[];
  readonly warningsTotal: number;
}

export const EMPTY_ANSWER: RestoreAnswer = {
  entries: 0,
  files: 0,
  filesWritten: 0,
  bytes: 0,
  failed: [],
  inodes: [],
  xattrs: [],
  looks: undefined,
  marks: undefined,
  lent: undefined,
  checksums: [],
  removed: [],
  removedTotal: 0,
  warnings: [],
  warningsTotal: 0,
};

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
