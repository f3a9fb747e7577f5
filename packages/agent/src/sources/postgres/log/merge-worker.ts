// Merging thread: opens the stored pieces of one log file and seals them again as one. 16 MiB would hold up the main thread for a
// tenth of a second. The thread may wait for the next file for a while, so what it had in hand is given back at once.

import { parentPort, workerData } from 'node:worker_threads';
import { freeMemory } from '@holdfast/shared/base/free-memory';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { open, seal, type SealOptions } from '@holdfast/shared/format/seal';

export interface MergeWorkerData {
  readonly keys: DomainKeys;
  readonly options: SealOptions;
}

export interface MergeOrder {
  /** In order. */
  readonly envelopes: readonly Uint8Array<ArrayBuffer>[];
  /** Of all of them together. */
  readonly plainBytes: number;
}

const { keys, options } = workerData as MergeWorkerData;

parentPort?.on('message', ({ envelopes, plainBytes }: MergeOrder) => {
  const whole = Buffer.allocUnsafeSlow(plainBytes);
  let filled = 0;
  for (const envelope of envelopes) {
    const { plain } = open(keys, envelope, { kind: ObjectKind.logSegment });
    if (filled + plain.length > plainBytes) throw new RangeError(`more than ${plainBytes} bytes to merge`);
    filled += plain.copy(whole, filled);
    freeMemory(plain);
    freeMemory(envelope);
  }
  if (filled !== plainBytes) throw new RangeError(`${filled} bytes to merge instead of ${plainBytes}`);
  const { id, envelope } = seal(keys, ObjectKind.logSegment, [], whole, options);
  freeMemory(whole);
  parentPort?.postMessage({ id, envelope }, [envelope.buffer]);
});
