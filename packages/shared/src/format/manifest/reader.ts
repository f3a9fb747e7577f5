// Reading a manifest: lookup, walk, range, listing of a directory, find, count.
//
// Each visits only the nodes that it needs: an inner node says where each child begins and how much is below it. They are
// generators that ask for nodes; drive them with readSync, readAsync, streamSync, streamAsync (node-store.ts).
//
// Whether the entries form a tree that is safe to write to a disk is TreeValidator's to check.

import { comparePaths, type ByteString } from '../../base/byte-string.ts';
import type { NodeReference } from './entry.ts';
import type { LeafView } from './leaf-view.ts';
import { asMany, type Reading, type ReadingMany } from './node-store.ts';
import { endOfSubtree, isWithin } from './paths.ts';
import { S_IFMT, S_IFREG, STAT_BYTES, statMode, statSize } from './stat-record.ts';
import { TreeCursor } from './tree-cursor.ts';

/** An entry where it stands. `leaf.entry(index)` decodes it; `leaf.stats` has its stat record at index × 64. */
export interface Found {
  readonly path: ByteString;
  readonly leaf: LeafView;
  readonly index: number;
}

/** Entry at exactly this path; undefined when there is none. */
export function* lookup(root: NodeReference, path: ByteString): Reading<Found | undefined> {
  const cursor = yield* TreeCursor.open(root);
  yield* cursor.seek(path);
  const { head } = cursor;
  return head?.kind === 'entry' && head.path === path ? head : undefined;
}

/** All leaves in order. */
export function* leaves(root: NodeReference): ReadingMany<LeafView> {
  const cursor = yield* asMany(TreeCursor.open(root, true));
  for (let { head } = cursor; head !== undefined; { head } = cursor) {
    if (head.kind === 'node') {
      yield* asMany(cursor.expand());
      continue;
    }
    const { leaf } = head;
    yield [leaf];
    for (let i = 0; i < leaf.count; i++) cursor.skip();
  }
}

/** The entry at `path` and all below it, in manifest order; '' is everything. Visits only the nodes that hold them. */
export function* walk(root: NodeReference, path: ByteString = ''): ReadingMany<Found> {
  yield* range(root, path, endOfSubtree(path));
}

/** Entries from `from` (inclusive) to `until` (exclusive; undefined for the end), in manifest order. */
export function* range(root: NodeReference, from: ByteString, until: ByteString | undefined): ReadingMany<Found> {
  const cursor = yield* asMany(TreeCursor.open(root, true, until));
  yield* asMany(cursor.seek(from));
  for (let { head } = cursor; head !== undefined; { head } = cursor) {
    if (until !== undefined && comparePaths(head.path, until) >= 0) return;
    if (head.kind === 'node') {
      yield* asMany(cursor.expand());
      continue;
    }
    const { leaf, index } = head;
    const end = until === undefined ? leaf.count : leaf.lowerBound(until);
    const batch: Found[] = [];
    for (let i = index; i < end; i++) {
      batch.push({ path: leaf.path(i), leaf, index: i });
      cursor.skip();
    }
    yield batch;
  }
}

/** Children of a directory, not what is below them: jumps over the subtrees. `after` (a name) continues a listing. */
export function* children(root: NodeReference, directory: ByteString, after?: ByteString): ReadingMany<Found> {
  const cursor = yield* asMany(TreeCursor.open(root));
  const prefix = directory === '' ? '' : `${directory}/`;
  // No path is just "directory/", but what comes at or after it is the first child.
  yield* asMany(cursor.seek(after === undefined ? firstBelow(directory) : `${prefix}${after}\0`));
  for (let { head } = cursor; head?.kind === 'entry' && isWithin(head.path, directory); { head } = cursor) {
    yield [head];
    yield* asMany(cursor.seek(`${head.path}\0`));
  }
}

function firstBelow(directory: ByteString): ByteString {
  return directory === '' ? '\u0001' : `${directory}/`;
}

/** Entries at or below `path` for which `matches` holds. */
export function* find(root: NodeReference, path: ByteString, matches: (found: Found) => boolean): ReadingMany<Found> {
  const reading = walk(root, path);
  for (let step = reading.next(); step.done !== true;) {
    const { value } = step;
    step = reading.next('want' in value ? yield value : yield value.filter(matches));
  }
}

/** Entries and bytes of a subtree ('' for all), from inner nodes' counts where a node lies wholly inside. */
export function* count(
  root: NodeReference,
  path: ByteString = '',
): Reading<{ readonly entries: number; readonly totalBytes: number }> {
  const until = endOfSubtree(path);
  const cursor = yield* TreeCursor.open(root);
  if (path !== '') yield* cursor.seek(path);
  let entries = 0;
  let totalBytes = 0;
  for (let { head } = cursor; head !== undefined; { head } = cursor) {
    if (until !== undefined && comparePaths(head.path, until) >= 0) break;
    if (head.kind === 'entry') {
      entries++;
      totalBytes += fileBytes(head.leaf, head.index);
    } else {
      const end = cursor.headEnd;
      if (until !== undefined && (end === undefined || comparePaths(end, until) > 0)) {
        yield* cursor.expand();
        continue;
      }
      entries += head.child.entries;
      totalBytes += head.child.totalBytes;
    }
    cursor.skip();
  }
  return { entries, totalBytes };
}

function fileBytes({ stats }: LeafView, index: number): number {
  const at = index * STAT_BYTES;
  return (statMode(stats, at) & S_IFMT) === S_IFREG ? statSize(stats, at) : 0;
}
