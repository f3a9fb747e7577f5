// How often V8 marks its whole heap in a program that carries content.
//
// Hazard: content lies outside the JavaScript heap, yet counts towards the size at which V8 collects. Beside a heap of 10 to 30 MiB a
// dozen MiB of envelopes on their way are reason enough, so every few of them the whole heap is marked, by all helper threads, and
// nothing is found: buffers are given back by hand (base/free-memory.ts). Measured in docs/decisions/copies-and-collections.md.
//
// V8 reads the flags at every decision and at the start of every thread, so they hold for what comes after the call. They move the
// point at which is collected, not the limits that a thread's `resourceLimits` set.

import { setFlagsFromString } from 'node:v8';

export interface CollectionPace {
  /** By how much the heap and what hangs on it may grow before the next full collection; V8 would take some 30 % of a small heap. */
  readonly growingPercent: number;
  /** The first collection of a thread comes at this size; without it V8 lowers the mark with every young collection. */
  readonly firstMiB: number;
}

/** For a controller: it has the memory. */
export const ROOMY_PACE: CollectionPace = { growingPercent: 300, firstMiB: 32 };
/** For an agent, several threads of which pay this each: it shall stay small, and its content is given back by hand. */
export const FRUGAL_PACE: CollectionPace = { growingPercent: 100, firstMiB: 8 };

/** Once, at the start of a program, before threads are started. */
export function collectLessOften({ growingPercent, firstMiB }: CollectionPace): void {
  setFlagsFromString(`--heap-growing-percent=${growingPercent}`);
  setFlagsFromString(`--initial-old-space-size=${firstMiB}`);
}
