// The chunks that a restore thread has opened: checked plaintext by id, the least recently used forgotten first.
//
// Hazard: a bundle is used by many files, and straddles leaves; opening it for each would cost thousands of decryptions,
// keeping every one would cost the whole snapshot's size.
//
// Invariants (opened-chunks.test.ts):
//   O1 what is handed out has the id that was asked for and the length that the manifest says;
//   O2 at most `capacityBytes` are kept, besides the chunk handed out last;
//   O3 what is forgotten is given back at once: beside the few bytes of a view the collector would let hundreds of MiB pile up.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { freeMemory } from '@holdfast/shared/base/free-memory';
import type { DataSegment, PlacedChunk } from '@holdfast/shared/format/manifest/entry';
import { asBuffer, type PostedChunk } from './restore-task.ts';

/** Checks an envelope against its id and gives its plaintext, in memory that nothing else uses. Throws DAMAGED and the like. */
export type OpenChunk = (envelope: Buffer, id: Buffer) => Buffer;

export class OpenedChunks {
  readonly #open: OpenChunk;
  readonly #capacity: number;
  /** In order of use, the latest last. */
  readonly #plain = new Map<string, Buffer>();
  #plainBytes = 0;
  #supplied = new Map<string, PostedChunk>();

  constructor(open: OpenChunk, capacityBytes: number) {
    this.#open = open;
    this.#capacity = capacityBytes;
  }

  /** The envelopes of the task that begins; those of the task before are dropped. */
  supply(chunks: readonly PostedChunk[]): void {
    for (const { envelope } of this.#supplied.values()) if (envelope !== undefined) freeMemory(envelope);
    this.#supplied = new Map(chunks.map((chunk) => [keyOf(chunk.id), chunk]));
  }

  /** Whether the task came with an answer for this chunk, or the plaintext is still here. */
  has(chunk: PlacedChunk): boolean {
    const key = keyOf(chunk.id);
    return this.#supplied.has(key) || this.#plain.has(key);
  }

  /** The bytes of a segment: a view, valid while nothing else is asked for. Throws DAMAGED. */
  bytesOf(segment: DataSegment<PlacedChunk>): Buffer {
    const plain = this.#plainOf(segment.chunk);
    if (segment.offset + segment.length > plain.length) {
      throw new HoldfastError('DAMAGED', `a segment reaches beyond its chunk ${shortId(segment.chunk.id)}`);
    }
    return plain.subarray(segment.offset, segment.offset + segment.length);
  }

  #plainOf(chunk: PlacedChunk): Buffer {
    const key = keyOf(chunk.id);
    const kept = this.#plain.get(key);
    if (kept !== undefined) {
      this.#plain.delete(key);
      this.#plain.set(key, kept);
      return kept;
    }
    const supplied = this.#supplied.get(key);
    if (supplied === undefined) throw new HoldfastError('DAMAGED', `chunk ${shortId(chunk.id)} was not served`);
    if (supplied.envelope === undefined) {
      throw new HoldfastError('DAMAGED', `chunk ${shortId(chunk.id)}: ${supplied.problem}`);
    }
    const plain = this.#open(asBuffer(supplied.envelope), chunk.id);
    if (plain.length !== chunk.plainLength) {
      throw new HoldfastError(
        'DAMAGED',
        `chunk ${shortId(chunk.id)} has ${plain.length} bytes, not ${chunk.plainLength}`,
      );
    }
    this.#keep(key, plain);
    return plain;
  }

  #keep(key: string, plain: Buffer): void {
    this.#plain.set(key, plain);
    this.#plainBytes += plain.length;
    for (const [oldKey, old] of this.#plain) {
      if (this.#plainBytes <= this.#capacity || oldKey === key) break;
      this.#plain.delete(oldKey);
      this.#plainBytes -= old.length;
      freeMemory(old);
    }
  }
}

export function keyOf(id: Uint8Array): string {
  return asBuffer(id).toString('latin1');
}

export function shortId(id: Uint8Array): string {
  return asBuffer(id).toString('hex', 0, 8);
}
