// The snapshot record: what a snapshot says of itself, signed by the host that made it.
//
// Hazard: all agents of a domain share its keys, so a sealed record proves the domain and not the host. One compromised
// host could write another's history. So each record carries its host's Ed25519 signature (RFC 8032), over the references
// too: a record signed for one manifest must not be sealed again in front of another.
//
// What is signed: the ASCII text "holdfast snapshot record 1", a zero byte, the number of references (u32, little-endian),
// the references (32 bytes each), and the record's body exactly as it is stored. No byte is ever encoded anew to verify.
//
// Invariants (snapshot-record.test.ts, snapshot-record.property.test.ts):
//   R1 what was encoded comes back, and the signature verifies with the host's key and no other;
//   R2 any changed byte of body, signature or references is refused;
//   R3 a record is at most MAX_SNAPSHOT_RECORD_BYTES long, however many warnings a backup had.
//
// Elsewhere on purpose: whose key is the host's (the controller's fleet, and the commit record).

import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { fromBytes, toBytes, type ByteString } from '../base/byte-string.ts';
import { HoldfastError } from '../base/errors.ts';
import { SnapshotRecord as WireRecord, SnapshotRecordBody } from '../rpc/gen/holdfast/v1/records.ts';
import { ID_BYTES } from './envelope.ts';
import {
  bytesIn,
  bytesOut,
  checkRecordVersion,
  countIn,
  countOut,
  damagedRecord,
  decodeBounded,
  integerIn,
  integerOut,
  ownBytes,
  PUBLIC_KEY_BYTES,
  RECORD_VERSION,
  statisticsIn,
  statisticsOut,
  textIn,
  textOut,
  type SnapshotStatistics,
} from './record-fields.ts';

export type { SnapshotStatistics } from './record-fields.ts';

export interface SnapshotWarning {
  /** A stable word: changed_while_read, unreadable, vanished, … */
  readonly code: string;
  /** Relative to the source's root; raw bytes. */
  readonly path: ByteString;
  readonly message: string;
}

export interface SnapshotRecord {
  readonly domainId: string;
  readonly hostId: string;
  readonly sourceId: string;
  /** files, postgresql, … */
  readonly sourceType: string;
  /** 1 for a source's first snapshot. */
  readonly sequence: number;
  /** 32 bytes; absent for the first. Not a reference: the previous snapshot may be deleted. */
  readonly previousSnapshotId: Uint8Array | undefined;
  /** Agent's clock, ms since 1970; shown, never compared. */
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly statistics: SnapshotStatistics;
  /** Something that should be in the snapshot is not. */
  readonly partial: boolean;
  /** All of them; `warnings` has the first ones. */
  readonly warningsTotal: number;
  readonly warnings: readonly SnapshotWarning[];
}

export const MAX_RECORD_WARNINGS = 1_000;
/** Codes, paths and messages of all warnings together; what does not fit is counted and not kept. */
export const MAX_WARNINGS_BYTES = 512 * 1024;
export const MAX_SNAPSHOT_RECORD_BYTES = 1024 * 1024;
export const SIGNATURE_BYTES = 64;

/**
 * The payload to seal as kind snapshotRecord. `references`: what it will be sealed with (the manifest's root), concatenated.
 * `signingKey`: the host's Ed25519 private key. Warnings beyond 1,000 or 512 KiB are dropped; warningsTotal stays.
 * Throws INVALID_ARGUMENT or LIMIT_EXCEEDED for a record that could not be read again.
 */
export function encodeSnapshotRecord(
  record: SnapshotRecord,
  references: Uint8Array,
  signingKey: KeyObject,
): Buffer<ArrayBuffer> {
  const body = SnapshotRecordBody.encode({
    version: RECORD_VERSION,
    domainId: textOut(record.domainId, 'domain_id'),
    hostId: textOut(record.hostId, 'host_id'),
    sourceId: textOut(record.sourceId, 'source_id'),
    sourceType: textOut(record.sourceType, 'source_type'),
    sequence: countOut(record.sequence, 'sequence'),
    previousSnapshotId:
      record.previousSnapshotId === undefined
        ? Buffer.alloc(0)
        : bytesOut(record.previousSnapshotId, ID_BYTES, 'previous_snapshot_id'),
    startedAtMs: integerOut(record.startedAtMs, 'started_at_ms'),
    finishedAtMs: integerOut(record.finishedAtMs, 'finished_at_ms'),
    statistics: statisticsOut(record.statistics),
    partial: record.partial,
    warningsTotal: countOut(record.warningsTotal, 'warnings_total'),
    warnings: warningsThatFit(record.warnings),
    signerPublicKey: rawPublicKey(signingKey),
  }).finish();
  const signature = sign(null, signedBytes(references, body), signingKey);
  return ownBytes(WireRecord.encode({ body: Buffer.from(body), signature }).finish());
}

export interface DecodedSnapshotRecord {
  readonly record: SnapshotRecord;
  /** Raw Ed25519, 32 bytes: the key that the record claims. It proves nothing until it is compared with the host's. */
  readonly signerPublicKey: Buffer<ArrayBuffer>;
}

/**
 * Reads a payload that `open` gave, with the references of its envelope, and checks the signature against the key that the
 * record itself names: enough to notice damage, not to know the host.
 * Throws DAMAGED, or UNSUPPORTED_VERSION for a record of another version.
 */
export function decodeSnapshotRecord(payload: Uint8Array, references: Uint8Array): DecodedSnapshotRecord {
  const outer = decodeBounded(payload, MAX_SNAPSHOT_RECORD_BYTES, (bytes) => WireRecord.decode(bytes));
  const body = decodeBounded(outer.body, MAX_SNAPSHOT_RECORD_BYTES, (bytes) => SnapshotRecordBody.decode(bytes));
  checkRecordVersion(body.version);
  const signerPublicKey = bytesIn(body.signerPublicKey, PUBLIC_KEY_BYTES, 'signer_public_key');
  if (outer.signature.length !== SIGNATURE_BYTES) throw damagedRecord('its signature has not 64 bytes');
  if (!verify(null, signedBytes(references, outer.body), publicKeyFromRaw(signerPublicKey), outer.signature)) {
    throw damagedRecord('its signature does not fit its bytes');
  }
  return { record: recordOf(body), signerPublicKey };
}

/**
 * The same, and throws DAMAGED unless it is signed with `publicKey` (raw, 32 bytes), which the controller holds for the
 * host that the record names.
 */
export function verifySnapshotRecord(
  payload: Uint8Array,
  references: Uint8Array,
  publicKey: Uint8Array,
): DecodedSnapshotRecord {
  const decoded = decodeSnapshotRecord(payload, references);
  if (!decoded.signerPublicKey.equals(publicKey)) {
    throw new HoldfastError(
      'DAMAGED',
      `the snapshot record of host ${decoded.record.hostId} is signed with another key than that host's`,
      {
        hint: 'Somebody who has the domain’s keys, but not this host’s, may have written it. Compare the host’s fingerprint.',
      },
    );
  }
  return decoded;
}

/** Raw 32-byte public key of an Ed25519 private or public key. Throws INVALID_ARGUMENT for a key of another type. */
export function rawPublicKey(key: KeyObject): Buffer<ArrayBuffer> {
  if (key.asymmetricKeyType !== 'ed25519') {
    throw new HoldfastError('INVALID_ARGUMENT', 'a record is signed with an Ed25519 key');
  }
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return ownBytes(publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI_PREFIX.length));
}

/** The other way. Throws INVALID_ARGUMENT unless it is 32 bytes. */
export function publicKeyFromRaw(raw: Uint8Array): KeyObject {
  const der = Buffer.concat([SPKI_PREFIX, bytesOut(raw, PUBLIC_KEY_BYTES, 'a public key')]);
  return createPublicKey({ key: der, format: 'der', type: 'spki' });
}

/** SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const SIGNATURE_LABEL = Buffer.from('holdfast snapshot record 1\0', 'latin1');

function signedBytes(references: Uint8Array, body: Uint8Array): Buffer {
  if (references.length % ID_BYTES !== 0) throw new HoldfastError('INVALID_ARGUMENT', 'a reference has 32 bytes');
  const count = Buffer.alloc(4);
  count.writeUInt32LE(references.length / ID_BYTES);
  return Buffer.concat([SIGNATURE_LABEL, count, references, body]);
}

interface WireWarning {
  code: string;
  path: Buffer;
  message: string;
}

function warningsThatFit(warnings: readonly SnapshotWarning[]): WireWarning[] {
  const kept: WireWarning[] = [];
  let bytes = 0;
  for (const warning of warnings) {
    if (kept.length === MAX_RECORD_WARNINGS) break;
    const path = toBytes(warning.path);
    bytes += Buffer.byteLength(warning.code) + path.length + Buffer.byteLength(warning.message);
    if (bytes > MAX_WARNINGS_BYTES) break;
    kept.push({ code: textOut(warning.code, 'code'), path, message: textOut(warning.message, 'message') });
  }
  return kept;
}

function recordOf(body: SnapshotRecordBody): SnapshotRecord {
  if (body.warnings.length > MAX_RECORD_WARNINGS) throw damagedRecord(`it has ${body.warnings.length} warnings`);
  return {
    domainId: textIn(body.domainId, 'domain_id'),
    hostId: textIn(body.hostId, 'host_id'),
    sourceId: textIn(body.sourceId, 'source_id'),
    sourceType: textIn(body.sourceType, 'source_type'),
    sequence: countIn(body.sequence, 'sequence'),
    previousSnapshotId:
      body.previousSnapshotId.length === 0
        ? undefined
        : bytesIn(body.previousSnapshotId, ID_BYTES, 'previous_snapshot_id'),
    startedAtMs: integerIn(body.startedAtMs, 'started_at_ms'),
    finishedAtMs: integerIn(body.finishedAtMs, 'finished_at_ms'),
    statistics: statisticsIn(body.statistics),
    partial: body.partial,
    warningsTotal: countIn(body.warningsTotal, 'warnings_total'),
    warnings: body.warnings.map((warning) => ({
      code: textIn(warning.code, 'code'),
      path: fromBytes(warning.path),
      message: textIn(warning.message, 'message'),
    })),
  };
}
