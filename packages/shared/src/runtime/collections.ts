// How often V8 marks its whole heap in a program that carries content.
//
// Hazard: content lies outside the JavaScript heap, yet counts towards the size at which V8 collects. Beside a heap of 10 to 30 MiB a
// dozen MiB of envelopes on their way are reason enough, so every few of them the whole heap is marked, by all helper threads, and
// nothing is found: buffers are given back by hand (base/free-memory.ts). Measured in docs/decisions/copies-and-collections.md.
//
// V8 reads the flags at every decision and at the start of every thread, so they hold for what comes after the call. They move the
// point at which is collected, not the limits that a thread's `resourceLimits` set.

import { setFlagsFromString } from 'node:v8';

/** By how much the heap and what hangs on it may grow before the next full collection; V8 would take some 30 % of a small heap. */
const GROWING_PERCENT = 300;
/** The first collection of a thread comes at this size; without it V8 lowers the mark with every young collection. */
const INITIAL_OLD_SPACE_MIB = 32;

/** Once, at the start of a program, before threads are started. */
export function collectLessOften(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWING_PERCENT}`);
  setFlagsFromString(`--initial-old-space-size=${INITIAL_OLD_SPACE_MIB}`);
}
