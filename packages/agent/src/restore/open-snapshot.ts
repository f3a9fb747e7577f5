// The snapshot record: the first object of a restore, and what tells it that the rest belongs to whom it should.
//
// Hazard: a compromised controller serves another snapshot than the one that was asked for, or one that nobody made. A
// record opens only with the domain's key, and one that names this very host must carry this host's signature.

import { createPublicKey } from 'node:crypto';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, ObjectKind } from '@holdfast/shared/format/envelope';
import type { WantedNode } from '@holdfast/shared/format/manifest/node-store';
import {
  decodeSnapshotRecord,
  rawPublicKey,
  verifySnapshotRecord,
  type SnapshotRecord,
} from '@holdfast/shared/format/snapshot-record';
import type { AgentIdentity } from '../link/identity.ts';
import type { ReadSession } from '../link/vault-port.ts';
import type { KeyRing } from './key-ring.ts';
import { asBuffer } from './restore-task.ts';

export interface OpenedSnapshot {
  readonly id: Uint8Array;
  readonly record: SnapshotRecord;
  readonly root: WantedNode;
}

export type SnapshotReader = Pick<AgentIdentity, 'hostId' | 'domainId' | 'recordKeyPem'>;

/** Throws DAMAGED when the record can't be read, isn't signed by who it says, or is another domain's. */
export async function openSnapshot(
  session: ReadSession,
  keys: KeyRing,
  reader: SnapshotReader,
): Promise<OpenedSnapshot> {
  const answer = await session.fetch(session.record, []);
  const failure = answer.failures[0];
  const served = answer.objects[0];
  if (served === undefined) {
    throw new HoldfastError(
      'DAMAGED',
      `the snapshot's record is ${failure?.reason ?? 'missing'}: ${failure?.message ?? ''}`,
      {
        hint: 'Choose another snapshot of this source.',
      },
    );
  }
  const opened = keys.open(served.envelope, { id: session.record.id, kind: ObjectKind.snapshotRecord });
  const { record } = decodeSnapshotRecord(opened.plain, opened.references);
  if (record.hostId === reader.hostId) {
    verifySnapshotRecord(opened.plain, opened.references, rawPublicKey(createPublicKey(reader.recordKeyPem)));
  }
  if (record.domainId !== reader.domainId)
    throw new HoldfastError('DAMAGED', 'the snapshot record belongs to another domain');
  if (opened.references.length !== ID_BYTES) {
    throw new HoldfastError('DAMAGED', 'the snapshot record does not refer to exactly one manifest');
  }
  return {
    id: session.record.id,
    record,
    root: { id: asBuffer(opened.references), proof: Buffer.alloc(0), parent: asBuffer(session.record.id), index: 0 },
  };
}
