// Answers on their way to one stream: pushed by whoever has one, taken by the stream in order.
//
// Hazard: a client that asks and never reads makes the queue grow. So who pushes asks for room first.

export class AnswerQueue<T> implements AsyncIterable<T> {
  readonly #roomFor: number;
  readonly #items: T[] = [];
  #ended = false;
  #error: Error | undefined;
  #wakeTaker: (() => void) | undefined;
  #wakePushers: (() => void)[] = [];

  constructor(roomFor: number) {
    this.#roomFor = roomFor;
  }

  /** Resolves when there is room, or when the queue has ended. */
  async room(): Promise<void> {
    while (this.#items.length >= this.#roomFor && !this.#ended) {
      await new Promise<void>((resolve) => this.#wakePushers.push(resolve));
    }
  }

  /** @param replaces whether `item` says all that the last one, still waiting, says */
  push(item: T, replaces: (waiting: T) => boolean = () => false): void {
    if (this.#ended) return;
    const last = this.#items.at(-1);
    if (last !== undefined && replaces(last)) this.#items.pop();
    this.#items.push(item);
    this.#wakeTaker?.();
  }

  /** No more answers; those that wait are still taken, then `error` is thrown if there is one. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wakeTaker?.();
    this.#releasePushers();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        this.#releasePushers();
        yield item;
      } else if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wakeTaker = resolve));
        this.#wakeTaker = undefined;
      }
    }
  }

  #releasePushers(): void {
    for (const wake of this.#wakePushers.splice(0)) wake();
  }
}
