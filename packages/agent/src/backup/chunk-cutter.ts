// Content-defined chunks of what stands unfinished in the chunks' slab: each given to be sealed, unless the path had it before.

import { Chunker, gearTable, NEED_MORE } from '@holdfast/shared/format/chunker';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { tagOf } from '@holdfast/shared/format/tag';
import type { PendingSegment } from './assembler.ts';
import type { DeadBytes } from './dead-bytes.ts';
import type { PreviousSegments } from './previous-segments.ts';
import type { SealingLane } from './sealing-lane.ts';
import type { Slabs } from './slabs.ts';

export interface ChunkCutterDeps {
  readonly keys: DomainKeys;
  readonly lane: SealingLane;
  readonly chunks: Slabs;
  readonly dead: DeadBytes;
}

export class ChunkCutter {
  readonly #deps: ChunkCutterDeps;
  readonly #chunker: Chunker;

  constructor(deps: ChunkCutterDeps) {
    this.#deps = deps;
    this.#chunker = new Chunker(gearTable(deps.keys));
  }

  /** What comes is not joined to what came before. */
  reset(): void {
    this.#chunker.reset();
  }

  /**
   * Cuts the next chunk from the front of what is pending; undefined when that needs more bytes. `atEnd`: no more will come.
   * `offset`: where it stands in the file; `before`: what the path had.
   */
  cut(atEnd: boolean, offset: number, before: PreviousSegments | undefined): PendingSegment | undefined {
    const { chunks, keys, lane, dead } = this.#deps;
    const pending = chunks.pendingBytes();
    if (pending.length === 0) return undefined;
    const length = this.#chunker.cut(pending, 0, pending.length, atEnd);
    if (length === NEED_MORE) return undefined;
    if (this.#chunker.lastWasZeros) {
      chunks.skip(length);
      return { kind: 'zeros', length };
    }
    const tag = tagOf(keys, pending.subarray(0, length));
    const old = before?.find(tag, length, offset);
    if (old !== undefined && !dead.repacks(old.chunk)) {
      chunks.skip(length);
      return { kind: 'data', slot: { reference: old.chunk }, offset: old.offset, length, tag };
    }
    const slot = lane.submit(chunks, chunks.lend(length));
    return { kind: 'data', slot, offset: 0, length, tag };
  }
}
