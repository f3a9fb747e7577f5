// Controller records: what the catalog must not lose, written into the packs themselves.
//
// Hazard: a catalog that is rebuilt from packs would bring back what was deleted, forget locks, and list uploads that were
// never committed. So the controller writes down each of these acts as an object. It is sealed with the keys of the system
// domain, which the controller has: a rebuild needs no customer's key. The ids in a record are not references, because what
// they name belongs to another domain, and a delete record outlives its snapshot.
//
// Invariants (controller-record.test.ts): every kind of record comes back as it was; what is not a record, of an unknown
// version or an unknown kind is refused and never skipped.
//
// Elsewhere on purpose: when they are written and how a rebuild applies them (the controller's vault).

import { HoldfastError, toHoldfastError } from '../base/errors.ts';
import { ControllerRecord as WireRecord } from '../rpc/gen/holdfast/v1/records.ts';
import type { CommitRecord as WireCommit, LogSegmentRecord as WireLogSegment } from '../rpc/gen/holdfast/v1/records.ts';
import { ID_BYTES } from './envelope.ts';
import { gapFromWire, gapToWire, pointFromWire, pointToWire, rangeFromWire, rangeToWire } from './log-codec.ts';
import type { DatabasePoint, LogGap, LogRange } from './log-point.ts';
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

/** All times are ms since 1970 by the catalog's clock unless said otherwise; ids of objects have 32 bytes. */
export type ControllerRecord = CommitRecord | LockRecord | DeleteRecord | LogSegmentRecord;

/** A snapshot was committed. */
export interface CommitRecord {
  readonly kind: 'commit';
  readonly snapshotId: Uint8Array;
  readonly domainId: string;
  readonly hostId: string;
  readonly hostName: string;
  readonly sourceId: string;
  readonly sourceName: string;
  readonly sourceType: string;
  readonly sequence: number;
  readonly committedAtMs: number;
  /** Raw Ed25519, 32 bytes: the host's key at that time, which its snapshot record is signed with. */
  readonly hostRecordPublicKey: Uint8Array;
  /** What the agent said of the snapshot, so that a rebuilt list shows it without the domain's key. */
  readonly statistics: SnapshotStatistics;
  readonly partial: boolean;
  readonly warningsTotal: number;
  /** Agent's clock. */
  readonly startedAtMs: number;
  readonly domainName: string;
  /** Whether the controller kept the domain's secret. */
  readonly domainManaged: boolean;
  readonly domainKeyEpoch: number;
  /** The source as it was configured: an encoded SourceSpec of at most 32 KiB; empty when it was longer. */
  readonly sourceSpec: Uint8Array;
  /** Where a database's base stands in its log. */
  readonly point?: DatabasePoint;
}

/** A snapshot may not be deleted before a time. */
export interface LockRecord {
  readonly kind: 'lock';
  readonly snapshotId: Uint8Array;
  readonly domainId: string;
  readonly lockedUntilMs: number;
  readonly lockedAtMs: number;
  readonly lockedBy: string;
}

/** A snapshot was deleted: a rebuild must not bring it back. */
export interface DeleteRecord {
  readonly kind: 'delete';
  readonly snapshotId: Uint8Array;
  readonly domainId: string;
  readonly deletedAtMs: number;
  readonly deletedBy: string;
  readonly reason: string;
}

/** A piece of a database's log was stored, or found to be missing for good. */
export interface LogSegmentRecord {
  readonly kind: 'logSegment';
  readonly domainId: string;
  readonly hostId: string;
  readonly sourceId: string;
  readonly storedAtMs: number;
  readonly content:
    | { readonly kind: 'segment'; readonly segmentId: Uint8Array; readonly range: LogRange }
    | { readonly kind: 'gap'; readonly gap: LogGap };
}

export const MAX_CONTROLLER_RECORD_BYTES = 64 * 1024;
export const MAX_SOURCE_SPEC_BYTES = 32 * 1024;
const MAX_KEY_EPOCH = 0xffff;

/**
 * The payload to seal as kind controllerRecord, without references, with the system domain's keys.
 * Throws INVALID_ARGUMENT or LIMIT_EXCEEDED for a record that could not be read again.
 */
export function encodeControllerRecord(record: ControllerRecord): Buffer<ArrayBuffer> {
  return ownBytes(WireRecord.encode({ version: RECORD_VERSION, record: toWire(record) }).finish());
}

/** Throws DAMAGED for what is not a record, UNSUPPORTED_VERSION for a version or a kind of record this code does not know. */
export function decodeControllerRecord(payload: Uint8Array): ControllerRecord {
  const wire = decodeBounded(payload, MAX_CONTROLLER_RECORD_BYTES, (bytes) => WireRecord.decode(bytes));
  checkRecordVersion(wire.version);
  if (wire.record === undefined) {
    throw new HoldfastError('UNSUPPORTED_VERSION', 'a controller record is of a kind that this version does not know');
  }
  return fromWire(wire.record);
}

type WireKind = NonNullable<WireRecord['record']>;

function toWire(record: ControllerRecord): WireKind {
  switch (record.kind) {
    case 'commit':
      return { $case: 'commit', value: commitOut(record) };
    case 'lock':
      return {
        $case: 'lock',
        value: {
          snapshotId: bytesOut(record.snapshotId, ID_BYTES, 'snapshot_id'),
          domainId: textOut(record.domainId, 'domain_id'),
          lockedUntilMs: integerOut(record.lockedUntilMs, 'locked_until_ms'),
          lockedAtMs: integerOut(record.lockedAtMs, 'locked_at_ms'),
          lockedBy: textOut(record.lockedBy, 'locked_by'),
        },
      };
    case 'delete':
      return {
        $case: 'delete',
        value: {
          snapshotId: bytesOut(record.snapshotId, ID_BYTES, 'snapshot_id'),
          domainId: textOut(record.domainId, 'domain_id'),
          deletedAtMs: integerOut(record.deletedAtMs, 'deleted_at_ms'),
          deletedBy: textOut(record.deletedBy, 'deleted_by'),
          reason: textOut(record.reason, 'reason'),
        },
      };
    default:
      return { $case: 'logSegment', value: logSegmentOut(record) };
  }
}

function fromWire(wire: WireKind): ControllerRecord {
  switch (wire.$case) {
    case 'commit':
      return commitIn(wire.value);
    case 'lock':
      return {
        kind: 'lock',
        snapshotId: bytesIn(wire.value.snapshotId, ID_BYTES, 'snapshot_id'),
        domainId: textIn(wire.value.domainId, 'domain_id'),
        lockedUntilMs: integerIn(wire.value.lockedUntilMs, 'locked_until_ms'),
        lockedAtMs: integerIn(wire.value.lockedAtMs, 'locked_at_ms'),
        lockedBy: textIn(wire.value.lockedBy, 'locked_by'),
      };
    case 'delete':
      return {
        kind: 'delete',
        snapshotId: bytesIn(wire.value.snapshotId, ID_BYTES, 'snapshot_id'),
        domainId: textIn(wire.value.domainId, 'domain_id'),
        deletedAtMs: integerIn(wire.value.deletedAtMs, 'deleted_at_ms'),
        deletedBy: textIn(wire.value.deletedBy, 'deleted_by'),
        reason: textIn(wire.value.reason, 'reason'),
      };
    default:
      return logSegmentIn(wire.value);
  }
}

function commitOut(record: CommitRecord): WireCommit {
  return {
    snapshotId: bytesOut(record.snapshotId, ID_BYTES, 'snapshot_id'),
    domainId: textOut(record.domainId, 'domain_id'),
    hostId: textOut(record.hostId, 'host_id'),
    hostName: textOut(record.hostName, 'host_name'),
    sourceId: textOut(record.sourceId, 'source_id'),
    sourceName: textOut(record.sourceName, 'source_name'),
    sourceType: textOut(record.sourceType, 'source_type'),
    sequence: countOut(record.sequence, 'sequence'),
    committedAtMs: integerOut(record.committedAtMs, 'committed_at_ms'),
    hostRecordPublicKey: bytesOut(record.hostRecordPublicKey, PUBLIC_KEY_BYTES, 'host_record_public_key'),
    statistics: statisticsOut(record.statistics),
    partial: record.partial,
    warningsTotal: countOut(record.warningsTotal, 'warnings_total'),
    startedAtMs: integerOut(record.startedAtMs, 'started_at_ms'),
    domainName: textOut(record.domainName, 'domain_name'),
    domainManaged: record.domainManaged,
    domainKeyEpoch: keyEpochOut(record.domainKeyEpoch),
    sourceSpec: specOut(record.sourceSpec),
    point: record.point === undefined ? undefined : pointToWire(record.point),
  };
}

function commitIn(wire: WireCommit): CommitRecord {
  return {
    kind: 'commit',
    snapshotId: bytesIn(wire.snapshotId, ID_BYTES, 'snapshot_id'),
    domainId: textIn(wire.domainId, 'domain_id'),
    hostId: textIn(wire.hostId, 'host_id'),
    hostName: textIn(wire.hostName, 'host_name'),
    sourceId: textIn(wire.sourceId, 'source_id'),
    sourceName: textIn(wire.sourceName, 'source_name'),
    sourceType: textIn(wire.sourceType, 'source_type'),
    sequence: countIn(wire.sequence, 'sequence'),
    committedAtMs: integerIn(wire.committedAtMs, 'committed_at_ms'),
    hostRecordPublicKey: bytesIn(wire.hostRecordPublicKey, PUBLIC_KEY_BYTES, 'host_record_public_key'),
    statistics: statisticsIn(wire.statistics),
    partial: wire.partial,
    warningsTotal: countIn(wire.warningsTotal, 'warnings_total'),
    startedAtMs: integerIn(wire.startedAtMs, 'started_at_ms'),
    domainName: textIn(wire.domainName, 'domain_name'),
    domainManaged: wire.domainManaged,
    domainKeyEpoch: keyEpochIn(wire.domainKeyEpoch),
    sourceSpec: specIn(wire.sourceSpec),
    ...(wire.point === undefined ? {} : { point: damagedUnless(() => pointFromWire(wire.point!)) }),
  };
}

function keyEpochOut(epoch: number): number {
  if (!Number.isInteger(epoch) || epoch < 0 || epoch > MAX_KEY_EPOCH) {
    throw new HoldfastError('INVALID_ARGUMENT', 'domain_key_epoch of a record is a 16-bit number');
  }
  return epoch;
}

function keyEpochIn(epoch: number): number {
  if (epoch > MAX_KEY_EPOCH) throw damagedRecord('domain_key_epoch is beyond 16 bits');
  return epoch;
}

function specOut(spec: Uint8Array): Buffer {
  if (spec.length > MAX_SOURCE_SPEC_BYTES) {
    throw new HoldfastError('LIMIT_EXCEEDED', `source_spec of a record is over ${MAX_SOURCE_SPEC_BYTES} bytes`);
  }
  return Buffer.from(spec);
}

function specIn(spec: Uint8Array): Buffer<ArrayBuffer> {
  if (spec.length > MAX_SOURCE_SPEC_BYTES) throw damagedRecord(`source_spec is over ${MAX_SOURCE_SPEC_BYTES} bytes`);
  return ownBytes(spec);
}

function logSegmentOut({ domainId, hostId, sourceId, storedAtMs, content }: LogSegmentRecord): WireLogSegment {
  const isSegment = content.kind === 'segment';
  return {
    segmentId: isSegment ? bytesOut(content.segmentId, ID_BYTES, 'segment_id') : Buffer.alloc(0),
    domainId: textOut(domainId, 'domain_id'),
    hostId: textOut(hostId, 'host_id'),
    sourceId: textOut(sourceId, 'source_id'),
    range: isSegment ? rangeToWire(content.range) : undefined,
    gap: isSegment ? undefined : gapToWire(content.gap),
    storedAtMs: integerOut(storedAtMs, 'stored_at_ms'),
  };
}

function logSegmentIn(wire: WireLogSegment): LogSegmentRecord {
  const { gap, range } = wire;
  if ((gap === undefined) === (range === undefined)) throw damagedRecord('it is neither a piece of a log nor a gap');
  return {
    kind: 'logSegment',
    domainId: textIn(wire.domainId, 'domain_id'),
    hostId: textIn(wire.hostId, 'host_id'),
    sourceId: textIn(wire.sourceId, 'source_id'),
    storedAtMs: integerIn(wire.storedAtMs, 'stored_at_ms'),
    content:
      gap === undefined
        ? {
            kind: 'segment',
            segmentId: bytesIn(wire.segmentId, ID_BYTES, 'segment_id'),
            range: damagedUnless(() => rangeFromWire(range)),
          }
        : { kind: 'gap', gap: damagedUnless(() => gapFromWire(gap)) },
  };
}

/** What is stored was checked before: what does not fit now has been damaged since. */
function damagedUnless<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw damagedRecord(toHoldfastError(error).message);
  }
}
