// A pool of threads of one kind: tasks go to the least busy one, or to one that is named, and come back as promises.
//
// Hazard: a thread that dies takes its tasks' promises with it, and the job would wait for ever. So its death fails every
// task that it had, and every later one.
//
// What is posted: { id, task }. What comes back: { id, result } or { id, error }. Each thread answers in order.

import { Worker, type TransferListItem } from 'node:worker_threads';
import { HoldfastError, isErrorCode, type ErrorCode, type ErrorDetails } from '@holdfast/shared/base/errors';

export interface PostedTask<T> {
  readonly id: number;
  readonly task: T;
}

/** A HoldfastError as it crosses threads. */
export interface CrossedError {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly details: ErrorDetails;
}

export type PostedAnswer<R> =
  | { readonly id: number; readonly result: R }
  | { readonly id: number; readonly error: CrossedError };

interface Pending<R> {
  readonly resolve: (result: R) => void;
  readonly reject: (error: HoldfastError) => void;
}

interface Thread<R> {
  readonly worker: Worker;
  readonly pending: Map<number, Pending<R>>;
  load: number;
  dead: HoldfastError | undefined;
}

export interface PoolOptions {
  readonly count: number;
  readonly module: URL;
  readonly workerData: unknown;
  /** Old-generation heap of each thread: a limit that is never near, unless something grows without bound. */
  readonly maxHeapMb: number;
}

export class WorkerPool<T, R> {
  readonly #threads: Thread<R>[];
  #nextId = 1;

  constructor(options: PoolOptions) {
    this.#threads = Array.from({ length: options.count }, () => this.#start(options));
  }

  get size(): number {
    return this.#threads.length;
  }

  /** The thread with the least work, by the weights of its open tasks. */
  leastBusy(): number {
    let best = 0;
    this.#threads.forEach((thread, index) => {
      if (thread.load < this.#threads[best]!.load) best = index;
    });
    return best;
  }

  /** @param weight how much work this is, in bytes or so; decides where the next task goes */
  run(thread: number, task: T, weight: number, transfer: readonly TransferListItem[] = []): Promise<R> {
    const chosen = this.#threads[thread]!;
    if (chosen.dead !== undefined) return Promise.reject(chosen.dead);
    const id = this.#nextId++;
    chosen.load += weight;
    return new Promise<R>((resolve, reject) => {
      const settle = (): void => {
        chosen.load -= weight;
        chosen.pending.delete(id);
      };
      chosen.pending.set(id, {
        resolve: (result) => {
          settle();
          resolve(result);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      const posted: PostedTask<T> = { id, task };
      chosen.worker.postMessage(posted, transfer);
    });
  }

  /** Ends every thread, after the task it is in the middle of. Open tasks are failed with CANCELLED. */
  async close(): Promise<void> {
    await Promise.all(
      this.#threads.map(async (thread) => {
        thread.dead ??= new HoldfastError('CANCELLED', 'the restore ended before this was done');
        await thread.worker.terminate();
      }),
    );
  }

  #start(options: PoolOptions): Thread<R> {
    const worker = new Worker(options.module, {
      workerData: options.workerData,
      resourceLimits: { maxOldGenerationSizeMb: options.maxHeapMb, maxYoungGenerationSizeMb: YOUNG_HEAP_MB },
    });
    const thread: Thread<R> = { worker, pending: new Map(), load: 0, dead: undefined };
    worker.on('message', (answer: PostedAnswer<R>) => {
      const pending = thread.pending.get(answer.id);
      if (pending === undefined) return;
      if ('error' in answer) pending.reject(fromCrossed(answer.error));
      else pending.resolve(answer.result);
    });
    const died = (error: HoldfastError): void => {
      thread.dead ??= error;
      for (const pending of thread.pending.values()) pending.reject(thread.dead);
    };
    worker.on('error', (cause) =>
      died(new HoldfastError('INTERNAL', `a restore thread failed: ${String(cause)}`, { cause })),
    );
    worker.on('exit', (code) => died(new HoldfastError('INTERNAL', `a restore thread ended by itself (${code})`)));
    return thread;
  }
}

/** Short-lived views and records; a larger one only makes the thread's memory grow before it is looked at. */
const YOUNG_HEAP_MB = 4;

export function toCrossed(error: HoldfastError): CrossedError {
  return { code: error.code, message: error.message, hint: error.hint, details: error.details };
}

function fromCrossed(error: CrossedError): HoldfastError {
  const code: ErrorCode = isErrorCode(error.code) ? error.code : 'INTERNAL';
  return new HoldfastError(code, error.message, { hint: error.hint, details: error.details });
}
