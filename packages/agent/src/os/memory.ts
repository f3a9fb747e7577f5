// Keeping the agent small: the C library's allocator is told to use few arenas, and to give back what it no longer needs.
//
// Hazard: each thread of a job gets an arena of its own, and glibc keeps what was freed in it. An agent that has run one backup
// would then hold 200 MiB for ever, on a server that has better use for them.
//
// Elsewhere than on glibc these calls don't exist, and nothing is done.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import koffi from 'koffi';

/** mallopt's parameters (malloc.h). */
const M_ARENA_MAX = -8;
const M_MMAP_THRESHOLD = -3;
const M_TRIM_THRESHOLD = -1;
const ARENAS = 2;
/** Allocations from `mapped` bytes on are mapped by themselves, and so given back when they are freed; an arena's free end from `trimmed` on. */
interface Thresholds {
  readonly mapped: number;
  readonly trimmed: number;
}
const SMALL: Thresholds = { mapped: 128 * 1024, trimmed: 128 * 1024 };
/** Above the size of a chunk. */
const FAST: Thresholds = { mapped: 1280 * 1024, trimmed: 2 * 1024 * 1024 };

const { mallopt, mallocTrim } = bind();

function bind() {
  const library = koffi.load(null);
  try {
    const set: (parameter: number, value: number) => number = library.func('mallopt', 'int', ['int', 'int']);
    const trim: (keep: number) => number = library.func('malloc_trim', 'int', ['uint64_t']);
    return { mallopt: set, mallocTrim: trim };
  } catch {
    return { mallopt: () => 0, mallocTrim: () => 0 };
  }
}

/** Once, before threads are started. */
export function limitArenas(): void {
  mallopt(M_ARENA_MAX, ARENAS);
  setThresholds(SMALL);
}

let reusing = 0;

/**
 * For work in which buffers of up to a MiB come and go: the kernel takes 0.5 ms for the pages of one, more than it takes to unpack it. From
 * the first call to the end of the last one such memory is used again instead. It costs some 10 to 40 MiB, by what else lives in between.
 * @returns ends it
 */
export function reuseFreedMemory(): () => void {
  if (reusing++ === 0) setThresholds(FAST);
  let ended = false;
  return () => {
    if (ended) return;
    ended = true;
    if (--reusing > 0) return;
    setThresholds(SMALL);
    mallocTrim(0);
  };
}

function setThresholds({ mapped, trimmed }: Thresholds): void {
  mallopt(M_MMAP_THRESHOLD, mapped);
  mallopt(M_TRIM_THRESHOLD, trimmed);
}

/** Collects garbage and gives free memory back to the system: some 20 ms, for when a job has ended. */
export function giveBackMemory(): void {
  collectGarbage();
  mallocTrim(0);
}

/**
 * For a thread through which content passes that its sources allocate (a socket's, a pipe's): buffers lie outside the heap, and V8 lets
 * a hundred MiB of dead ones gather beside a heap of a few. Looking at the young ones alone costs some 0.2 ms, and most die young.
 * @returns to be told of every byte that was read
 */
export function collectEvery(bytes: number): (read: number) => void {
  let since = 0;
  return (read) => {
    since += read;
    if (since < bytes) return;
    since = 0;
    collectGarbage({ type: 'minor', execution: 'sync' });
  };
}

type Collect = (options?: { readonly type: 'minor'; readonly execution: 'sync' }) => void;

let collect: Collect | undefined;

function collectGarbage(options?: Parameters<Collect>[0]): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as Collect;
  }
  if (options === undefined) collect();
  else collect(options);
}
