// A clock that a test moves: nothing is due before `advance` comes to it.

import type { Clock, Timer } from '../runtime/clock.ts';

/** What a timer started has so many turns of the event loop to go on, before time goes on. */
const TURNS = 3;

export class ManualClock implements Clock {
  #nowMs = 0;
  #wallOffsetMs: number;
  readonly #timers = new Set<{ readonly dueMs: number; readonly callback: () => void }>();

  constructor(wallMs = 0) {
    this.#wallOffsetMs = wallMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  /** Somebody sets the machine's clock: durations go on as they were. */
  setWall(wallMs: number): void {
    this.#wallOffsetMs = wallMs - this.#nowMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { dueMs: this.#nowMs + Math.max(0, delayMs), callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Timers that have neither called back nor been cancelled. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Calls back what becomes due, in order. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.#callNext(untilMs));
    this.#nowMs = untilMs;
  }

  /** The same, and lets what each timer started go on before the next. */
  async advanceInTurns(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    while (this.#callNext(untilMs)) {
      for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    this.#nowMs = untilMs;
  }

  #callNext(untilMs: number): boolean {
    const next = [...this.#timers].filter(({ dueMs }) => dueMs <= untilMs).toSorted((a, b) => a.dueMs - b.dueMs)[0];
    if (next === undefined) return false;
    this.#timers.delete(next);
    this.#nowMs = Math.max(this.#nowMs, next.dueMs);
    next.callback();
    return true;
  }
}
