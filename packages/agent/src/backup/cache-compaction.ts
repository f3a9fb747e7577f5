// Keeping the cache of nodes in proportion to the source: nodes of old snapshots are dropped once they are most of the file.
//
// What is kept is what the new root and the base's root reach: until the commit is acknowledged either may be the next base.

import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { streamSync, type SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { leaves } from '@holdfast/shared/format/manifest/reader';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree-reader';
import { STAT_BYTES, statSize } from '@holdfast/shared/format/manifest/stat-record';
import { compactNodeCache, NodeCache } from './node-cache.ts';

/** Smaller files are left alone. */
export const COMPACT_FROM_BYTES = 16 * 1024 * 1024;
/** How many times the size of what is needed a file may have. */
const SLACK = 4;
/** What a node costs for each entry, and for each segment of a large file: measured at 93 and 60, rounded up. */
const ENTRY_BYTES = 128;
const SEGMENT_BYTES = 80;
const SEGMENT_AVERAGE_BYTES = 1024 * 1024;
/** A page's tag, and its share of the extents when they are as many as they may be. */
const PAGE_BYTES = 48;

export interface CompactionRoot extends NodeReference {
  readonly entries: number;
  readonly totalBytes: number;
}

/** Whether a cache file of `sizeBytes` is far larger than the manifest of `root` needs. `pages`: of all its page files. */
export function worthCompacting(
  sizeBytes: number,
  root: Pick<CompactionRoot, 'entries' | 'totalBytes'>,
  pages = 0,
): boolean {
  const needed =
    root.entries * ENTRY_BYTES + (root.totalBytes / SEGMENT_AVERAGE_BYTES) * SEGMENT_BYTES + pages * PAGE_BYTES;
  return sizeBytes > COMPACT_FROM_BYTES && sizeBytes > SLACK * needed;
}

/** Writes the cache file anew with what `roots` reach. Throws NOT_FOUND when something of that is missing: then nothing changed. */
export function compact(path: string, roots: readonly NodeReference[]): void {
  const cache = new NodeCache(path);
  const reached = new Set<string>();
  try {
    const recording: SyncNodeStore = {
      load(wanted) {
        reached.add(wanted.id.toString('latin1'));
        return cache.load(wanted);
      },
    };
    for (const root of roots) {
      for (const leaf of streamSync(recording, leaves(root))) visitContents(leaf, recording, reached);
    }
  } finally {
    cache.close();
  }
  compactNodeCache(path, reached);
}

/** Segment trees are walked, of page tags it is enough to know the ids. */
function visitContents(leaf: LeafView, store: SyncNodeStore, reached: Set<string>): void {
  for (let index = 0; index < leaf.count; index++) {
    const content = leaf.content(index);
    const size = statSize(leaf.stats, index * STAT_BYTES);
    const inLeaf = content.kind === 'segments' ? content.segments : undefined;
    for (const segment of inLeaf ?? streamSync(store, readSegments(content, size))) {
      const tags = segment.kind === 'data' ? segment.chunk.pageTags : undefined;
      if (tags !== undefined) reached.add(tags.node.id.toString('latin1'));
    }
  }
}
