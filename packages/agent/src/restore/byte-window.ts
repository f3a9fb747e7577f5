// A window of bytes: who wants more than is left waits, in order.
//
// Invariants (byte-window.test.ts): W1 never more than `capacity` is out, except one holder that alone is larger than it;
// W2 waiters are served in the order they came, so a large one is not starved by small ones.

import { HoldfastError } from '@holdfast/shared/base/errors';

interface Waiter {
  readonly bytes: number;
  readonly go: () => void;
  readonly fail: (error: HoldfastError) => void;
}

export class ByteWindow {
  readonly #capacity: number;
  #out = 0;
  #waiters: Waiter[] = [];
  #closed: HoldfastError | undefined;

  constructor(capacityBytes: number) {
    this.#capacity = capacityBytes;
  }

  /** Resolves once `bytes` fit. Throws what `close` was given. */
  async take(bytes: number): Promise<void> {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#waiters.length === 0 && this.#fits(bytes)) {
      this.#out += bytes;
      return;
    }
    await new Promise<void>((go, fail) => {
      this.#waiters.push({ bytes, go, fail });
    });
  }

  release(bytes: number): void {
    this.#out -= bytes;
    for (let next = this.#waiters[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiters[0]) {
      this.#waiters.shift();
      this.#out += next.bytes;
      next.go();
    }
  }

  /** Fails everyone who waits, and who comes later. */
  close(error: HoldfastError): void {
    this.#closed ??= error;
    for (const waiter of this.#waiters.splice(0)) waiter.fail(this.#closed);
  }

  get outBytes(): number {
    return this.#out;
  }

  #fits(bytes: number): boolean {
    return this.#out === 0 || this.#out + bytes <= this.#capacity;
  }
}
