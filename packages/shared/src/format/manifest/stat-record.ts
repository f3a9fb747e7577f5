// The stat record: what the backup compares to tell whether an entry changed, as 64 bytes.
//
// | offset | field | | offset | field |
// |---|---|---|---|---|
// | 0 | mode u32 (type and permissions) | | 32 | mtime seconds i64 |
// | 4 | uid u32 | | 40 | ctime seconds i64 |
// | 8 | gid u32 | | 48 | mtime nanoseconds u32 |
// | 12 | nlink u32 | | 52 | ctime nanoseconds u32 |
// | 16 | size u64 | | 56 | rdev major u32 |
// | 24 | inode u64 | | 60 | rdev minor u32 |
//
// Little-endian. An unchanged check is a comparison of 64 bytes, with no decoding. It stands in manifests as it is, so
// the layout belongs to the repository format. The device number of the file system is left out on purpose: it changes
// with every boot.
//
// Every accessor takes the buffer and the record's first byte, so that a column of records is read in place.

import { HoldfastError } from '../../base/errors.ts';

export const STAT_BYTES = 64;

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;

export type EntryType = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'charDevice' | 'blockDevice';

const typeByFormat: ReadonlyMap<number, EntryType> = new Map([
  [S_IFREG, 'file'],
  [S_IFDIR, 'directory'],
  [S_IFLNK, 'symlink'],
  [S_IFIFO, 'fifo'],
  [S_IFSOCK, 'socket'],
  [S_IFCHR, 'charDevice'],
  [S_IFBLK, 'blockDevice'],
]);

/** All of a stat record. Times are whole seconds (may be negative) and 0–999,999,999 nanoseconds. */
export interface StatFields {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  /** Bytes, at most 2^53 − 1. */
  readonly size: number;
  readonly ino: bigint;
  readonly mtimeSeconds: number;
  readonly mtimeNs: number;
  readonly ctimeSeconds: number;
  readonly ctimeNs: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
}

/** Writes a record at `at`. Throws RangeError for a field beyond its width. */
export function writeStat(target: Buffer, at: number, fields: StatFields): void {
  target.writeUInt32LE(fields.mode, at);
  target.writeUInt32LE(fields.uid, at + 4);
  target.writeUInt32LE(fields.gid, at + 8);
  target.writeUInt32LE(fields.nlink, at + 12);
  writeInt64(target, at + 16, fields.size);
  target.writeBigUInt64LE(fields.ino, at + 24);
  writeInt64(target, at + 32, fields.mtimeSeconds);
  writeInt64(target, at + 40, fields.ctimeSeconds);
  target.writeUInt32LE(fields.mtimeNs, at + 48);
  target.writeUInt32LE(fields.ctimeNs, at + 52);
  target.writeUInt32LE(fields.rdevMajor, at + 56);
  target.writeUInt32LE(fields.rdevMinor, at + 60);
}

export function encodeStat(fields: StatFields): Buffer {
  const record = Buffer.allocUnsafe(STAT_BYTES);
  writeStat(record, 0, fields);
  return record;
}

export function decodeStat(stat: Buffer, at = 0): StatFields {
  return {
    mode: statMode(stat, at),
    uid: statUid(stat, at),
    gid: statGid(stat, at),
    nlink: statNlink(stat, at),
    size: statSize(stat, at),
    ino: statIno(stat, at),
    mtimeSeconds: statMtimeSeconds(stat, at),
    mtimeNs: statMtimeNs(stat, at),
    ctimeSeconds: statCtimeSeconds(stat, at),
    ctimeNs: statCtimeNs(stat, at),
    rdevMajor: statRdevMajor(stat, at),
    rdevMinor: statRdevMinor(stat, at),
  };
}

/** undefined when the mode names no type that Linux has. */
export function typeOfMode(mode: number): EntryType | undefined {
  return typeByFormat.get(mode & S_IFMT);
}

/** Throws DAMAGED when the mode names no type. */
export function statType(stat: Buffer, at = 0): EntryType {
  const type = typeOfMode(statMode(stat, at));
  if (type === undefined) {
    throw new HoldfastError('DAMAGED', `mode ${statMode(stat, at).toString(8)} names no file type`);
  }
  return type;
}

export function statMode(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at);
}

export function statUid(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at + 4);
}

export function statGid(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at + 8);
}

export function statNlink(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at + 12);
}

/** Bytes. Throws DAMAGED beyond 2^53 − 1. */
export function statSize(stat: Buffer, at = 0): number {
  const size = stat.readUInt32LE(at + 20) * 2 ** 32 + stat.readUInt32LE(at + 16);
  if (!Number.isSafeInteger(size)) throw new HoldfastError('DAMAGED', 'a size beyond 2^53 − 1 bytes');
  return size;
}

/** Replaces the size alone: the content that was read may be shorter or longer than the file was. */
export function writeStatSize(stat: Buffer, at: number, size: number): void {
  writeInt64(stat, at + 16, size);
}

export function statIno(stat: Buffer, at = 0): bigint {
  return stat.readBigUInt64LE(at + 24);
}

/** Whole seconds since 1970, negative before; exact for every time that a file system can hold. */
export function statMtimeSeconds(stat: Buffer, at = 0): number {
  return readInt64(stat, at + 32);
}

export function statCtimeSeconds(stat: Buffer, at = 0): number {
  return readInt64(stat, at + 40);
}

export function statMtimeNs(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at + 48);
}

export function statCtimeNs(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at + 52);
}

export function statRdevMajor(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at + 56);
}

export function statRdevMinor(stat: Buffer, at = 0): number {
  return stat.readUInt32LE(at + 60);
}

/** Whether two records are equal byte by byte. */
export function sameStat(a: Buffer, atA: number, b: Buffer, atB: number): boolean {
  return a.compare(b, atB, atB + STAT_BYTES, atA, atA + STAT_BYTES) === 0;
}

function readInt64(stat: Buffer, at: number): number {
  return stat.readInt32LE(at + 4) * 2 ** 32 + stat.readUInt32LE(at);
}

function writeInt64(target: Buffer, at: number, value: number): void {
  const low = value % 2 ** 32;
  target.writeUInt32LE(low < 0 ? low + 2 ** 32 : low, at);
  target.writeInt32LE(Math.floor(value / 2 ** 32), at + 4);
}
