// The thread of an engine that makes a snapshot's content: what its module calls, once, when it is loaded.
//
//     runProducer(async (writer, data, context) => { const settings = data as Settings; … writer.stream(…) … return result; });
//
// The function may wait for sockets and child processes; the writer's own calls block this thread while too much is on its
// way. When it returns, what was written becomes the snapshot; when it throws, there is none.
//
// Hazard: a thread that is simply ended leaves child processes behind. So it is told first: `context.signal` is aborted,
// writers throw CANCELLED, and the function has a few seconds to end what it began.

import { parentPort, workerData } from 'node:worker_threads';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { CANCEL_MESSAGE, type ProducerWorkerData, type ScanMessage } from '../messages.ts';
import { Pressure } from '../pressure.ts';
import type { SnapshotWriter } from '../snapshot-writer.ts';
import { ProducerPipeline } from './pipeline.ts';

export interface ProducerContext {
  /** Aborted when the backup is cancelled, or failed elsewhere. */
  readonly signal: AbortSignal;
  /** The source's own directory in the agent's state: for files that the engine needs while it works. Remove them. */
  readonly directory: string;
  /** Throws CANCELLED. */
  throwIfCancelled(): void;
  /** What will come, as far as it is known: for whoever watches. */
  expect(total: { readonly files?: number; readonly bytes?: number }): void;
  /** Bytes read from the source that were not written to the snapshot. */
  addBytesRead(bytes: number): void;
  /** To the main thread's `onMessage`, at once. Structured-cloneable. */
  tell(message: unknown): void;
}

/** `data` is what the main thread gave (SnapshotProducer.data). `produce`'s answer reaches `beforeCommit` on the main thread; it must be structured-cloneable. */
export function runProducer<R = undefined>(
  produce: (writer: SnapshotWriter, data: unknown, context: ProducerContext) => Promise<R> | R,
): void {
  const data = workerData as ProducerWorkerData;
  const port = parentPort!;
  const post = (message: ScanMessage, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
  const cancelling = new AbortController();
  const pressure = new Pressure(data.pressure);
  port.on('message', (message) => {
    if (message !== CANCEL_MESSAGE) return;
    pressure.cancel();
    cancelling.abort(new HoldfastError('CANCELLED', 'the backup was cancelled'));
  });
  const run = async (): Promise<void> => {
    const pipeline = new ProducerPipeline(data, pressure, post);
    try {
      const result = await produce(pipeline.writer, data.settings, {
        signal: cancelling.signal,
        directory: data.directory,
        throwIfCancelled: () => pipeline.throwIfCancelled(),
        expect: (total) => pipeline.progress.expect(total),
        addBytesRead: (bytes) => pipeline.progress.addBytesRead(bytes),
        tell: (message) => post({ kind: 'tell', message }),
      });
      post({ ...pipeline.finish(), result });
    } finally {
      pipeline.close();
    }
  };
  run().catch((error: unknown) => {
    const { code, message, hint, details } = toHoldfastError(error);
    post({ kind: 'failed', code, message, hint, details });
  });
}
