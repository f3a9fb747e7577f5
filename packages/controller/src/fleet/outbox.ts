// Messages on their way to one slow reader: an async iterable with a bound.
//
// Hazard: a reader that doesn't read must cost a bounded amount of memory and nobody else's time. So putting never waits:
// what doesn't fit ends the outbox, and its reader has to come again.
//
// Tested in outbox.test.ts.

export interface Outbox<T> extends AsyncIterable<T> {
  /** False when the outbox has ended, or just did because it was full. */
  put(message: T): boolean;
  /** No more messages; those that wait are still delivered. With an error: they are dropped and the reader gets it. */
  end(error?: Error): void;
}

export function makeOutbox<T>(maxMessages: number, whenFull: () => Error): Outbox<T> {
  let messages: T[] = [];
  let ended = false;
  let failure: Error | undefined;
  let wake: (() => void) | undefined;

  const end = (error?: Error): void => {
    if (ended) return;
    ended = true;
    failure = error;
    if (error !== undefined) messages = [];
    wake?.();
  };
  return {
    put(message) {
      if (ended) return false;
      if (messages.length >= maxMessages) {
        end(whenFull());
        return false;
      }
      messages.push(message);
      wake?.();
      return true;
    },
    end,
    async *[Symbol.asyncIterator]() {
      try {
        for (;;) {
          const next = messages.shift();
          if (next !== undefined) {
            yield next;
            continue;
          }
          if (failure !== undefined) throw failure;
          if (ended) return;
          await new Promise<void>((resolve) => (wake = resolve));
          wake = undefined;
        }
      } finally {
        end();
      }
    },
  };
}
