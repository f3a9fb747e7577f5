// The simulated world's time, clocks and network: events in order, and messages that are lost, late, doubled or cut off one way.
//
// Everything random comes from one seed, in the order of events: the same seed and schedule give the same run.

import type { NetworkSettings } from './network-settings.ts';
import { Random } from './random.ts';
import type { RuleId } from './rules.ts';

interface Happening {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class World {
  nowMs = 0;
  readonly random: Random;
  readonly network: NetworkSettings;
  /** The rule that this run goes without. */
  readonly #without: RuleId | undefined;
  readonly trace: string[] | undefined;
  readonly #heap: Happening[] = [];
  readonly #cuts = new Set<string>();
  #order = 0;

  constructor(seed: number, network: NetworkSettings, without: RuleId | undefined, trace: boolean) {
    this.random = new Random(seed);
    this.network = network;
    this.#without = without;
    this.trace = trace ? [] : undefined;
  }

  off(rule: RuleId): boolean {
    return this.#without === rule;
  }

  note(text: () => string): void {
    this.trace?.push(`${(this.nowMs / 1000).toFixed(3).padStart(8)} ${text()}`);
  }

  at(atMs: number, run: () => void): void {
    const heap = this.#heap;
    const happening = { atMs, order: (this.#order += 1), run };
    let index = heap.push(happening) - 1;
    while (index > 0) {
      const above = (index - 1) >> 1;
      if (!isBefore(happening, heap[above]!)) break;
      heap[index] = heap[above]!;
      index = above;
    }
    heap[index] = happening;
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + delayMs, run);
  }

  /** Runs what happens until `untilMs`; `check` after each. Ends early when it answers true. */
  run(untilMs: number, check: () => boolean): void {
    for (;;) {
      const next = this.#take();
      if (next === undefined || next.atMs > untilMs) return;
      this.nowMs = next.atMs;
      next.run();
      if (check()) return;
    }
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
  }

  /** Brings a message on its way; `deliver` runs when it arrives, if it does. A cut stops what is sent while it lasts. */
  send(from: string, to: string, deliver: () => void): void {
    const { minDelayMs, maxDelayMs, loss, late, lateMs, lateTo, doubled } = this.network;
    if (this.#cuts.has(`${from}>${to}`) || this.random.chance(loss)) return;
    const copies = this.random.chance(doubled) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      const mayBeLate = lateTo === undefined || lateTo === to;
      const extraMs = mayBeLate && this.random.chance(late) ? this.random.between(0, lateMs) : 0;
      this.after(this.random.between(minDelayMs, maxDelayMs) + extraMs, deliver);
    }
  }

  #take(): Happening | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function isBefore(a: Happening, b: Happening): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A machine's clocks: a monotonic one with a rate of its own that stands while the machine is frozen, and a wall clock that jumps. */
export class MachineClock {
  readonly rate: number;
  #frozenMs = 0;
  #frozenAtMs: number | undefined;
  wallOffsetMs = 0;

  constructor(rate: number) {
    this.rate = rate;
  }

  read(nowMs: number): number {
    return ((this.#frozenAtMs ?? nowMs) - this.#frozenMs) * this.rate;
  }

  get frozen(): boolean {
    return this.#frozenAtMs !== undefined;
  }

  freeze(nowMs: number): void {
    this.#frozenAtMs ??= nowMs;
  }

  thaw(nowMs: number): void {
    if (this.#frozenAtMs === undefined) return;
    this.#frozenMs += nowMs - this.#frozenAtMs;
    this.#frozenAtMs = undefined;
  }
}
