// The vault's messages, from and to the agent's own types.
//
// Parts are views of the envelope: the one copy is made when a message is encoded.

import { pointToWire } from '@holdfast/shared/rpc/log-wire';
import type { BackupRequest, ReadRequest } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import type { ObjectHandle, OpenBackup, OutgoingObject, SnapshotCommit } from './vault-port.ts';

/** A message with its framing stays under 1 MiB. */
const MESSAGE_PAYLOAD_BYTES = 1024 * 1024 - 4096;
/** A first part that carries many proofs still carries some data. */
const SMALLEST_FIRST_PART_BYTES = 4096;

const NONE = Buffer.alloc(0);

export function beginMessage(request: OpenBackup, sessionId: string): BackupRequest {
  return {
    kind: {
      $case: 'begin',
      value: {
        sourceId: request.sourceId,
        jobId: request.jobId,
        sessionId,
        baseSnapshotId: request.baseSnapshotId === undefined ? NONE : view(request.baseSnapshotId),
      },
    },
  };
}

export function probeMessage(batch: number, ids: Uint8Array): BackupRequest {
  return { kind: { $case: 'probe', value: { batch: BigInt(batch), ids: view(ids) } } };
}

/** At least one part, also for an empty envelope. */
export function* partMessages(object: OutgoingObject): Generator<BackupRequest> {
  const { envelope } = object;
  const id = view(object.id);
  const proofs = object.referenceProofs === undefined ? NONE : view(object.referenceProofs);
  let offset = 0;
  do {
    const referenceProofs = offset === 0 ? proofs : NONE;
    const room = Math.max(SMALLEST_FIRST_PART_BYTES, MESSAGE_PAYLOAD_BYTES - referenceProofs.length);
    const data = view(envelope.subarray(offset, offset + room));
    yield {
      kind: { $case: 'part', value: { id, totalLength: envelope.length, offset, data, referenceProofs } },
    };
    offset += data.length;
  } while (offset < envelope.length);
}

export function commitMessage(commit: SnapshotCommit): BackupRequest {
  const { stats } = commit;
  return {
    kind: {
      $case: 'commit',
      value: {
        recordId: view(commit.recordId),
        sequence: BigInt(commit.sequence),
        partial: commit.partial,
        warningsTotal: BigInt(commit.warningsTotal),
        startedAtMs: BigInt(commit.startedAtMs),
        stats: {
          entries: BigInt(stats.entries),
          files: BigInt(stats.files),
          bytesTotal: BigInt(stats.bytesTotal),
          bytesRead: BigInt(stats.bytesRead),
          bytesNew: BigInt(stats.bytesNew),
          bytesStored: BigInt(stats.bytesStored),
          durationMs: BigInt(Math.round(stats.durationMs)),
        },
        point: commit.point === undefined ? undefined : pointToWire(commit.point),
      },
    },
  };
}

export function openReadMessage(grant: Uint8Array): ReadRequest {
  return { kind: { $case: 'open', value: { grant: view(grant) } } };
}

export function wantMessage(tag: number, parent: ObjectHandle, references: readonly number[]): ReadRequest {
  return {
    kind: {
      $case: 'want',
      value: {
        tag: BigInt(tag),
        parentId: view(parent.id),
        parentMac: view(parent.mac),
        references: [...references],
      },
    },
  };
}

/** The same bytes as a Buffer. */
export function view(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
