// The bytes of a pack: header, record headers, footer. Pure.
//
// Hazard: a byte that no check covers can change unseen, and a check that does not say *where* it stands lets a block that
// the disk put in the wrong place pass. So each check covers its own position and its pack's id, and reserved bytes are zero
// and checked.
//
// Layout, integers little-endian:
//   header, 112 bytes:  magic 8 · version u16 · class u16 · zero u32 · pack id 16 · domain id 16 · sequence u64 · zero u64 ·
//                       marker 16 · SHA-256 of all before, 32
//   record, 64 bytes + envelope:  marker 16 · envelope length u32 · kind u8 · zero 3 · object id 32 ·
//                       first 8 bytes of SHA-256(pack id · offset u64 · the 56 bytes before)
//   footer:             marker with every bit inverted 16 · count u32 · zero u32 · count × entry 60 ·
//                       length of the footer u64 · SHA-256(pack id · offset u64 · all of the footer before) 32
//   footer entry:       offset of the record u32 · envelope length u32 · kind u8 · zero 3 · object id 32 · proof 16
// The envelope itself is covered by its id. The proof stands in the footer so that a rebuild need not read content.
//
// Invariants (pack-format.property.test.ts):
//   PF1 what is encoded decodes to the same; PF2 any one byte changed in any part is refused, as is the part at another offset.

import { hash, timingSafeEqual } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';

/** Content chunks fill packs of their own, apart from manifest nodes and records: browsing and collection read only the latter. */
export type PackClass = 'nodes' | 'content';

export interface PackIdentity {
  /** UUID. */
  readonly id: string;
  /** UUID. */
  readonly domainId: string;
  readonly sequence: number;
  readonly packClass: PackClass;
  /** 16 random bytes. Never sent to anybody, so no ciphertext can be made to hold it. */
  readonly marker: Buffer;
}

export interface RecordHeader {
  readonly lengthBytes: number;
  readonly kind: number;
  readonly id: Buffer;
}

/** A record's place in its pack. `offset` is that of its header; the envelope follows RECORD_HEADER_BYTES later. */
export interface RecordEntry extends RecordHeader {
  readonly offset: number;
  readonly proof: Buffer;
}

export const PACK_HEADER_BYTES = 112;
export const RECORD_HEADER_BYTES = 64;
/** A pack is sealed once its records reach this. */
export const PACK_TARGET_BYTES = 64 * 1024 * 1024;
export const FOOTER_TAIL_BYTES = 40;
const FOOTER_HEAD_BYTES = 24;
const ENTRY_BYTES = 60;
const MAGIC = Buffer.from('HFPACK\r\n', 'latin1');
const VERSION = 1;
const CLASS_CODES: Record<PackClass, number> = { nodes: 1, content: 2 };

/** UUID text to its 16 bytes. Throws INVALID_ARGUMENT when it is none. */
export function uuidBytes(uuid: string): Buffer {
  const bytes = Buffer.from(uuid.replaceAll('-', ''), 'hex');
  if (bytes.length !== 16 || uuid.length !== 36) throw new HoldfastError('INVALID_ARGUMENT', 'an id is not a UUID');
  return bytes;
}

export function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

export function encodePackHeader(pack: PackIdentity): Buffer {
  const out = Buffer.alloc(PACK_HEADER_BYTES);
  MAGIC.copy(out, 0);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt16LE(CLASS_CODES[pack.packClass], 10);
  uuidBytes(pack.id).copy(out, 16);
  uuidBytes(pack.domainId).copy(out, 32);
  out.writeBigUInt64LE(BigInt(pack.sequence), 48);
  pack.marker.copy(out, 64);
  sha256(out.subarray(0, 80)).copy(out, 80);
  return out;
}

/** Undefined when the bytes are no intact header. Throws UNSUPPORTED_VERSION for an intact one of another version. */
export function decodePackHeader(bytes: Buffer): PackIdentity | undefined {
  if (bytes.length < PACK_HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return undefined;
  if (!sha256(bytes.subarray(0, 80)).equals(bytes.subarray(80, PACK_HEADER_BYTES))) return undefined;
  const version = bytes.readUInt16LE(8);
  if (version !== VERSION) throw new HoldfastError('UNSUPPORTED_VERSION', `a pack has version ${version}`);
  const code = bytes.readUInt16LE(10);
  const packClass = code === CLASS_CODES.nodes ? 'nodes' : code === CLASS_CODES.content ? 'content' : undefined;
  if (packClass === undefined) return undefined;
  return {
    id: uuidText(bytes.subarray(16, 32)),
    domainId: uuidText(bytes.subarray(32, 48)),
    sequence: Number(bytes.readBigUInt64LE(48)),
    packClass,
    marker: Buffer.from(bytes.subarray(64, 80)),
  };
}

/** @param offset where in the pack this header will stand */
export function encodeRecordHeader(pack: PackIdentity, offset: number, record: RecordHeader): Buffer {
  const out = Buffer.alloc(RECORD_HEADER_BYTES);
  pack.marker.copy(out, 0);
  out.writeUInt32LE(record.lengthBytes, 16);
  out.writeUInt8(record.kind, 20);
  record.id.copy(out, 24);
  positionedHash(pack, offset, out.subarray(0, 56)).copy(out, 56, 0, 8);
  return out;
}

/** Undefined when the bytes are not an intact record header of this pack at this offset. */
export function decodeRecordHeader(pack: PackIdentity, offset: number, bytes: Buffer): RecordHeader | undefined {
  if (bytes.length < RECORD_HEADER_BYTES || !bytes.subarray(0, 16).equals(pack.marker)) return undefined;
  const check = positionedHash(pack, offset, bytes.subarray(0, 56)).subarray(0, 8);
  if (!check.equals(bytes.subarray(56, RECORD_HEADER_BYTES))) return undefined;
  return {
    lengthBytes: bytes.readUInt32LE(16),
    kind: bytes.readUInt8(20),
    id: Buffer.from(bytes.subarray(24, 56)),
  };
}

/** @param offset where the footer will stand: the end of the last record */
export function encodeFooter(pack: PackIdentity, offset: number, records: readonly RecordEntry[]): Buffer {
  const length = FOOTER_HEAD_BYTES + records.length * ENTRY_BYTES + FOOTER_TAIL_BYTES;
  const out = Buffer.alloc(length);
  inverted(pack.marker).copy(out, 0);
  out.writeUInt32LE(records.length, 16);
  records.forEach((record, index) => {
    const at = FOOTER_HEAD_BYTES + index * ENTRY_BYTES;
    out.writeUInt32LE(record.offset, at);
    out.writeUInt32LE(record.lengthBytes, at + 4);
    out.writeUInt8(record.kind, at + 8);
    record.id.copy(out, at + 12);
    record.proof.copy(out, at + 44);
  });
  out.writeBigUInt64LE(BigInt(length), length - FOOTER_TAIL_BYTES);
  positionedHash(pack, offset, out.subarray(0, length - 32)).copy(out, length - 32);
  return out;
}

/**
 * Length of the footer that ends with these FOOTER_TAIL_BYTES, as it claims; undefined when no footer of a file of
 * `fileBytes` can be that long.
 */
export function footerLength(tail: Buffer, fileBytes: number): number | undefined {
  if (tail.length < FOOTER_TAIL_BYTES) return undefined;
  const length = tail.readBigUInt64LE(tail.length - FOOTER_TAIL_BYTES);
  if (length < BigInt(FOOTER_HEAD_BYTES + FOOTER_TAIL_BYTES) || length > BigInt(fileBytes - PACK_HEADER_BYTES)) {
    return undefined;
  }
  return Number(length);
}

/** The table of records, or undefined when the bytes are not an intact footer of this pack at this offset. */
export function decodeFooter(pack: PackIdentity, offset: number, bytes: Buffer): RecordEntry[] | undefined {
  if (bytes.length < FOOTER_HEAD_BYTES + FOOTER_TAIL_BYTES) return undefined;
  const end = bytes.length - 32;
  const check = positionedHash(pack, offset, bytes.subarray(0, end));
  if (!timingSafeEqual(check, bytes.subarray(end))) return undefined;
  if (!bytes.subarray(0, 16).equals(inverted(pack.marker))) return undefined;
  const count = bytes.readUInt32LE(16);
  if (bytes.length !== FOOTER_HEAD_BYTES + count * ENTRY_BYTES + FOOTER_TAIL_BYTES) return undefined;
  return Array.from({ length: count }, (_, index) => {
    const at = FOOTER_HEAD_BYTES + index * ENTRY_BYTES;
    return {
      offset: bytes.readUInt32LE(at),
      lengthBytes: bytes.readUInt32LE(at + 4),
      kind: bytes.readUInt8(at + 8),
      id: Buffer.from(bytes.subarray(at + 12, at + 44)),
      proof: Buffer.from(bytes.subarray(at + 44, at + 60)),
    };
  });
}

/** Name of a pack's file on every target. Spread over 256 directories, so that none grows without bound. */
export function packFileName(pack: { readonly id: string; readonly domainId: string }): string {
  return `${pack.domainId}/${pack.id.slice(0, 2)}/${pack.id}.pack`;
}

/** SHA-256, 32 bytes: of envelopes it gives their ids. */
export function sha256(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer');
}

function positionedHash(pack: PackIdentity, offset: number, bytes: Buffer): Buffer {
  const prefix = Buffer.alloc(24);
  uuidBytes(pack.id).copy(prefix, 0);
  prefix.writeBigUInt64LE(BigInt(offset), 16);
  return sha256(Buffer.concat([prefix, bytes]));
}

function inverted(marker: Buffer): Buffer {
  return Buffer.from(marker.map((byte) => byte ^ 0xff));
}
