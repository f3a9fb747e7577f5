// Back-pressure between the threads of a backup: how many sealed bytes are waiting for the network, and whether to go on.
//
// Hazard: the scan thread runs synchronously and would fill memory long before a slow controller has taken the bytes.
//
// Invariants (pressure.test.ts):
//   P1 the scan thread submits nothing while more than `limitBytes` of envelopes are held anywhere in the process;
//   P2 whoever waits is woken by every change that could let it go on, and never sleeps longer than a second without looking.
//
// One shared array of Int32 cells; all threads see it, only Atomics touch it.

const EVENTS = 0;
const HELD_BYTES = 1;
const CANCELLED = 2;
const CELLS = 3;

export class Pressure {
  readonly memory: SharedArrayBuffer;
  readonly #cells: Int32Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(CELLS * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#cells = new Int32Array(memory);
  }

  /** Bytes of sealed envelopes not yet acknowledged. */
  heldBytes(): number {
    return Atomics.load(this.#cells, HELD_BYTES);
  }

  hold(bytes: number): void {
    Atomics.add(this.#cells, HELD_BYTES, bytes);
  }

  release(bytes: number): void {
    Atomics.sub(this.#cells, HELD_BYTES, bytes);
    this.signal();
  }

  cancel(): void {
    Atomics.store(this.#cells, CANCELLED, 1);
    this.signal();
  }

  get cancelled(): boolean {
    return Atomics.load(this.#cells, CANCELLED) === 1;
  }

  /** Wakes whoever waits: something changed (a message was posted, bytes were released). */
  signal(): void {
    Atomics.add(this.#cells, EVENTS, 1);
    Atomics.notify(this.#cells, EVENTS);
  }

  /** Blocks this thread until `ready` holds. `ready` is asked again after every signal; it may take messages from ports. */
  waitUntil(ready: () => boolean): void {
    for (;;) {
      const seen = Atomics.load(this.#cells, EVENTS);
      if (ready()) return;
      Atomics.wait(this.#cells, EVENTS, seen, LONGEST_SLEEP_MS);
    }
  }
}

const LONGEST_SLEEP_MS = 1_000;
