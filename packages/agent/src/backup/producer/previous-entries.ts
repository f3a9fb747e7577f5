// What a path was in the previous snapshot, asked in any order.
//
// A lookup reads an inner node or two and a leaf; the ones used last are kept, so that a tar in the order of directories costs
// a leaf once, mostly. Bounded: by nodes, whatever the manifest.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { NodeReference, PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { type NodeBytes, readSync, type SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { lookup } from '@holdfast/shared/format/manifest/reader';

const NODES_KEPT = 64;

export class PreviousEntries {
  readonly #store: SyncNodeStore;
  readonly #root: NodeReference | undefined;

  constructor(store: SyncNodeStore, root: NodeReference | undefined) {
    this.#store = new LatestNodes(store, NODES_KEPT);
    this.#root = root;
  }

  /** Throws a cache miss (isCacheMiss) when the agent's copy of the manifest is damaged. */
  find(path: ByteString): PlacedEntry | undefined {
    if (this.#root === undefined) return undefined;
    const found = readSync(this.#store, lookup(this.#root, path));
    return found?.leaf.entry(found.index);
  }
}

/** The nodes used last stay at hand. */
export class LatestNodes implements SyncNodeStore {
  readonly #store: SyncNodeStore;
  readonly #most: number;
  readonly #nodes = new Map<string, NodeBytes>();

  constructor(store: SyncNodeStore, most: number) {
    this.#store = store;
    this.#most = most;
  }

  load(wanted: Parameters<SyncNodeStore['load']>[0]): NodeBytes {
    const key = wanted.id.toString('latin1');
    const known = this.#nodes.get(key);
    const node = known ?? this.#store.load(wanted);
    this.#nodes.delete(key);
    this.#nodes.set(key, node);
    if (this.#nodes.size > this.#most) this.#nodes.delete(this.#nodes.keys().next().value!);
    return node;
  }
}
