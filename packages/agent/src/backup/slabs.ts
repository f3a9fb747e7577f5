// Plain bytes between the scan thread and the seal threads: a few large shared buffers, filled in order and reused.
//
// Hazard: a buffer for each chunk means a copy for each chunk, and garbage that grows faster than it is collected.
// Shared slabs are read into by the scan thread and sealed in place by the others.
//
// Invariants (slabs.test.ts):
//   S1 a slab is filled again only after every piece given out from it was released;
//   S2 no memory is used but what was given, whatever the source.
//
// A *piece* is what a seal thread gets: (slab, offset, length). The region being filled, from `start` to `end`, is contiguous;
// when a slab has too little room left, the unfinished region moves to the next one.

/** Room for the largest open bundle (2 MiB), for reading the next file behind it, and for bundles of the usual size to be sealed meanwhile. */
export const BUNDLE_SLAB_BYTES = 3 * 1024 * 1024;
/** Room for a chunk of the largest size and for reading as much again behind it. */
export const CHUNK_SLAB_BYTES = 8 * 1024 * 1024;

export interface Piece {
  readonly slab: number;
  readonly offset: number;
  readonly length: number;
}

interface Slab {
  readonly bytes: Buffer;
  /** Pieces given out and not yet released. */
  lent: number;
}

export class Slabs {
  readonly #slabs: Slab[];
  readonly #firstIndex: number;
  readonly #slabBytes: number;
  readonly #waitForRelease: (ready: () => boolean) => void;
  #current = 0;
  /** The unfinished region of the current slab. */
  #start = 0;
  #end = 0;

  /**
   * `memory`: at least two, of one size; `firstIndex`: what their number 0 is called in pieces. `waitForRelease` blocks
   * until its argument holds, taking messages (and calling `release`) meanwhile.
   */
  constructor(
    memory: readonly SharedArrayBuffer[],
    firstIndex: number,
    waitForRelease: (ready: () => boolean) => void,
  ) {
    this.#slabs = memory.map((bytes) => ({ bytes: Buffer.from(bytes), lent: 0 }));
    this.#firstIndex = firstIndex;
    this.#slabBytes = memory[0]!.byteLength;
    this.#waitForRelease = waitForRelease;
  }

  /** Bytes of the unfinished region. */
  get pending(): number {
    return this.#end - this.#start;
  }

  /** The unfinished region, valid until the next call of `room`. */
  pendingBytes(): Buffer {
    return this.#slabs[this.#current]!.bytes.subarray(this.#start, this.#end);
  }

  /** Room for at least `length` more bytes behind the unfinished region; fill it, then call `filled`. */
  room(length: number): Buffer {
    if (this.#end + length > this.#slabBytes) this.#moveToNextSlab(length);
    return this.#slabs[this.#current]!.bytes.subarray(this.#end);
  }

  filled(length: number): void {
    this.#end += length;
  }

  /** Gives up the last `length` bytes of the unfinished region (a file that must be read again). */
  unfill(length: number): void {
    this.#end -= length;
  }

  /** Gives out the first `length` bytes of the unfinished region as a piece. */
  lend(length: number): Piece {
    const piece = { slab: this.#firstIndex + this.#current, offset: this.#start, length };
    this.#slabs[this.#current]!.lent++;
    this.#start += length;
    return piece;
  }

  /** Drops the first `length` bytes of the unfinished region: they are not needed. */
  skip(length: number): void {
    this.#start += length;
  }

  /** Drops the unfinished region: what it held is given up. */
  skipAll(): void {
    this.#start = this.#end;
  }

  release(slab: number): void {
    this.#slabs[slab - this.#firstIndex]!.lent--;
  }

  #moveToNextSlab(length: number): void {
    const pending = this.#end - this.#start;
    if (pending + length > this.#slabBytes)
      throw new RangeError(`a region of ${pending + length} bytes does not fit a slab`);
    const from = this.#slabs[this.#current]!;
    if (from.lent === 0) {
      from.bytes.copyWithin(0, this.#start, this.#end);
    } else {
      const next = this.#free();
      from.bytes.copy(this.#slabs[next]!.bytes, 0, this.#start, this.#end);
      this.#current = next;
    }
    this.#start = 0;
    this.#end = pending;
  }

  #free(): number {
    let found = -1;
    this.#waitForRelease(() => {
      found = this.#slabs.findIndex((slab, index) => index !== this.#current && slab.lent === 0);
      return found >= 0;
    });
    return found;
  }
}
