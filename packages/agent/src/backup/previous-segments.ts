// The segments that a large file had in the previous snapshot, found by their tags while the file is read again.
//
// Bounded: of a file of terabytes only the segments around the place being read are held. Content that moved further than
// that within one file is sent again, and found to be in the vault by then.

import type { Content, DataSegment, PlacedChunk, PlacedNode, Segment } from '@holdfast/shared/format/manifest/entry';
import { streamSync, type SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree';

/** How far ahead of and behind the place being read segments are held. */
const REACH_BYTES = 8 * 1024 ** 3;

interface Held {
  readonly key: string;
  readonly end: number;
  readonly segment: DataSegment<PlacedChunk>;
}

export class PreviousSegments {
  readonly #segments: Iterator<Segment<PlacedChunk>>;
  readonly #byTag = new Map<string, Held>();
  readonly #inOrder: Held[] = [];
  #loadedTo = 0;
  #ended = false;

  constructor(store: SyncNodeStore, content: Content<PlacedChunk, PlacedNode>, size: number) {
    this.#segments = streamSync(store, readSegments(content, size));
  }

  /** A segment with this tag (and so this plaintext) and length near `offset`, or undefined. */
  find(tag: Buffer, length: number, offset: number): DataSegment<PlacedChunk> | undefined {
    this.#load(offset + REACH_BYTES);
    this.#forget(offset - REACH_BYTES);
    const held = this.#byTag.get(tag.toString('latin1'));
    return held?.segment.length === length ? held.segment : undefined;
  }

  #load(upTo: number): void {
    while (!this.#ended && this.#loadedTo < upTo) {
      const step = this.#segments.next();
      if (step.done === true) {
        this.#ended = true;
        return;
      }
      const segment = step.value;
      this.#loadedTo += segment.length;
      if (segment.kind !== 'data') continue;
      const held = { key: segment.tag.toString('latin1'), end: this.#loadedTo, segment };
      this.#byTag.set(held.key, held);
      this.#inOrder.push(held);
    }
  }

  #forget(before: number): void {
    let count = 0;
    while (count < this.#inOrder.length && this.#inOrder[count]!.end < before) {
      const held = this.#inOrder[count++]!;
      if (this.#byTag.get(held.key) === held) this.#byTag.delete(held.key);
    }
    if (count > 0) this.#inOrder.splice(0, count);
  }
}
