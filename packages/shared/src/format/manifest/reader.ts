// Reading a manifest: lookup, walk, range, children, find. Generators; drive them with readSync, streamAsync and so on.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { NodeReference } from './entry.ts';
import type { LeafView } from './leaf-view.ts';
import type { Reading, ReadingMany } from './node-store.ts';

/** An entry where it stands. `leaf.entry(index)` decodes it; `leaf.stats` has its stat record at index × 64. */
export interface Found {
  readonly path: ByteString;
  readonly leaf: LeafView;
  readonly index: number;
}

/** Entry at exactly this path; undefined when there is none. */
export function lookup(_root: NodeReference, _path: ByteString): Reading<Found | undefined> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** All leaves in order, checked. */
export function leaves(_root: NodeReference): ReadingMany<LeafView> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** The entry at `path` and all below it, in manifest order; '' is everything. Visits only the nodes that hold them. */
export function walk(_root: NodeReference, _path: ByteString = ''): ReadingMany<Found> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** Children of a directory, not what is below them: jumps over the subtrees. `after` (a name) continues a listing. */
export function children(_root: NodeReference, _directory: ByteString, _after?: ByteString): ReadingMany<Found> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** Entries at or below `path` for which `matches` holds. */
export function find(_root: NodeReference, _path: ByteString, _matches: (found: Found) => boolean): ReadingMany<Found> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** Entries and bytes of a subtree ('' for all), from inner nodes' counts where a node lies wholly inside. */
export function count(
  _root: NodeReference,
  _path: ByteString = '',
): Reading<{ readonly entries: number; readonly totalBytes: number }> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}
