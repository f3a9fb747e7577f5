// Bundles: small contents, whole, one behind the other in a slab, until content-dependent boundaries close the bundle.

import { bundleCloses } from '@holdfast/shared/format/bundle';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { Content, PlacedChunk, PlacedNode } from '@holdfast/shared/format/manifest/entry';
import { tagOf } from '@holdfast/shared/format/tag';
import type { ChunkSlot, OpenFile } from './assembler.ts';
import type { DeadBytes } from './dead-bytes.ts';
import type { SealingLane } from './sealing-lane.ts';
import type { Slabs } from './slabs.ts';

export interface BundlerDeps {
  readonly keys: DomainKeys;
  readonly lane: SealingLane;
  readonly bundles: Slabs;
  readonly dead: DeadBytes;
}

export class Bundler {
  readonly #deps: BundlerDeps;
  /** The slot that the files of the open bundle wait for; its bytes are the pending ones of `bundles`. */
  #bundle: ChunkSlot | undefined;

  constructor(deps: BundlerDeps) {
    this.#deps = deps;
  }

  get open(): boolean {
    return this.#bundle !== undefined;
  }

  /** Room for `size` bytes: fill it, then call `take`. */
  room(size: number): Buffer {
    return this.#deps.bundles.room(size);
  }

  /** `bytes` stand behind the open bundle's; they join it, unless the path had the same before: then false. */
  take(bytes: Buffer, into: Pick<OpenFile, 'add'>, previous: Content<PlacedChunk, PlacedNode> | undefined): boolean {
    const { bundles, keys, dead } = this.#deps;
    const { length } = bytes;
    const tag = tagOf(keys, bytes);
    const old = onlySegment(previous);
    if (old !== undefined && old.length === length && old.tag.equals(tag) && !dead.repacks(old.chunk)) {
      into.add({ kind: 'data', slot: { reference: old.chunk }, offset: old.offset, length, tag });
      return false;
    }
    this.#bundle ??= { reference: undefined };
    into.add({ kind: 'data', slot: this.#bundle, offset: bundles.pending, length, tag });
    bundles.filled(length);
    if (bundleCloses(bundles.pending, tag)) this.close();
    return true;
  }

  /** Gives the open bundle to be sealed, whatever its length. */
  close(): void {
    const { bundles, lane } = this.#deps;
    if (this.#bundle === undefined) return;
    lane.submit(bundles, bundles.lend(bundles.pending), this.#bundle);
    this.#bundle = undefined;
  }
}

function onlySegment(content: Content<PlacedChunk, PlacedNode> | undefined) {
  if (content?.kind !== 'segments' || content.segments.length !== 1) return undefined;
  const segment = content.segments[0]!;
  return segment.kind === 'data' ? segment : undefined;
}
