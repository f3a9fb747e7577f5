// Reading a pack as a whole: which records are good, and which places are not.
//
// Hazard: after a damaged length nothing tells where the next record begins. The marker, random for each pack and known to
// no sender, tells: the scan goes on at the next place where a record header of this very pack checks out.
//
// Invariants (damage.db.test.ts, recovery.db.test.ts): PS1 every byte of a pack belongs to a good part or to a reported damage; PS2 one damaged
// record costs that record alone.

import { setImmediate as nextTurn } from 'node:timers/promises';

import { proofOf } from '@holdfast/shared/format/envelope';

import {
  FOOTER_TAIL_BYTES,
  PACK_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  decodeFooter,
  decodeRecordHeader,
  footerLength,
  packFileName,
  sha256,
  type PackIdentity,
  type RecordEntry,
} from './pack-format.ts';
import type { VaultStorage } from './storage.ts';

export interface DamagedPlace {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly what: string;
}

export interface ScannedRecords {
  readonly records: RecordEntry[];
  readonly damages: DamagedPlace[];
}

/** Bytes hashed before other work gets its turn. */
const SLICE_BYTES = 4 * 1024 * 1024;
const READ_PIECE_BYTES = 1024 * 1024;

/** A whole pack; places that the target cannot read are zero, which no check takes for good. Undefined: no such file. */
export async function readPack(storage: VaultStorage, pack: PackIdentity): Promise<Buffer | undefined> {
  const name = packFileName(pack);
  const size = await storage.size(name);
  if (size === undefined) return undefined;
  try {
    return await storage.read(name, 0, size);
  } catch {
    const bytes = Buffer.alloc(size);
    for (let offset = 0; offset < size; offset += READ_PIECE_BYTES) {
      const piece = await storage.read(name, offset, Math.min(READ_PIECE_BYTES, size - offset)).catch(() => undefined);
      piece?.copy(bytes, offset);
    }
    return bytes;
  }
}

/** Checks every record in [PACK_HEADER_BYTES, end) of a pack's bytes. What `end` cuts, or the bytes do not reach, is damage. */
export async function scanRecords(pack: PackIdentity, bytes: Buffer, end: number): Promise<ScannedRecords> {
  const records: RecordEntry[] = [];
  const damages: DamagedPlace[] = [];
  const limit = Math.min(end, bytes.length);
  let offset = PACK_HEADER_BYTES;
  let hashed = 0;
  while (offset < limit) {
    const header = decodeRecordHeader(pack, offset, bytes.subarray(offset, offset + RECORD_HEADER_BYTES));
    const next = header === undefined ? undefined : offset + RECORD_HEADER_BYTES + header.lengthBytes;
    if (header === undefined || next === undefined || next > limit) {
      const resumed = nextRecord(pack, bytes, offset + 1, limit);
      damages.push({ offset, lengthBytes: resumed - offset, what: 'a record header is damaged or cut' });
      offset = resumed;
      continue;
    }
    const envelope = bytes.subarray(offset + RECORD_HEADER_BYTES, next);
    if (sha256(envelope).equals(header.id)) records.push({ ...header, offset, proof: proofOf(envelope) });
    else damages.push({ offset, lengthBytes: next - offset, what: `object ${header.id.toString('hex')} is damaged` });
    offset = next;
    hashed += header.lengthBytes;
    if (hashed > SLICE_BYTES) {
      hashed = 0;
      await nextTurn();
    }
  }
  if (limit < end) {
    // The record that the end cuts and the missing rest are one place.
    const cut = damages.at(-1);
    const from = cut !== undefined && cut.offset + cut.lengthBytes === limit ? damages.pop()!.offset : limit;
    damages.push({ offset: from, lengthBytes: end - from, what: 'the file ends too early' });
  }
  return { records, damages };
}

function nextRecord(pack: PackIdentity, bytes: Buffer, from: number, limit: number): number {
  for (let at = bytes.indexOf(pack.marker, from); at >= 0 && at < limit; at = bytes.indexOf(pack.marker, at + 1)) {
    if (decodeRecordHeader(pack, at, bytes.subarray(at, at + RECORD_HEADER_BYTES)) !== undefined) return at;
  }
  return limit;
}

/** The footer at the end of a pack's bytes and where it begins, or undefined when there is none that checks out. */
export function findFooter(pack: PackIdentity, bytes: Buffer): { offset: number; records: RecordEntry[] } | undefined {
  const tail = bytes.subarray(Math.max(0, bytes.length - FOOTER_TAIL_BYTES));
  const length = footerLength(tail, bytes.length);
  if (length === undefined) return undefined;
  const offset = bytes.length - length;
  const records = decodeFooter(pack, offset, bytes.subarray(offset));
  return records === undefined ? undefined : { offset, records };
}
