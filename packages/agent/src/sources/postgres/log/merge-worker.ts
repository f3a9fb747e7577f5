// Merging thread: opens the stored pieces of one log file and seals them again as one. 16 MiB would hold up the main thread for a
// tenth of a second.

import { parentPort, workerData } from 'node:worker_threads';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { open, seal, type SealOptions } from '@holdfast/shared/format/seal';

export interface MergeWorkerData {
  readonly keys: DomainKeys;
  readonly options: SealOptions;
}

/** Envelopes to merge, in order. */
export type MergeOrder = readonly Uint8Array<ArrayBuffer>[];

const { keys, options } = workerData as MergeWorkerData;

parentPort?.on('message', (envelopes: MergeOrder) => {
  const pieces = envelopes.map((envelope) => open(keys, envelope, { kind: ObjectKind.logSegment }).plain);
  const { id, envelope } = seal(keys, ObjectKind.logSegment, [], Buffer.concat(pieces), options);
  parentPort?.postMessage({ id, envelope }, [envelope.buffer]);
});
