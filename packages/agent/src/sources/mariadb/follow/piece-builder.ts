// From what a server sends of its binary log to pieces for the vault: bytes exactly as they stand in the server's files.
//
// A server's stream holds more than its files: rotations, format descriptions and heartbeats that it makes up for a replica. Those
// are left out, and the four bytes that begin each file, which no server sends, are put in.
//
// A piece may hold the end of one file and the beginning of the next. The next file's part is as long as the end's offset, so
// nothing else needs to be said: `placesOf`.
//
// Hazards: an event that is left out (each must begin where the last one ended); an event of 1 GiB (a piece is given out within it,
// at LARGE_BYTES). Invariant (piece-builder.property.test.ts): however the bytes come, the pieces put together are the server's files.
//
// Pure: no clock, no socket.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogPosition } from '@holdfast/shared/format/log-point';
import { EVENT_HEADER_BYTES, EventReader, EventType, rotationOf, type BinlogEvent } from '../binlog/event-reader.ts';
import { GtidPosition, gtidsInList } from '../binlog/gtid.ts';
import { BINLOG_MAGIC, comparePositions, fileNumber, toLogPosition, type BinlogPosition } from '../binlog/position.ts';
import { TransactionTracker } from '../binlog/transactions.ts';
import { GatheredBytes } from './gathered-bytes.ts';

export interface Piece {
  readonly bytes: Buffer;
  readonly start: LogPosition;
  readonly end: LogPosition;
  /** Server's clock, Unix ms. */
  readonly firstCommitAtMs: number | undefined;
  readonly lastCommitAtMs: number | undefined;
  readonly commits: number;
  /** How far the server was at the end; '' when it writes no GTIDs. */
  readonly gtid: string;
  /** The last whole event in it; undefined: none ends in it. */
  readonly anchor: Anchor | undefined;
}

/** An event by which a log is known again. */
export interface Anchor {
  readonly file: string;
  /** Where it begins. */
  readonly offset: number;
  readonly length: number;
  readonly timestampS: number;
  readonly crc: number;
}

/** What the server sends is not the log that was followed: another stream begins. */
export class AnotherLog extends HoldfastError {
  constructor(why: string) {
    super('FAILED_PRECONDITION', `the server's log is another one: ${why}`);
  }
}

/** A full piece: it goes out when its event ends. */
export const PIECE_BYTES = 1024 * 1024;
/** It goes out even within an event. */
const LARGE_BYTES = 4 * PIECE_BYTES;

export interface BuilderStart {
  /** Where the server was asked to begin: the beginning of an event. */
  readonly from: BinlogPosition;
  /** What is stored already, from `from` to here, is read and left out. */
  readonly storedTo: BinlogPosition;
  /** The event at `from` must be this one. */
  readonly expect: Anchor | undefined;
  /** GTID position at `from`. */
  readonly gtid: string;
  /** The server's setting: what it makes up before the first file's own first event carries checksums too. */
  readonly checksums: boolean;
}

export class PieceBuilder {
  readonly #reader: EventReader;
  readonly #tracker = new TransactionTracker();
  readonly #gtid: GtidPosition;
  readonly #onFull: () => void;
  #expect: Anchor | undefined;
  /** Of the next byte that the server's files have. */
  #at: BinlogPosition;
  /** End of what was given out, or was stored before: the piece's beginning. */
  #start: BinlogPosition;
  readonly #bytes = new GatheredBytes();
  #crossed = false;
  /** The header of an event until it is whole: it tells the event's kind. */
  readonly #header = Buffer.alloc(EVENT_HEADER_BYTES);
  #headerBytes = 0;
  #counts = false;
  #first: number | undefined;
  #last: number | undefined;
  #commits = 0;
  #anchor: Anchor | undefined;
  #firstEvent = true;

  /** @param onFull a piece should be taken now */
  constructor(start: BuilderStart, onFull: () => void) {
    this.#reader = new EventReader((event) => this.#event(event), start.checksums);
    this.#at = start.from;
    this.#start = start.storedTo;
    this.#expect = start.expect;
    this.#gtid = new GtidPosition(start.gtid);
    this.#onFull = onFull;
    // A file's own first bytes are in no event.
    if (start.from.offset === BINLOG_MAGIC.length) this.#beginFile(start.from.file);
  }

  /** Of everything that came: where the server's log goes on. */
  get position(): BinlogPosition {
    return this.#at;
  }

  /** How far the server was at `position`. */
  get gtid(): string {
    return this.#gtid.toString();
  }

  get pendingBytes(): number {
    return this.#bytes.length;
  }

  /** Whether an event is under way. */
  get withinEvent(): boolean {
    return !this.#reader.between;
  }

  /** Part of one event. @param last ends it. Throws DAMAGED, AnotherLog, PROTOCOL_VIOLATION. */
  push(part: Buffer, last: boolean): void {
    if (this.#headerBytes < EVENT_HEADER_BYTES) this.#begin(part);
    else if (this.#counts) this.#add(part);
    this.#reader.push(part);
    if (!last) {
      if (this.pendingBytes >= LARGE_BYTES) this.#onFull();
      return;
    }
    if (!this.#reader.between)
      throw new HoldfastError('PROTOCOL_VIOLATION', 'the server cut an event of its log short');
    this.#headerBytes = 0;
    if (this.pendingBytes >= PIECE_BYTES) this.#onFull();
  }

  /** What came since the last piece; undefined: nothing. */
  take(): Piece | undefined {
    if (comparePositions(this.#at, this.#start) <= 0) return undefined;
    const piece: Piece = {
      bytes: this.#bytes.take(),
      start: toLogPosition(this.#start),
      end: toLogPosition(this.#at),
      firstCommitAtMs: this.#first,
      lastCommitAtMs: this.#last,
      commits: this.#commits,
      gtid: this.#gtid.toString(),
      anchor: this.#anchor,
    };
    this.#start = this.#at;
    this.#crossed = false;
    this.#first = undefined;
    this.#last = undefined;
    this.#commits = 0;
    this.#anchor = undefined;
    return piece;
  }

  #begin(part: Buffer): void {
    const taken = part.copy(this.#header, this.#headerBytes);
    this.#headerBytes += taken;
    if (this.#headerBytes < EVENT_HEADER_BYTES) return;
    const type = this.#header.readUInt8(4);
    // What the server makes up ends nowhere; a heartbeat says where the server is.
    this.#counts = type !== EventType.heartbeat && this.#header.readUInt32LE(13) !== 0;
    if (!this.#counts) return;
    this.#add(this.#header);
    this.#add(part.subarray(taken));
  }

  #add(bytes: Buffer): void {
    const from = this.#at.offset;
    this.#at = { file: this.#at.file, offset: from + bytes.length };
    const skip =
      comparePositions(this.#start, { file: this.#at.file, offset: from }) > 0 ? this.#start.offset - from : 0;
    if (comparePositions(this.#at, this.#start) <= 0) return;
    this.#bytes.add(bytes.subarray(skip));
  }

  #event(event: BinlogEvent): void {
    if (event.type === EventType.rotate && event.endOffset === 0) this.#rotate(event);
    if (!this.#counts) return;
    if (event.endOffset !== this.#at.offset % 2 ** 32) {
      throw new HoldfastError(
        'PROTOCOL_VIOLATION',
        `the server left out a part of its log before ${this.#at.file}:${event.endOffset}`,
        {
          hint: 'An encrypted binary log cannot be followed: set encrypt_binlog=OFF.',
        },
      );
    }
    const anchor = {
      file: this.#at.file,
      offset: this.#at.offset - event.length,
      length: event.length,
      timestampS: event.timestampS,
      crc: event.crc,
    };
    if (this.#firstEvent) this.#check(anchor);
    if (comparePositions(this.#at, this.#start) <= 0) return;
    this.#anchor = anchor;
    if (event.type === EventType.mariaGtidList) for (const gtid of gtidsInList(event.head)) this.#gtid.advance(gtid);
    const commit = this.#tracker.next(event);
    if (commit === undefined) return;
    if (commit.gtid !== '') this.#gtid.advance(commit.gtid);
    this.#first ??= commit.atMs;
    this.#last = Math.max(this.#last ?? 0, commit.atMs);
    this.#commits++;
  }

  #check(found: Anchor): void {
    this.#firstEvent = false;
    if (this.#expect !== undefined && !sameAnchor(this.#expect, found)) {
      throw new AnotherLog(`its binary log at ${found.file}:${found.offset} is not the one that was followed`);
    }
  }

  #rotate(event: BinlogEvent): void {
    const { file } = rotationOf(event);
    if (file === this.#at.file) return;
    if (fileNumber(file) < fileNumber(this.#at.file)) {
      throw new AnotherLog(`it began its binary logs anew at ${file}`);
    }
    if (this.#crossed) this.#onFull();
    this.#beginFile(file);
  }

  #beginFile(file: string): void {
    this.#at = { file, offset: BINLOG_MAGIC.length };
    if (comparePositions(this.#start, { file, offset: 0 }) > 0) return;
    if (this.#start.file !== file) this.#crossed = true;
    this.#bytes.add(BINLOG_MAGIC);
  }
}

export function sameAnchor(a: Anchor, b: Anchor): boolean {
  return (
    a.file === b.file &&
    a.offset === b.offset &&
    a.length === b.length &&
    a.timestampS === b.timestampS &&
    a.crc === b.crc
  );
}

/** Which bytes of a piece belong where. Throws DAMAGED for a piece whose length and range don't fit. */
export function placesOf(
  range: { readonly start: BinlogPosition; readonly end: BinlogPosition },
  bytes: Buffer,
): { file: string; offset: number; bytes: Buffer }[] {
  const { start, end } = range;
  const tail = start.file === end.file ? 0 : end.offset;
  const head = bytes.length - tail;
  if (head < 0 || (start.file === end.file && head !== end.offset - start.offset)) {
    throw new HoldfastError('DAMAGED', `the piece of the log from ${start.file}:${start.offset} has the wrong length`);
  }
  const places = [
    { file: start.file, offset: start.offset, bytes: bytes.subarray(0, head) },
    { file: end.file, offset: 0, bytes: bytes.subarray(head) },
  ];
  return places.filter((place) => place.bytes.length > 0);
}
