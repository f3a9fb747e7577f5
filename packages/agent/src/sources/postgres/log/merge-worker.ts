// Merging thread: opens the stored pieces of one log file and seals them again as one. 16 MiB would hold up the main thread for a
// tenth of a second. It lives for one merge.

import { parentPort, workerData } from 'node:worker_threads';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { open, seal, type SealOptions } from '@holdfast/shared/format/seal';

export interface MergeOrder {
  readonly keys: DomainKeys;
  readonly options: SealOptions;
  readonly envelopes: readonly Uint8Array<ArrayBuffer>[];
}

const { keys, options, envelopes } = workerData as MergeOrder;
const plain = Buffer.concat(envelopes.map((envelope) => open(keys, envelope, { kind: ObjectKind.logSegment }).plain));
const { id, envelope } = seal(keys, ObjectKind.logSegment, [], plain, options);
parentPort?.postMessage({ id, envelope }, [envelope.buffer]);
