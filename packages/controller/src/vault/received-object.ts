// An object as an agent sent it: what it must be before it counts as received, and what a batch of them asks of the vault.
//
// Pure. Hazard: see ingest-stream.ts (what is checked) and domain-writer.ts (what is done with it). Tested with both.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import {
  ID_BYTES,
  ObjectKind,
  PROOF_BYTES,
  parseHeader,
  proofOf,
  referencesOf,
} from '@holdfast/shared/format/envelope';

import type { VaultLimits } from './ingest-limits.ts';
import { claimKey, type NewObject } from './object-index.ts';
import type { StorableObject } from './open-pack.ts';
import { sha256, type PackClass } from './pack-format.ts';
import type { Session } from './sessions.ts';

/** An object that was received whole and whose id has been checked. */
export interface ReceivedObject extends StorableObject {
  readonly key: string;
  /** 32 × n. */
  readonly references: Buffer;
  /** 16 × n. */
  readonly referenceProofs: Buffer;
  readonly session: { readonly id: string; readonly epoch: number };
}

const AGENT_KINDS: ReadonlySet<number> = new Set([
  ObjectKind.chunk,
  ObjectKind.manifestNode,
  ObjectKind.snapshotRecord,
  ObjectKind.logSegment,
]);

/** Checks what the object is (I1) and what the sender may send. */
export function receivedObject(
  envelope: Buffer,
  announced: { readonly id: Buffer; readonly referenceProofs: Buffer },
  session: Session,
  limits: VaultLimits,
): ReceivedObject {
  if (!sha256(envelope).equals(announced.id)) {
    throw new HoldfastError(
      'PROTOCOL_VIOLATION',
      `the bytes sent as object ${announced.id.toString('hex')} are not that object`,
      {
        hint: 'They were damaged on the way or in memory. Run the backup again; if it recurs, test the memory of that host.',
      },
    );
  }
  const header = parseEnvelope(envelope);
  if (!AGENT_KINDS.has(header.kind)) {
    throw new HoldfastError('NOT_ALLOWED', `an agent may not store objects of kind ${header.kind}`);
  }
  if (header.referenceCount > limits.objectReferences)
    throw tooLarge('an object with its references', limits.objectReferences);
  if (header.kind === ObjectKind.chunk && header.referenceCount > 0) throw violation('a chunk with references');
  if (announced.referenceProofs.length !== header.referenceCount * PROOF_BYTES)
    throw violation('a proof for not each reference');
  return {
    id: announced.id,
    key: announced.id.toString('hex'),
    kind: header.kind,
    proof: proofOf(envelope),
    envelope,
    references: asBuffer(referencesOf(envelope)),
    referenceProofs: announced.referenceProofs,
    session,
  };
}

function parseEnvelope(envelope: Buffer): ReturnType<typeof parseHeader> {
  try {
    return parseHeader(envelope);
  } catch (error) {
    // What was received is not *stored* damage: it is the sender's fault.
    const { code, message } = toHoldfastError(error);
    throw new HoldfastError(code === 'DAMAGED' ? 'PROTOCOL_VIOLATION' : code, message, { cause: error });
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Which packs an object of a kind goes into. */
export function classOf(kind: number): PackClass {
  return kind === ObjectKind.chunk || kind === ObjectKind.logSegment ? 'content' : 'nodes';
}

/** Stamping an object for a newer session than needs it keeps it a collection longer, at most. */
export function newestEpoch(batch: readonly ReceivedObject[]): number {
  return batch.reduce((newest, object) => Math.max(newest, object.session.epoch), 0);
}

/** References with the proofs that came with them. */
export function* provenReferences(object: ReceivedObject): Generator<{ id: Buffer; proof: Buffer; key: string }> {
  for (let index = 0; index * ID_BYTES < object.references.length; index++) {
    const id = object.references.subarray(index * ID_BYTES, (index + 1) * ID_BYTES);
    const proof = object.referenceProofs.subarray(index * PROOF_BYTES, (index + 1) * PROOF_BYTES);
    yield { id, proof, key: claimKey(id, proof) };
  }
}

export function unproven(object: ReceivedObject, reference: Buffer): HoldfastError {
  const names = { object: object.key, reference: reference.toString('hex') };
  return new HoldfastError(
    'FAILED_PRECONDITION',
    `object ${names.object} refers to ${names.reference}, which is missing or not proven`,
    {
      hint: 'Send the missing object first; if it was stored before, it has been damaged since and must be read from its source again.',
      details: names,
    },
  );
}

/** What a batch changes in the rows of its sessions, in one order for all controllers. */
export function sessionChanges(
  accepted: readonly ReceivedObject[],
  rows: readonly NewObject[],
): { id: string; bytes: number; records: Buffer[] }[] {
  const written = new Set(rows.map((row) => row.id.toString('hex')));
  const changes = new Map<string, { id: string; bytes: number; records: Buffer[] }>();
  for (const object of accepted) {
    const change = changes.get(object.session.id) ?? { id: object.session.id, bytes: 0, records: [] };
    changes.set(object.session.id, change);
    if (object.kind === ObjectKind.snapshotRecord) change.records.push(object.id);
    if (written.delete(object.key)) change.bytes += object.envelope.length;
  }
  return [...changes.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

export function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the agent sent ${what}`);
}

export function tooLarge(what: string, limit: number): HoldfastError {
  return new HoldfastError('LIMIT_EXCEEDED', `${what} is over the limit of ${limit}`);
}
