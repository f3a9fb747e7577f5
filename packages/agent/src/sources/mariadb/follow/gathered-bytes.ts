// Bytes that come in parts, put behind each other as they come: each is copied once, out of a socket's buffer that is larger than it.
//
// Tested in piece-builder.property.test.ts.

/** Room for what a quiet server writes. */
const FIRST_BYTES = 64 * 1024;

export class GatheredBytes {
  #buffer = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, 2 * this.#buffer.length, needed));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length = needed;
  }

  /** What was gathered, in memory that nothing else uses; the next begins. */
  take(): Buffer {
    const bytes = this.#buffer.subarray(0, this.#length);
    this.#length = 0;
    // Little of it is not worth the memory that it lies in.
    if (bytes.length < this.#buffer.length / 2) return Buffer.from(bytes);
    this.#buffer = Buffer.alloc(0);
    return bytes;
  }
}
