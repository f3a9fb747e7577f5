// Events of a binary log, read from its bytes as they come: https://mariadb.com/kb/en/replication-protocol/ and
// https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html
//
// Hazards: an event of 1 GiB (only the first HEAD_BYTES of a body are kept); bytes that were damaged on their way or on disk (the
// checksum of every event is checked when the log has them, and the length always is).
//
// Invariant (event-reader.property.test.ts): however the bytes are cut, the same events come out; a changed byte is found.

import { crc32 } from 'node:zlib';
import { HoldfastError } from '@holdfast/shared/base/errors';

export interface BinlogEvent {
  readonly type: number;
  /** Server's clock, Unix seconds; 0 for what the server makes up for a replica. */
  readonly timestampS: number;
  readonly serverId: number;
  /** Header, body and checksum. */
  readonly length: number;
  /** Where it ends in its file, as it says; 0 for what is in no file. */
  readonly endOffset: number;
  readonly flags: number;
  /** The body's first bytes, without header and checksum. Valid until the next event. */
  readonly head: Buffer;
  /** CRC-32 of everything but the last four bytes: the event's own checksum, where it has one. */
  readonly crc: number;
}

export const EventType = {
  query: 2,
  stop: 3,
  rotate: 4,
  formatDescription: 15,
  xid: 16,
  heartbeat: 27,
  mysqlGtid: 33,
  mysqlAnonymousGtid: 34,
  mysqlPreviousGtids: 35,
  xaPrepare: 38,
  mysqlTransactionPayload: 40,
  binlogCheckpoint: 161,
  mariaGtid: 162,
  mariaGtidList: 163,
  queryCompressed: 165,
} as const;

export const EVENT_HEADER_BYTES = 19;
export const CHECKSUM_BYTES = 4;
const HEAD_BYTES = 4096;
const MAX_EVENT_BYTES = 1 << 30;
const CHECKSUM_NONE = 0;
const CHECKSUM_CRC32 = 1;

export class EventReader {
  readonly #onEvent: (event: BinlogEvent) => void;
  readonly #header = Buffer.alloc(EVENT_HEADER_BYTES);
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headerFill = 0;
  #headFill = 0;
  #length = 0;
  #at = 0;
  #crc = 0;
  /** The last bytes, held back from the sum: they may be the checksum. */
  readonly #tail = Buffer.alloc(CHECKSUM_BYTES);
  #tailFill = 0;
  #checksums: number = CHECKSUM_NONE;
  #rotated = false;

  /** @param checksums of events before the first format description: what a server makes up for a replica that it greets */
  constructor(onEvent: (event: BinlogEvent) => void, checksums = false) {
    this.#onEvent = onEvent;
    if (checksums) this.#checksums = CHECKSUM_CRC32;
  }

  /** Whether the next byte begins an event. */
  get between(): boolean {
    return this.#headerFill === 0;
  }

  /** Throws DAMAGED for bytes that are no events, or whose checksum is wrong. */
  push(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) from += this.#take(bytes.subarray(from));
  }

  #take(bytes: Buffer): number {
    if (this.#headerFill < EVENT_HEADER_BYTES) {
      const take = bytes.copy(this.#header, this.#headerFill);
      this.#headerFill += take;
      if (this.#headerFill < EVENT_HEADER_BYTES) return take;
      this.#begin();
      if (this.#at === this.#length) this.#finish();
      return take;
    }
    const part = bytes.subarray(0, this.#length - this.#at);
    if (this.#headFill < HEAD_BYTES) this.#headFill += part.copy(this.#head, this.#headFill);
    this.#sum(part);
    this.#at += part.length;
    if (this.#at === this.#length) this.#finish();
    return part.length;
  }

  #begin(): void {
    this.#length = this.#header.readUInt32LE(9);
    if (this.#length < EVENT_HEADER_BYTES || this.#length > MAX_EVENT_BYTES) {
      throw damaged(`an event cannot be ${this.#length} bytes long`);
    }
    this.#at = EVENT_HEADER_BYTES;
    this.#headFill = 0;
    this.#tailFill = 0;
    this.#crc = 0;
    this.#sum(this.#header);
  }

  /** Sums all but the last four bytes seen so far. */
  #sum(part: Buffer): void {
    if (part.length >= CHECKSUM_BYTES) {
      this.#crc = crc32(this.#tail.subarray(0, this.#tailFill), this.#crc);
      this.#crc = crc32(part.subarray(0, part.length - CHECKSUM_BYTES), this.#crc);
      part.copy(this.#tail, 0, part.length - CHECKSUM_BYTES);
      this.#tailFill = CHECKSUM_BYTES;
      return;
    }
    const joined = Buffer.concat([this.#tail.subarray(0, this.#tailFill), part]);
    const summed = Math.max(0, joined.length - CHECKSUM_BYTES);
    this.#crc = crc32(joined.subarray(0, summed), this.#crc);
    this.#tailFill = joined.copy(this.#tail, 0, summed);
  }

  #finish(): void {
    this.#headerFill = 0;
    const header = this.#header;
    const type = header.readUInt8(4);
    // A byte that turned an event into a format description must not switch the sums off: only a new file may begin without them.
    const kept = this.#rotated ? CHECKSUM_NONE : this.#checksums;
    if (type === EventType.formatDescription) this.#checksums = this.#checksumsSaid();
    this.#rotated = type === EventType.rotate;
    if ((kept === CHECKSUM_CRC32 || this.#checksums === CHECKSUM_CRC32) && this.#tail.readUInt32LE(0) !== this.#crc) {
      throw damaged(`the checksum of the event that ends at ${header.readUInt32LE(13)} is wrong`);
    }
    const body = this.#length - EVENT_HEADER_BYTES - (this.#checksums === CHECKSUM_CRC32 ? CHECKSUM_BYTES : 0);
    this.#onEvent({
      type,
      timestampS: header.readUInt32LE(0),
      serverId: header.readUInt32LE(5),
      length: this.#length,
      endOffset: header.readUInt32LE(13),
      flags: header.readUInt16LE(17),
      head: this.#head.subarray(0, Math.min(this.#headFill, Math.max(0, body))),
      crc: this.#crc,
    });
  }

  /** A format description always ends in the algorithm's number and a checksum (MariaDB ≥ 5.3, MySQL ≥ 5.6). */
  #checksumsSaid(): number {
    const at = this.#length - EVENT_HEADER_BYTES - CHECKSUM_BYTES - 1;
    const algorithm = at >= 0 && at < this.#headFill ? this.#head.readUInt8(at) : CHECKSUM_NONE;
    return algorithm === CHECKSUM_CRC32 ? CHECKSUM_CRC32 : CHECKSUM_NONE;
  }
}

/** Where a rotation leads. */
export function rotationOf(event: BinlogEvent): { file: string; offset: number } {
  return {
    file: event.head.subarray(8).toString('utf8'),
    offset: Number(event.head.readBigUInt64LE(0)),
  };
}

function damaged(what: string): HoldfastError {
  return new HoldfastError('DAMAGED', `the binary log is damaged: ${what}`);
}
