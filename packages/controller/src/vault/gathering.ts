// When a batch of group commit is large enough to go.
//
// Hazard: every batch costs a sync and a transaction, whatever is in it, and a backup that sends without a pause made one for
// every two objects: a catalog that did nothing but plan statements. Waiting for more, on the other hand, makes senders
// wait who have nothing more to send. So a batch goes when it is large, when nothing came for a moment, when it has waited
// long enough, or when somebody is known to wait for it.
//
// Tested in gathering.test.ts.

/** From here on a sync costs little beside the bytes. */
const ENOUGH_BYTES = 4 * 1024 * 1024;
/** Nothing came for so long: what was sent has arrived. */
const LULL_MS = 8;
const LONGEST_MS = 100;

export class Gathering {
  #bytes = 0;
  #hurried = false;
  #lull: NodeJS.Timeout | undefined;
  #done: (() => void) | undefined;

  /** `bytes` came. `awaited`: the sender waits for just that. */
  add(bytes: number, awaited: boolean): void {
    this.#bytes += bytes;
    this.#lull?.refresh();
    if (awaited || this.#bytes >= ENOUGH_BYTES) this.hurry();
  }

  /** What has come goes now. */
  hurry(): void {
    this.#hurried = true;
    this.#done?.();
  }

  /** Resolves when the batch should go. What comes afterwards counts towards the next one. */
  async enough(): Promise<void> {
    if (!this.#hurried) await this.#waitForMore();
    this.#hurried = false;
    this.#bytes = 0;
  }

  async #waitForMore(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#done = resolve;
    this.#lull = setTimeout(resolve, LULL_MS);
    const longest = setTimeout(resolve, LONGEST_MS);
    await promise;
    clearTimeout(this.#lull);
    clearTimeout(longest);
    this.#lull = undefined;
    this.#done = undefined;
  }
}
