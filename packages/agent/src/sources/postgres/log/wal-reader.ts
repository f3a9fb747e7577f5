// Reads the log as it streams by: when transactions committed, the points that somebody named, and tablespaces that were created.
//
// Hazard: a reader that loses its place invents commits, or misses them. Every page header says how much of a record goes on from
// the page before, so a reader that starts in the middle, or meets what it does not expect, waits for the next page and goes
// on with the first record that begins after it. Bytes are stored whatever is read in them here.
//
// Source: PostgreSQL's src/include/access/xlog_internal.h, xlogrecord.h, xact.h, catalog/pg_control.h, commands/tablespace.h,
// versions 13 to 18.
//
// Invariants (wal-reader.db.test.ts): W1 what is found does not depend on how the bytes are cut up; W2 from any
// start the records after the next page header are found; W3 commits and their times are those that pg_waldump tells.

import { unixMs } from './copy-messages.ts';
import { WAL_PAGE_BYTES } from './lsn.ts';

export type WalEvent =
  /** `end`: the LSN behind the record's last byte. `atMs`: server's clock, Unix ms with its fraction. */
  | { readonly kind: 'commit'; readonly end: bigint; readonly xid: number; readonly atMs: number }
  | { readonly kind: 'restore-point'; readonly end: bigint; readonly name: string; readonly atMs: number }
  | { readonly kind: 'shutdown'; readonly end: bigint }
  | { readonly kind: 'end-of-recovery'; readonly end: bigint; readonly timeline: number }
  | CreatedTablespace;

/** The record of a CREATE TABLESPACE. */
export interface CreatedTablespace {
  readonly kind: 'tablespace';
  readonly end: bigint;
  /** LSN of the record's first byte. */
  readonly start: bigint;
  /** Of the record, without the page headers within. */
  readonly length: number;
  readonly oid: number;
  /** Empty: in the data directory itself. */
  readonly location: string;
  /** Of the location's first byte within the record, without page headers. */
  readonly locationAt: number;
}

/** First two bytes of a page, by major version. */
export const PAGE_MAGIC: ReadonlyMap<number, number> = new Map([
  [0xd106, 13],
  [0xd10d, 14],
  [0xd110, 15],
  [0xd113, 16],
  [0xd116, 17],
  [0xd118, 18],
]);

export const SHORT_HEADER_BYTES = 24;
export const LONG_HEADER_BYTES = 40;
const PAGE_CONTINUES = 0x01;
const PAGE_LONG = 0x02;
const PAGE_OVERWRITES = 0x08;

const RECORD_HEADER_BYTES = 24;
/** Of an interesting record: its header, fragment headers, and a restore point's time and name, or a tablespace's path. */
const CAPTURE_BYTES = 1100;
const RESOURCE_XLOG = 0;
const RESOURCE_XACT = 1;
const RESOURCE_TABLESPACE = 5;
const XLOG_SHUTDOWN = 0x00;
const XLOG_SWITCH = 0x40;
const XLOG_RESTORE_POINT = 0x70;
const XLOG_END_OF_RECOVERY = 0x90;
const XACT_COMMIT = 0x00;
const XACT_COMMIT_PREPARED = 0x30;
const XACT_OPERATION = 0x70;
const TABLESPACE_CREATE = 0x00;

export class WalReader {
  readonly #fileBytes: number;
  /** LSN of the next byte. */
  #at: bigint;
  /** Of the next byte, within its page and within its file. */
  #inPage: number;
  #inFile: number;
  /** Not known where a record begins; the next page header tells. */
  #lost: boolean;
  /** A switch ends the file: what is left of it is zeros. */
  #restIsEmpty = false;
  readonly #pageHeader = Buffer.alloc(LONG_HEADER_BYTES);
  #pageHeaderHas = 0;
  /** Of the record that is being read: its bytes to come, and what is kept of it. */
  #left = 0;
  /** A record's tail whose beginning was not seen. */
  #skipping = false;
  #startedAt = 0n;
  readonly #record = Buffer.alloc(CAPTURE_BYTES);
  #has = 0;
  #wanted = RECORD_HEADER_BYTES;
  #version: number | undefined;

  /**
   * @param start LSN of the first byte that will be fed
   * @param atRecord a record, or a page, is known to begin there
   * @param fileBytes size of the server's log files
   */
  constructor(start: bigint, atRecord: boolean, fileBytes: number) {
    this.#fileBytes = fileBytes;
    this.#at = start;
    this.#inFile = Number(start % BigInt(fileBytes));
    this.#inPage = this.#inFile % WAL_PAGE_BYTES;
    this.#lost = !atRecord || this.#inPage === 0;
  }

  /** Major version of the server, by the last page header; undefined: none seen, or one that is not known here. */
  get version(): number | undefined {
    return this.#version;
  }

  /** What was fed ends within a record that may be one of a tablespace: LSN of its first byte. */
  get openTablespace(): bigint | undefined {
    if (this.#lost || this.#skipping || (this.#has === 0 && this.#left === 0)) return undefined;
    const may = this.#has < RECORD_HEADER_BYTES || this.#record[17] === RESOURCE_TABLESPACE;
    return may ? this.#startedAt : undefined;
  }

  /** The bytes that follow those fed before. Answers what ended within, in order. */
  feed(bytes: Buffer): WalEvent[] {
    const events: WalEvent[] = [];
    let offset = 0;
    while (offset < bytes.length) {
      const inPage = this.#inPage;
      let taken: number;
      if (this.#restIsEmpty) taken = Math.min(bytes.length - offset, this.#fileBytes - this.#inFile);
      else if (inPage === 0 || this.#pageHeaderHas > 0) taken = this.#takePageHeader(bytes, offset);
      else taken = this.#takeContent(bytes.subarray(offset, offset + WAL_PAGE_BYTES - inPage), events);
      this.#advance(taken);
      offset += taken;
    }
    return events;
  }

  #advance(count: number): void {
    this.#at += BigInt(count);
    this.#inFile += count;
    if (this.#inFile === this.#fileBytes) {
      this.#inFile = 0;
      if (this.#restIsEmpty) {
        this.#restIsEmpty = false;
        this.#left = 0;
      }
    }
    this.#inPage = this.#inFile % WAL_PAGE_BYTES;
  }

  #takePageHeader(bytes: Buffer, offset: number): number {
    // The flags that say whether the header is a long one are in the short one's first four bytes.
    const has = this.#pageHeaderHas;
    const long = has >= 4 && (this.#pageHeader.readUInt16LE(2) & PAGE_LONG) !== 0;
    const needed = has < 4 ? 4 : long ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
    const taken = bytes.copy(this.#pageHeader, has, offset, Math.min(bytes.length, offset + needed - has));
    this.#pageHeaderHas += taken;
    if (this.#pageHeaderHas === needed && needed > 4) {
      this.#pageHeaderHas = 0;
      this.#enterPage();
    }
    return taken;
  }

  #enterPage(): void {
    const header = this.#pageHeader;
    this.#version = PAGE_MAGIC.get(header.readUInt16LE(0));
    const flags = header.readUInt16LE(2);
    const continues = (flags & PAGE_CONTINUES) !== 0 ? header.readUInt32LE(16) : 0;
    if (this.#version === undefined) {
      this.#lost = true;
      this.#left = 0;
      return;
    }
    if ((flags & PAGE_OVERWRITES) !== 0) {
      // The server crashed in the middle of a record, and goes on with another one in its place.
      this.#left = 0;
      this.#has = 0;
      this.#skipping = false;
    }
    if (!this.#lost && this.#left === continues) return;
    // The beginning of what goes on here was not seen.
    this.#lost = false;
    this.#left = continues;
    this.#skipping = continues > 0;
    this.#has = 0;
  }

  /** @param bytes up to the end of the page at most */
  #takeContent(bytes: Buffer, events: WalEvent[]): number {
    if (this.#lost) return bytes.length;
    let offset = 0;
    while (offset < bytes.length) {
      if (this.#left === 0 && this.#has === 0) {
        const padding = -(this.#inPage + offset) & 7;
        if (padding > 0) {
          offset = Math.min(bytes.length, offset + padding);
          continue;
        }
      }
      const before = offset;
      offset = this.#takeRecord(bytes, offset, events);
      if (this.#lost || this.#restIsEmpty) return this.#restIsEmpty ? offset : bytes.length;
      if (offset === before) break;
    }
    return offset;
  }

  #takeRecord(bytes: Buffer, from: number, events: WalEvent[]): number {
    let offset = from;
    if (this.#left === 0) {
      if (this.#has === 0) this.#startedAt = this.#at + BigInt(offset);
      // The length is never divided by a page: records begin at multiples of eight.
      while (this.#has < 4 && offset < bytes.length) this.#record[this.#has++] = bytes[offset++]!;
      if (this.#has < 4) return offset;
      const length = this.#record.readUInt32LE(0);
      if (length < RECORD_HEADER_BYTES) {
        this.#has = 0;
        this.#lost = true;
        return offset;
      }
      this.#left = length - 4;
      this.#wanted = RECORD_HEADER_BYTES;
      this.#skipping = false;
    }
    const available = Math.min(this.#left, bytes.length - offset);
    if (!this.#skipping) this.#capture(bytes, offset, available);
    this.#left -= available;
    offset += available;
    if (this.#left === 0) {
      if (!this.#skipping) this.#finish(this.#at + BigInt(offset), events);
      this.#skipping = false;
      this.#has = 0;
    }
    return offset;
  }

  #capture(bytes: Buffer, offset: number, available: number): void {
    if (this.#has >= this.#wanted) return;
    const end = offset + available;
    const copied = bytes.copy(this.#record, this.#has, offset, Math.min(end, offset + this.#wanted - this.#has));
    this.#has += copied;
    if (this.#has !== RECORD_HEADER_BYTES || this.#wanted !== RECORD_HEADER_BYTES) return;
    const resource = this.#record[17]!;
    if (resource > RESOURCE_XACT && resource !== RESOURCE_TABLESPACE) return;
    this.#wanted = Math.min(CAPTURE_BYTES, this.#record.readUInt32LE(0));
    if (this.#wanted > this.#has) this.#capture(bytes, offset + copied, available - copied);
  }

  #finish(end: bigint, events: WalEvent[]): void {
    const record = this.#record.subarray(0, this.#has);
    if (record.length < RECORD_HEADER_BYTES) return;
    if (record[17] === RESOURCE_XLOG && (record[16]! & 0xf0) === XLOG_SWITCH) {
      this.#restIsEmpty = end % BigInt(this.#fileBytes) !== 0n;
      return;
    }
    const event = eventOf(record, this.#startedAt, end);
    if (event !== undefined) events.push(event);
  }
}

/** @param record its first CAPTURE_BYTES bytes */
function eventOf(record: Buffer, start: bigint, end: bigint): WalEvent | undefined {
  const resource = record[17];
  const info = record[16]!;
  const data = mainData(record);
  if (data === undefined) return undefined;
  if (resource === RESOURCE_XACT) {
    const operation = info & XACT_OPERATION;
    if ((operation !== XACT_COMMIT && operation !== XACT_COMMIT_PREPARED) || data.length < 8) return undefined;
    return { kind: 'commit', end, xid: record.readUInt32LE(4), atMs: unixMs(data.readBigInt64LE(0)) };
  }
  if (resource === RESOURCE_TABLESPACE) {
    if ((info & 0xf0) !== TABLESPACE_CREATE || data.length < 5) return undefined;
    const path = data.subarray(4);
    const ending = path.indexOf(0);
    return {
      kind: 'tablespace',
      end,
      start,
      length: record.readUInt32LE(0),
      oid: data.readUInt32LE(0),
      location: path.toString('utf8', 0, ending < 0 ? path.length : ending),
      locationAt: record.length - path.length,
    };
  }
  if (resource !== RESOURCE_XLOG) return undefined;
  const kind = info & 0xf0;
  if (kind === XLOG_SHUTDOWN) return { kind: 'shutdown', end };
  if (kind === XLOG_RESTORE_POINT && data.length >= 72) {
    const name = data.subarray(8, 72);
    const length = name.indexOf(0);
    const text = name.toString('utf8', 0, length < 0 ? name.length : length);
    return { kind: 'restore-point', end, name: text, atMs: unixMs(data.readBigInt64LE(0)) };
  }
  if (kind === XLOG_END_OF_RECOVERY && data.length >= 12) {
    return { kind: 'end-of-recovery', end, timeline: data.readUInt32LE(8) };
  }
  return undefined;
}

const FRAGMENT_DATA_SHORT = 255;
const FRAGMENT_DATA_LONG = 254;
const FRAGMENT_ORIGIN = 253;
const FRAGMENT_TOP_TRANSACTION = 252;

/** A record's own data, behind its fragment headers. Undefined for one that refers to blocks: none of those is looked for. */
function mainData(record: Buffer): Buffer | undefined {
  let at = RECORD_HEADER_BYTES;
  while (at < record.length) {
    const id = record[at++]!;
    if (id === FRAGMENT_DATA_SHORT) return record.subarray(at + 1);
    if (id === FRAGMENT_DATA_LONG) return record.subarray(at + 4);
    if (id === FRAGMENT_ORIGIN) at += 2;
    else if (id === FRAGMENT_TOP_TRANSACTION) at += 4;
    else return undefined;
  }
  return undefined;
}
