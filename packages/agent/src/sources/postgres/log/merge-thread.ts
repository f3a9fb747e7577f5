// The merging thread, from the outside: started for the first merge, ended when there was none for a while. Under load one file
// follows the other, and a thread costs more to start than a merge does; at rest there is none.

import { Worker } from 'node:worker_threads';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { SealOptions } from '@holdfast/shared/format/seal';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type { MergeOrder, MergeWorkerData } from './merge-worker.ts';
import type { Merge, StoredPiece } from './piece-merger.ts';
import type { SealedBytes } from './vault-writer.ts';

const IDLE_MS = 15_000;
const HEAP_MIB = 32;

export interface MergeThread {
  readonly merge: Merge;
  close(): void;
}

export function newMergeThread(keys: DomainKeys, options: SealOptions, clock: Clock): MergeThread {
  let worker: Worker | undefined;
  let idle: Timer | undefined;
  let pending: PromiseWithResolvers<SealedBytes> | undefined;

  const end = (error: HoldfastError): void => {
    idle?.cancel();
    pending?.reject(error);
    pending = undefined;
    void worker?.terminate();
    worker = undefined;
  };
  const start = (): Worker => {
    const workerData: MergeWorkerData = { keys, options };
    const started = new Worker(siblingModule(import.meta.url, './merge-worker'), {
      workerData,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
    });
    started.on('message', (sealed: SealedBytes) => {
      pending?.resolve(sealed);
      pending = undefined;
    });
    const ended = (error: unknown): void => {
      if (worker === started) end(toHoldfastError(error));
    };
    started.once('error', ended);
    started.once('exit', () => ended(new HoldfastError('INTERNAL', 'the merging thread ended by itself')));
    // What it does is never worth waiting for at the end of the program.
    started.unref();
    return started;
  };
  return {
    merge(pieces: readonly StoredPiece[]) {
      idle?.cancel();
      worker ??= start();
      pending = Promise.withResolvers<SealedBytes>();
      const envelopes = pieces.map(({ envelope }) => new Uint8Array(envelope));
      const plainBytes = Number(pieces.at(-1)!.range.end.order - pieces[0]!.range.start.order);
      const order: MergeOrder = { envelopes, plainBytes };
      worker.postMessage(
        order,
        envelopes.map(({ buffer }) => buffer),
      );
      idle = clock.after(IDLE_MS, () => end(new HoldfastError('TIMED_OUT', 'a merge took too long')), {
        background: true,
      });
      return pending.promise;
    },
    close: () => end(new HoldfastError('CANCELLED', 'the log is not followed any more')),
  };
}
