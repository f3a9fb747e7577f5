// Cutting a leaf into units of work: runs of entries with the chunks that they need.
//
// Hazard: a leaf may stand for gigabytes (4,096 entries, 16,384 chunks of up to 16 MiB). Memory is bounded only if what
// is fetched and handed to a worker at once is bounded.
//
// Invariants (unit-plan.test.ts):
//   U1 a unit holds at most UNIT_BYTES of chunks (their plain lengths), unless one of its entries alone needs more;
//   U2 entries keep their order, and each is in exactly one unit;
//   U3 a unit ends where a new chunk begins whenever it can, so that a bundle is rarely opened twice.
//
// Pure.

import type { DataSegment, PlacedChunk } from '@holdfast/shared/format/manifest/entry';

/** Enough to be worth a message to a worker, little enough that several are on their way at once. */
export const UNIT_BYTES = 3 * 1024 * 1024;
export const UNIT_ENTRIES = 512;

export interface PlannedChunk {
  readonly chunk: PlacedChunk;
  /** How much of it the unit's entries use. */
  readonly usedBytes: number;
}

export interface PlannedUnit {
  /** Indexes in the leaf, ascending. */
  readonly entries: readonly number[];
  /** Distinct, in order of first use. */
  readonly chunks: readonly PlannedChunk[];
  /** Sum of the plain lengths of `chunks`. */
  readonly chunkBytes: number;
}

export class UnitPlanner {
  #entries: number[] = [];
  #chunks = new Map<number, { readonly chunk: PlacedChunk; usedBytes: number }>();
  #chunkBytes = 0;

  /** Adds an entry with the segments that it needs; gives back the unit that had to be closed before it, if any. */
  add(index: number, segments: readonly DataSegment<PlacedChunk>[]): PlannedUnit | undefined {
    const added = this.#newBytes(segments);
    const full = this.#chunkBytes + added > UNIT_BYTES && added > 0;
    const closed =
      this.#entries.length > 0 && (full || this.#entries.length >= UNIT_ENTRIES) ? this.finish() : undefined;
    this.#entries.push(index);
    for (const { chunk, length } of segments) {
      const known = this.#chunks.get(chunk.index);
      if (known !== undefined) {
        known.usedBytes += length;
        continue;
      }
      this.#chunks.set(chunk.index, { chunk, usedBytes: length });
      this.#chunkBytes += chunk.plainLength;
    }
    return closed;
  }

  /** The unit of what was added since the last one; undefined when that is nothing. */
  finish(): PlannedUnit | undefined {
    if (this.#entries.length === 0) return undefined;
    const unit = { entries: this.#entries, chunks: [...this.#chunks.values()], chunkBytes: this.#chunkBytes };
    this.#entries = [];
    this.#chunks = new Map();
    this.#chunkBytes = 0;
    return unit;
  }

  /** An entry has few segments here (8 and its xattrs), so looking back is cheap. */
  #newBytes(segments: readonly DataSegment<PlacedChunk>[]): number {
    let bytes = 0;
    segments.forEach(({ chunk }, at) => {
      const before =
        this.#chunks.has(chunk.index) || segments.slice(0, at).some((one) => one.chunk.index === chunk.index);
      if (!before) bytes += chunk.plainLength;
    });
    return bytes;
  }
}
