// Fields of records, between the generated wire types and ours: every value is checked on its way in and out.
//
// Hazard: a record that decodes is not a record that makes sense. A 64-bit number above 2^53 would lose digits without a
// word, and an id of 31 bytes would travel on as one.

import { HoldfastError } from '../base/errors.ts';
import type { RecordStatistics } from '../rpc/gen/holdfast/v1/records.ts';

export const RECORD_VERSION = 1;
export const PUBLIC_KEY_BYTES = 32;
/** Names, ids and other short texts, in UTF-8. */
export const MAX_TEXT_BYTES = 4_096;

/** What a backup did. Whole numbers from 0 to 2^53 − 1. */
export interface SnapshotStatistics {
  readonly entries: number;
  readonly files: number;
  readonly bytesTotal: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly durationMs: number;
}

/** For encoding. Throws INVALID_ARGUMENT for what is not a whole number within ±(2^53 − 1). */
export function integerOut(value: number, field: string): bigint {
  if (!Number.isSafeInteger(value))
    throw new HoldfastError('INVALID_ARGUMENT', `${field} of a record is not a whole number`);
  return BigInt(value);
}

/** The same, from 0. */
export function countOut(value: number, field: string): bigint {
  if (value < 0) throw new HoldfastError('INVALID_ARGUMENT', `${field} of a record is negative`);
  return integerOut(value, field);
}

export function integerIn(value: bigint, field: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw damagedRecord(`${field} is beyond 2^53`);
  return number;
}

export function countIn(value: bigint, field: string): number {
  if (value < 0n) throw damagedRecord(`${field} is negative`);
  return integerIn(value, field);
}

/** For encoding: bytes of exactly `length`. Throws INVALID_ARGUMENT. */
export function bytesOut(value: Uint8Array, length: number, field: string): Buffer {
  if (value.length !== length) {
    throw new HoldfastError('INVALID_ARGUMENT', `${field} of a record has ${length} bytes, not ${value.length}`);
  }
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** From the wire: a copy in a buffer of its own. */
export function bytesIn(value: Uint8Array, length: number, field: string): Buffer<ArrayBuffer> {
  if (value.length !== length) throw damagedRecord(`${field} has ${value.length} bytes instead of ${length}`);
  const copy = Buffer.allocUnsafeSlow(length);
  copy.set(value);
  return copy;
}

/** For encoding. Throws LIMIT_EXCEEDED for a text over 4,096 bytes. */
export function textOut(value: string, field: string): string {
  if (Buffer.byteLength(value) > MAX_TEXT_BYTES) {
    throw new HoldfastError('LIMIT_EXCEEDED', `${field} of a record is over ${MAX_TEXT_BYTES} bytes`);
  }
  return value;
}

export function textIn(value: string, field: string): string {
  if (Buffer.byteLength(value) > MAX_TEXT_BYTES) throw damagedRecord(`${field} is over ${MAX_TEXT_BYTES} bytes`);
  return value;
}

export function statisticsOut(statistics: SnapshotStatistics): RecordStatistics {
  return {
    entries: countOut(statistics.entries, 'entries'),
    files: countOut(statistics.files, 'files'),
    bytesTotal: countOut(statistics.bytesTotal, 'bytes_total'),
    bytesRead: countOut(statistics.bytesRead, 'bytes_read'),
    bytesNew: countOut(statistics.bytesNew, 'bytes_new'),
    bytesStored: countOut(statistics.bytesStored, 'bytes_stored'),
    durationMs: countOut(statistics.durationMs, 'duration_ms'),
  };
}

export function statisticsIn(wire: RecordStatistics | undefined): SnapshotStatistics {
  if (wire === undefined) throw damagedRecord('statistics are missing');
  return {
    entries: countIn(wire.entries, 'entries'),
    files: countIn(wire.files, 'files'),
    bytesTotal: countIn(wire.bytesTotal, 'bytes_total'),
    bytesRead: countIn(wire.bytesRead, 'bytes_read'),
    bytesNew: countIn(wire.bytesNew, 'bytes_new'),
    bytesStored: countIn(wire.bytesStored, 'bytes_stored'),
    durationMs: countIn(wire.durationMs, 'duration_ms'),
  };
}

/** Throws UNSUPPORTED_VERSION for a record of another version than this code's. */
export function checkRecordVersion(version: number): void {
  if (version === RECORD_VERSION) return;
  throw new HoldfastError('UNSUPPORTED_VERSION', `a record has version ${version}, which this version does not know`, {
    hint: 'Upgrade Holdfast on this machine to the version that wrote the repository.',
  });
}

/** Runs a protobuf decoder over a payload of bounded length; whatever it throws becomes DAMAGED. */
export function decodeBounded<T>(payload: Uint8Array, maxBytes: number, decode: (payload: Uint8Array) => T): T {
  if (payload.length > maxBytes) throw damagedRecord(`it has ${payload.length} bytes, over the limit of ${maxBytes}`);
  try {
    return decode(payload);
  } catch (cause) {
    throw damagedRecord('it is not the protobuf message it should be', cause);
  }
}

export function damagedRecord(what: string, cause?: unknown): HoldfastError {
  return new HoldfastError('DAMAGED', `a record cannot be read: ${what}`, cause === undefined ? {} : { cause });
}

/** A message's bytes in an ArrayBuffer of their own. */
export function ownBytes(encoded: Uint8Array): Buffer<ArrayBuffer> {
  const own = Buffer.allocUnsafeSlow(encoded.length);
  own.set(encoded);
  return own;
}
