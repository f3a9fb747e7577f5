// Work that was begun and not yet waited for: how much there is, and the first error among it.
//
// Hazard: a promise that fails while nobody waits for it takes the whole agent down, or is never seen. Everything begun
// here is waited for by `drain`, and its first error is what `drain` throws.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';

export class WorkInFlight {
  readonly #open = new Set<Promise<void>>();
  readonly #onError: (error: HoldfastError) => void;
  #error: HoldfastError | undefined;

  /** @param onError called once, with the first error, as soon as it happens */
  constructor(onError: (error: HoldfastError) => void) {
    this.#onError = onError;
  }

  begin(work: Promise<void>): void {
    const guarded = work.catch((thrown: unknown) => this.fail(toHoldfastError(thrown)));
    this.#open.add(guarded);
    void guarded.then(() => this.#open.delete(guarded));
  }

  fail(error: HoldfastError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#onError(error);
  }

  /** Throws the first error, if there was one. */
  check(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** Waits for everything begun so far, and what it begins. */
  async drain(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open);
    this.check();
  }

  /** Waits for everything, whatever becomes of it. */
  async settle(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open);
  }
}
