// What a path was in the previous snapshot, asked in any order.
//
// Hazard: a lookup from the root decodes a leaf for each path, 1 ms; a server with 20,000 tables would take 20 s for nothing. So
// the first path of every leaf is noted once, and the leaves used last are kept decoded: a tar in the order of directories
// costs each leaf once, mostly. Memory: some 150 bytes for each 512 entries, and LEAVES_KEPT leaves of about 250 KiB.

import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';
import type { NodeReference, PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { streamSync, type SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { leaves } from '@holdfast/shared/format/manifest/reader';

const LEAVES_KEPT = 128;

interface LeafPlace extends NodeReference {
  readonly firstPath: ByteString;
}

export class PreviousEntries {
  readonly #store: SyncNodeStore;
  readonly #root: NodeReference | undefined;
  #places: readonly LeafPlace[] | undefined;
  readonly #kept = new Map<LeafPlace, LeafView>();

  constructor(store: SyncNodeStore, root: NodeReference | undefined) {
    this.#store = store;
    this.#root = root;
  }

  /** Throws a cache miss (isCacheMiss) when the agent's copy of the manifest is damaged. */
  find(path: ByteString): PlacedEntry | undefined {
    this.#places ??= this.#root === undefined ? [] : placesOf(this.#store, this.#root);
    const place = this.#places[lastAtOrBefore(this.#places, path)];
    if (place === undefined) return undefined;
    const leaf = this.#leaf(place);
    const index = leaf.lowerBound(path);
    return index < leaf.count && leaf.path(index) === path ? leaf.entry(index) : undefined;
  }

  #leaf(place: LeafPlace): LeafView {
    const leaf = this.#kept.get(place) ?? openLeaf(this.#store, place);
    this.#kept.delete(place);
    this.#kept.set(place, leaf);
    if (this.#kept.size > LEAVES_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    return leaf;
  }
}

function placesOf(store: SyncNodeStore, root: NodeReference): LeafPlace[] {
  const places: LeafPlace[] = [];
  for (const leaf of streamSync(store, leaves(root))) {
    // Copies: a view would keep its whole node.
    if (leaf.count > 0) {
      places.push({ firstPath: leaf.path(0), id: Buffer.from(leaf.id), proof: Buffer.from(leaf.proof) });
    }
  }
  return places;
}

function openLeaf(store: SyncNodeStore, { id, proof }: LeafPlace): LeafView {
  const { references, payload } = store.load({ id, proof, parent: undefined, index: 0 });
  return LeafView.open(id, proof, references, payload);
}

/** −1 when all come after `path`. */
function lastAtOrBefore(places: readonly LeafPlace[], path: ByteString): number {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (comparePaths(places[middle]!.firstPath, path) <= 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
