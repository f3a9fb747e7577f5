// Which files of a snapshot need objects that are lost: for the report of a verify, in a managed domain.
//
// Hazards: a search through millions of entries because of one lost chunk, again for each of a hundred snapshots; a list that
// stops and looks complete. So leaves that need nothing lost are remembered, because snapshots share them; names and nodes have
// a bound; and what was left out is said. Where a node itself is lost, its parent still tells the first path and how many
// entries it listed.
//
// Tested in damaged-files.test.ts.

import { HoldfastError, toHoldfastError, type ErrorCode } from '@holdfast/shared/base/errors';
import type { NodeReference, PlacedEntry, Segment } from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { readAsync, streamAsync, type AsyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree-reader';
import { STAT_BYTES, statSize } from '@holdfast/shared/format/manifest/stat-record';
import { TreeCursor } from '@holdfast/shared/format/manifest/tree-cursor';

import type { Domain } from '../fleet/domains.ts';
import type { DamagedFile, DamagedFiles, DescribeFiles } from '../vault/contract.ts';
import { openManifests, type Manifests, type ManifestsDeps } from './manifests.ts';

export interface DamagedFilesDeps extends ManifestsDeps {
  readonly domain: (id: string) => Promise<Domain | undefined>;
}

export interface DescribeLimits {
  /** Named files of one snapshot. */
  readonly files: number;
  /** Manifest nodes that are read for one report; some 500 entries each. */
  readonly nodes: number;
}

const LIMITS: DescribeLimits = { files: 100, nodes: 20_000 };

/** For one report: what it has learnt about shared nodes ends with it. Answers undefined for a sealed domain. */
export function damagedFilesOf(deps: DamagedFilesDeps, limits: DescribeLimits = LIMITS): DescribeFiles {
  const searches = new Map<string, Promise<Search | undefined>>();
  const begin = async (domainId: string): Promise<Search | undefined> => {
    const domain = await deps.domain(domainId);
    return domain?.managed === true ? new Search(await openManifests(deps, domain), limits) : undefined;
  };
  return async ({ domainId, snapshotId, objectIds }) => {
    const search = searches.get(domainId) ?? begin(domainId);
    searches.set(domainId, search);
    return await (await search)?.describe(snapshotId, objectIds);
  };
}

class Search {
  readonly #manifests: Manifests;
  readonly #limits: DescribeLimits;
  readonly #store: AsyncNodeStore;
  #nodesRead = 0;
  readonly #lost = new Set<string>();
  /** Hex ids of leaves and of segment trees that need nothing of `#lost`. */
  readonly #whole = new Set<string>();

  constructor(manifests: Manifests, limits: DescribeLimits) {
    this.#manifests = manifests;
    this.#limits = limits;
    this.#store = {
      load: async (wanted) => {
        if (++this.#nodesRead > limits.nodes) throw new HoldfastError('LIMIT_EXCEEDED', 'the search has read enough');
        return await manifests.store.load(wanted);
      },
    };
  }

  async describe(snapshotId: Uint8Array, objectIds: readonly string[]): Promise<DamagedFiles> {
    this.#alsoLost(objectIds);
    const named: DamagedFile[] = [];
    try {
      for await (const file of this.#search(snapshotId)) {
        if (named.length === this.#limits.files) return { named, more: true };
        named.push(file);
      }
      return { named, more: false };
    } catch (error) {
      if (toHoldfastError(error).code === 'LIMIT_EXCEEDED') return { named, more: true };
      throw error;
    }
  }

  async *#search(snapshotId: Uint8Array): AsyncGenerator<DamagedFile, void, undefined> {
    let cursor: TreeCursor;
    try {
      const { root } = await this.#manifests.snapshot(snapshotId);
      cursor = await readAsync(this.#store, TreeCursor.open(root));
    } catch (error) {
      orThrow(error);
      yield { path: '', others: 'all' };
      return;
    }
    for (let { head } = cursor; head !== undefined; { head } = cursor) {
      if (head.kind === 'node') {
        const lost = await this.#enter(cursor, head.child);
        if (lost) yield { path: head.path, others: head.child.entries - 1 };
      } else {
        yield* this.#inLeaf(head.leaf);
        for (let i = 0; i < head.leaf.count; i++) cursor.skip();
      }
    }
  }

  /** A memory of what is whole holds as long as nothing else is lost. */
  #alsoLost(objectIds: readonly string[]): void {
    const before = this.#lost.size;
    for (const id of objectIds) this.#lost.add(id);
    if (this.#lost.size > before) this.#whole.clear();
  }

  /** Steps into a node, or over one that is known to be whole. True when it is lost: then it is stepped over as well. */
  async #enter(cursor: TreeCursor, node: NodeReference): Promise<boolean> {
    if (this.#whole.has(node.id.toString('hex'))) {
      cursor.skip();
      return false;
    }
    try {
      await readAsync(this.#store, cursor.expand());
      return false;
    } catch (error) {
      orThrow(error);
      cursor.skip();
      return true;
    }
  }

  /** The entries of a leaf that need something lost. */
  async *#inLeaf(leaf: LeafView): AsyncGenerator<DamagedFile, void, undefined> {
    const hit = this.#needsLost(leaf.references);
    let whole = true;
    for (let index = 0; index < leaf.count; index++) {
      try {
        if (!hit && leaf.content(index).kind !== 'tree') continue;
        if (!(await this.#isHurt(leaf.entry(index)))) continue;
      } catch (error) {
        // Sealed well and yet malformed: made by a host that is not to be trusted. It cannot be restored either.
        orThrow(error);
      }
      whole = false;
      yield { path: leaf.path(index), others: 0 };
    }
    if (whole) this.#whole.add(leaf.id.toString('hex'));
  }

  #needsLost(references: Buffer): boolean {
    for (let at = 0; at < references.length; at += 32) {
      if (this.#lost.has(references.toString('hex', at, at + 32))) return true;
    }
    return false;
  }

  async #isHurt(entry: PlacedEntry): Promise<boolean> {
    const { content, xattrs } = entry;
    if (xattrs.kind === 'chunk' && this.#isLost(xattrs.segment)) return true;
    if (content.kind === 'segments') return content.segments.some((segment) => this.#isLost(segment));
    const tree = content.root.id.toString('hex');
    if (this.#whole.has(tree)) return false;
    try {
      const size = statSize(entry.stat.subarray(0, STAT_BYTES), 0);
      for await (const segment of streamAsync(this.#store, readSegments(content, size))) {
        if (this.#isLost(segment)) return true;
      }
    } catch (error) {
      orThrow(error);
      return true;
    }
    this.#whole.add(tree);
    return false;
  }

  #isLost(segment: Segment): boolean {
    return segment.kind === 'data' && this.#lost.has(segment.chunk.id.toString('hex'));
  }
}

const LOST: readonly ErrorCode[] = ['DAMAGED', 'NOT_FOUND', 'PATH_ESCAPES', 'UNSUPPORTED_VERSION'];

/** What says that an object is lost is an answer; anything else (a catalog that is away) is not. */
function orThrow(error: unknown): void {
  if (!LOST.includes(toHoldfastError(error).code)) throw error;
}
