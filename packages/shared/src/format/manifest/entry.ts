// What a manifest says about one path: types, and the check that an entry is well formed.
//
// Hazard: an entry that contradicts itself (segments that don't add up to the size, a symlink without a target) would
// be found only at the restore, when the source is gone. So the same check runs before an entry is written and after
// it is read.
//
// A path is relative to the source's root: '' is the root itself and the first entry, then 'a', 'a/b', in the order of
// `comparePaths`.

import type { ByteString } from '../../base/byte-string.ts';

export type { EntryType } from './stat-record.ts';

/** A chunk that a node refers to. */
export interface ChunkReference {
  /** 32 bytes. */
  readonly id: Buffer;
  /** 16 bytes: `siv[16..32]`, shows that the sender has the chunk and not only its name. */
  readonly proof: Buffer;
  /** Bytes, 1 to 16 MiB. */
  readonly plainLength: number;
  /** Of a chunk that was written page by page: where the tags of its pages stand. */
  readonly pageTags?: PageTagsReference;
}

/** List `list` of a page-tag node (page-map.ts). */
export interface PageTagsReference<N extends NodeReference = NodeReference> {
  readonly node: N;
  readonly list: number;
}

/** A chunk as a decoded node refers to it: `index` is its place among the node's references, which a read must name. */
export interface PlacedChunk extends ChunkReference {
  readonly pageTags?: PageTagsReference<PlacedNode>;
  /** Id of the node (leaf or segment-tree node) whose reference this is. */
  readonly node: Buffer;
  readonly index: number;
}

/** Bytes [offset, offset + length) of a chunk's plaintext. */
export interface DataSegment<C extends ChunkReference = ChunkReference> {
  readonly kind: 'data';
  readonly chunk: C;
  readonly offset: number;
  readonly length: number;
  /** HMAC of this very piece of plaintext, 16 bytes. */
  readonly tag: Buffer;
}

/** `zeros` were written as zeros; a `hole` was never written. */
export interface EmptySegment {
  readonly kind: 'zeros' | 'hole';
  readonly length: number;
}

export type Segment<C extends ChunkReference = ChunkReference> = DataSegment<C> | EmptySegment;

/** Another node: its id (32 bytes) and its proof (16 bytes). */
export interface NodeReference {
  readonly id: Buffer;
  readonly proof: Buffer;
}

/** Root of a segment tree, or a page-tag node, as a decoded node refers to it. */
export interface PlacedNode extends NodeReference {
  readonly node: Buffer;
  readonly index: number;
}

/** Content of a regular file. Up to 8 segments stand in the leaf; more are in a tree of their own. */
export type Content<C extends ChunkReference = ChunkReference, N extends NodeReference = NodeReference> =
  | { readonly kind: 'segments'; readonly segments: readonly Segment<C>[] }
  | { readonly kind: 'tree'; readonly root: N; readonly segmentCount: number };

export interface Xattr {
  readonly name: ByteString;
  readonly value: Buffer;
}

/** Extended attributes with ACLs and capabilities among them as the raw bytes the kernel gives. */
export type Xattrs<C extends ChunkReference = ChunkReference> =
  /** Names and values are at most 4 KiB together. */
  | { readonly kind: 'inline'; readonly list: readonly Xattr[] }
  /** More: `encodeXattrs(list)` in a chunk. */
  | { readonly kind: 'chunk'; readonly segment: DataSegment<C> };

export interface Entry<C extends ChunkReference = ChunkReference, N extends NodeReference = NodeReference> {
  readonly path: ByteString;
  /** A stat record, 64 bytes; its mode says which type the entry has. */
  readonly stat: Buffer;
  /** Names of the owner and the group; '' when the host knows none. */
  readonly user: ByteString;
  readonly group: ByteString;
  /** Of a symlink; '' for everything else. */
  readonly linkTarget: ByteString;
  readonly xattrs: Xattrs<C>;
  /** Inode flags (chattr), 0 for none. */
  readonly inodeFlags: number;
  /**
   * 0 for an entry whose inode has no other name in the manifest. Otherwise a number from 1 to 2^53 − 1 that tells file
   * systems within the source apart (1 + a stable ordinal of the file system will do): the names of one inode are the
   * entries with the same `hardLinkKey` (tree-validator.ts). Each of them carries the whole content, so
   * that any one can be restored alone.
   */
  readonly hardLinkGroup: number;
  /** Of a regular file; `NO_CONTENT` for everything else. */
  readonly content: Content<C, N>;
}

/** An entry as read from a leaf: it says where each reference stands. */
export type PlacedEntry = Entry<PlacedChunk, PlacedNode>;

export const NO_CONTENT: Content<never, never> = { kind: 'segments', segments: [] };
export const NO_XATTRS: Xattrs<never> = { kind: 'inline', list: [] };

/** An entry with nothing but a path and a stat record, and what `rest` adds. */
export function newEntry(path: ByteString, stat: Buffer, rest: Partial<Omit<Entry, 'path' | 'stat'>> = {}): Entry {
  return {
    path,
    stat,
    user: rest.user ?? '',
    group: rest.group ?? '',
    linkTarget: rest.linkTarget ?? '',
    xattrs: rest.xattrs ?? NO_XATTRS,
    inodeFlags: rest.inodeFlags ?? 0,
    hardLinkGroup: rest.hardLinkGroup ?? 0,
    content: rest.content ?? NO_CONTENT,
  };
}
