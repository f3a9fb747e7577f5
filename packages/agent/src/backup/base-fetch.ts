// Reading the base from the vault, when the agent's copy is missing or not of the newest snapshot (a new machine of that name,
// a host restored from its own old backup, a damaged cache).
//
// Only manifest nodes are read, no content. They are put into the cache as they come, so an interrupted reading goes on where
// it was.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { proofOf } from '@holdfast/shared/format/envelope';
import { STAT_BYTES, S_IFMT, S_IFREG, statMode, statSize } from '@holdfast/shared/format/manifest/stat-record';
import {
  type AsyncNodeStore,
  readAsync,
  streamAsync,
  type WantedNode,
} from '@holdfast/shared/format/manifest/node-store';
import type { PlacedChunk, Segment } from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { count, leaves } from '@holdfast/shared/format/manifest/reader';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree';
import type { JobDeps } from '../jobs/job.ts';
import { KeyRing } from '../restore/key-ring.ts';
import { NodeFetcher } from '../restore/node-fetcher.ts';
import { openSnapshot } from '../restore/open-snapshot.ts';
import { earliestStart, type Base } from './base.ts';
import { NodeCache } from './node-cache.ts';

/** The newest snapshot of the source as a base, all of its nodes in the cache file. Undefined when the source has no snapshot. */
export async function fetchBase(
  sourceId: string,
  cacheFile: string,
  deps: Pick<JobDeps, 'identity' | 'vault' | 'limiter'> & { readonly domainSecret: Uint8Array },
  signal: AbortSignal,
): Promise<Base | undefined> {
  const { identity, vault, limiter, domainSecret } = deps;
  let grant: Uint8Array;
  try {
    ({ grant } = await vault.grantOwn({ sourceId, signal }));
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
  const session = await vault.openRead(grant, { signal });
  const cache = new NodeCache(cacheFile);
  try {
    const keys = new KeyRing(domainSecret, identity.domainId);
    const snapshot = await openSnapshot(session, keys, identity);
    const served = (await session.fetch(session.record, [0])).objects[0];
    if (served === undefined) throw new HoldfastError('DAMAGED', 'the root of the newest snapshot can not be read');
    const root = { id: snapshot.root.id, proof: proofOf(served.envelope) };
    const fetcher = new NodeFetcher(session, keys, (bytes) => limiter.take(bytes, signal));
    const store = cachedStore(cache, fetcher);
    const { entries, totalBytes } = await readAsync(store, count(root));
    const pageTags = new PageTagNodes(store);
    let files = 0;
    for await (const leaf of streamAsync(store, leaves(root))) files += await visitLeaf(leaf, store, pageTags);
    const { startedAtMs, finishedAtMs, statistics } = snapshot.record;
    const startMs = earliestStart(startedAtMs, finishedAtMs, statistics.durationMs);
    return { snapshotId: snapshot.id, root, entries, totalBytes, files, startedAtMs: startMs, dead: [] };
  } finally {
    cache.close();
    session.close();
  }
}

/** Reads the segment trees and page tags of a leaf's files; returns how many regular files it has. */
async function visitLeaf(leaf: LeafView, store: AsyncNodeStore, pageTags: PageTagNodes): Promise<number> {
  let files = 0;
  for (let index = 0; index < leaf.count; index++) {
    if ((statMode(leaf.stats, index * STAT_BYTES) & S_IFMT) !== S_IFREG) continue;
    files++;
    const content = leaf.content(index);
    if (content.kind === 'segments') {
      for (const segment of content.segments) await pageTags.load(segment);
      continue;
    }
    const size = statSize(leaf.stats, index * STAT_BYTES);
    for await (const segment of streamAsync(store, readSegments(content, size))) await pageTags.load(segment);
  }
  return files;
}

/** Page-tag nodes, each loaded once as long as it is met again soon. */
class PageTagNodes {
  readonly #store: AsyncNodeStore;
  readonly #met = new Set<string>();

  constructor(store: AsyncNodeStore) {
    this.#store = store;
  }

  async load(segment: Segment<PlacedChunk>): Promise<void> {
    const tags = segment.kind === 'data' ? segment.chunk.pageTags : undefined;
    if (tags === undefined) return;
    const { id, proof, node: parent, index } = tags.node;
    const key = id.toString('latin1');
    if (!this.#met.delete(key)) await this.#store.load({ id, proof, parent, index });
    this.#met.add(key);
    if (this.#met.size > PAGE_TAG_NODES_MET) this.#met.delete(this.#met.values().next().value!);
  }
}

/** Ids alone. */
const PAGE_TAG_NODES_MET = 16_384;

/** Nodes from the cache where it has them. Their parents must be asked of the vault all the same: it serves a node only under one that it served. */
function cachedStore(cache: NodeCache, fetcher: NodeFetcher): AsyncNodeStore {
  return {
    expect: (wanted: readonly WantedNode[]) => fetcher.expect(wanted),
    async load(wanted: WantedNode) {
      const node = await fetcher.load(wanted);
      cache.append(wanted.id, node);
      return node;
    },
  };
}
