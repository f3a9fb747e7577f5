// Difference of two manifests. Two trees with the same entries in some place have the same nodes there, so only nodes
// that differ, and their ancestors, are read.
//
// Invariants (diff.property.test.ts): the result is what a comparison of all entries gives; the nodes that are read grow
// with what changed, not with the tree.

import { comparePaths, type ByteString } from '../../base/byte-string.ts';
import type { Content, Entry, NodeReference, Segment } from './entry.ts';
import { asMany, type ReadingMany } from './node-store.ts';
import type { Found } from './reader.ts';
import { sameStat, statMode, statRdevMajor, statRdevMinor, S_IFMT } from './stat-record.ts';
import { type Head, TreeCursor } from './tree-cursor.ts';
import { encodeXattrs } from './xattrs.ts';

export type Difference =
  | { readonly kind: 'added'; readonly path: ByteString; readonly after: Found }
  | { readonly kind: 'removed'; readonly path: ByteString; readonly before: Found }
  /** `type`: another file type. `content`: other bytes (or another link target or device). `metadata`: the rest. */
  | {
      readonly kind: 'type' | 'content' | 'metadata';
      readonly path: ByteString;
      readonly before: Found;
      readonly after: Found;
    };

/** Differences from `before` to `after`, in manifest order. Segment trees are told apart by their roots. */
export function* diff(before: NodeReference, after: NodeReference): ReadingMany<Difference> {
  if (before.id.equals(after.id)) return;
  const a = yield* asMany(TreeCursor.open(before));
  const b = yield* asMany(TreeCursor.open(after));
  for (;;) {
    const x = a.head;
    const y = b.head;
    if (x === undefined && y === undefined) return;
    const order = orderOf(x, y);
    if (x !== undefined && y !== undefined && order === 0) {
      if (x.kind === 'entry' && y.kind === 'entry') {
        const kind = compareFound(x, y);
        if (kind !== undefined) yield [{ kind, path: x.path, before: x, after: y }];
        a.skip();
        b.skip();
      } else if (x.kind === 'node' && y.kind === 'node' && x.child.id.equals(y.child.id)) {
        a.skip();
        b.skip();
      } else {
        const levelX = levelOf(x);
        const levelY = levelOf(y);
        if (levelX >= levelY) yield* asMany(a.expand());
        if (levelY >= levelX) yield* asMany(b.expand());
      }
    } else if (x !== undefined && order < 0) {
      if (x.kind === 'node') {
        yield* asMany(a.expand());
      } else {
        yield [{ kind: 'removed', path: x.path, before: x }];
        a.skip();
      }
    } else if (y !== undefined) {
      if (y.kind === 'node') {
        yield* asMany(b.expand());
      } else {
        yield [{ kind: 'added', path: y.path, after: y }];
        b.skip();
      }
    }
  }
}

function orderOf(x: Head | undefined, y: Head | undefined): number {
  if (x === undefined || y === undefined) return x === undefined ? 1 : -1;
  return comparePaths(x.path, y.path);
}

/** An entry counts as below every node. */
function levelOf(head: Head): number {
  return head.kind === 'node' ? head.level : -1;
}

function compareFound(x: Found, y: Found): 'type' | 'content' | 'metadata' | undefined {
  return compareEntries(x.leaf.entry(x.index), y.leaf.entry(y.index));
}

/** How two entries of one path differ; undefined when they say the same, wherever their chunks are. */
export function compareEntries(a: Entry, b: Entry): 'type' | 'content' | 'metadata' | undefined {
  const format = statMode(a.stat) & S_IFMT;
  if (format !== (statMode(b.stat) & S_IFMT)) return 'type';
  if (a.linkTarget !== b.linkTarget || !sameContent(a.content, b.content)) return 'content';
  if (statRdevMajor(a.stat) !== statRdevMajor(b.stat) || statRdevMinor(a.stat) !== statRdevMinor(b.stat))
    return 'content';
  const same =
    sameStat(a.stat, 0, b.stat, 0) &&
    a.user === b.user &&
    a.group === b.group &&
    a.inodeFlags === b.inodeFlags &&
    a.hardLinkGroup === b.hardLinkGroup &&
    xattrKey(a).equals(xattrKey(b));
  return same ? undefined : 'metadata';
}

function xattrKey({ xattrs }: Entry): Buffer {
  return xattrs.kind === 'inline' ? encodeXattrs(xattrs.list) : xattrs.segment.tag;
}

function sameContent(a: Content, b: Content): boolean {
  if (a.kind === 'tree' && b.kind === 'tree') return a.root.id.equals(b.root.id);
  if (a.kind === 'tree' || b.kind === 'tree') return false;
  return a.segments.length === b.segments.length && a.segments.every((x, i) => sameBytes(x, b.segments[i]));
}

/** Whether two segments hold the same bytes; which chunk has them doesn't matter. */
function sameBytes(a: Segment, b: Segment | undefined): boolean {
  if (b === undefined || a.kind !== b.kind || a.length !== b.length) return false;
  return a.kind !== 'data' || b.kind !== 'data' || a.tag.equals(b.tag);
}
