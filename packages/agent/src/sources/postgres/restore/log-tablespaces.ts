// Tablespaces that the log creates: kept in the restored data directory, wherever the log says that they were.
//
// Hazard: a server that replays CREATE TABLESPACE takes the directory that the record names. On production's own host that is
// production's, in use: the restored server would link to it and write its own relations over production's, which have the same
// names. So before a server sees a file of the log, such a record's location is made empty: then the server keeps the tablespace in
// pg_tblspc/OID itself, or where a link that stands there leads (--option tablespace.OID=/path).
//
// A location ends with its first zero byte, so one byte is changed, and the record's checksum with it. That is linear: what a
// changed byte does to it depends only on how many bytes follow, so a record over two files is changed in each by itself.
//
// Invariants (log-tablespaces.test.ts): T1 no file names a location that is not empty, wherever a record lies; T2 nothing else in a
// file changes, and checksums hold; T3 a log that can't be read is not handed on. tablespaces.db.test.ts: production's directory
// stays as it was.
//
// Source: PostgreSQL's create_tablespace_directories (src/backend/commands/tablespace.c) and ValidXLogRecord (xlogreader.c).

import { HoldfastError } from '@holdfast/shared/base/errors';
import { crc32cAfterZeros, crc32cRegister } from '@holdfast/shared/format/crc32c';
import { walFileName, walFileStart, WAL_PAGE_BYTES } from '../log/lsn.ts';
import {
  LONG_HEADER_BYTES,
  PAGE_MAGIC,
  SHORT_HEADER_BYTES,
  WalReader,
  type CreatedTablespace,
} from '../log/wal-reader.ts';
import type { WalSource } from './wal-files.ts';

/** Where a long page header says how large a page of the log is. */
const PAGE_BYTES_AT = 36;
const CHECKSUM_AT = 20;
const CHECKSUM_BYTES = 4;

export interface SafeWalSource extends WalSource {
  /** Tablespaces that files handed out so far create elsewhere, by OID, with where they were. */
  readonly moved: ReadonlyMap<number, string>;
}

export function keepTablespaces(source: WalSource, fileBytes: number): SafeWalSource {
  const moved = new Map<number, string>();
  /** The last page of the file that was handed out last, and which file comes after it on its timeline. */
  let last: { readonly next: string; readonly page: Buffer } | undefined;
  return {
    names: source.names,
    histories: source.histories,
    around: (name, offset, length) => source.around(name, offset, length),
    moved,
    async file(name) {
      const file = await source.file(name);
      if (file === undefined || !source.names.includes(name)) return file;
      const start = walFileStart(name, fileBytes);
      checkReadable(file, name);
      const before = last?.next === name ? last.page : await pageBefore(source, name, start);
      // As it was: what the next file begins with may be the end of a record that is changed here.
      const timeline = parseInt(name.slice(0, 8), 16);
      last = {
        next: walFileName(timeline, start + BigInt(fileBytes), fileBytes),
        page: Buffer.from(file.subarray(file.length - WAL_PAGE_BYTES)),
      };
      const after = (): Promise<Buffer> => source.around(name, fileBytes, WAL_PAGE_BYTES);
      for (const record of await tablespacesIn(before, file, after, start, fileBytes)) {
        emptyLocation(file, start, fileBytes, record);
        moved.set(record.oid, record.location);
      }
      return file;
    },
  };
}

/**
 * The same for a log that is handed on as it comes. The beginning of a record that may be one of a tablespace is held back until the
 * record is whole: no server replays a part of one.
 */
export class TablespaceFilter {
  readonly moved = new Map<number, string>();
  readonly #fileBytes: number;
  readonly #reader: WalReader;
  #held: Buffer = Buffer.alloc(0);
  /** LSN of the first byte that is held, or of the next one. */
  #at: bigint;

  /** @param start LSN of the first byte that is pushed, at a page's beginning */
  constructor(start: bigint, fileBytes: number) {
    this.#at = start;
    this.#fileBytes = fileBytes;
    this.#reader = new WalReader(start, false, fileBytes);
  }

  /** @param bytes that follow those before. Answers what may be handed on now, from where the last answer ended. */
  push(bytes: Buffer): Buffer {
    const known = Buffer.concat([this.#held, bytes]);
    for (const event of this.#reader.feed(bytes)) {
      if (event.kind !== 'tablespace' || event.location === '') continue;
      emptyLocation(known, this.#at, this.#fileBytes, event);
      this.moved.set(event.oid, event.location);
    }
    const open = this.#reader.openTablespace;
    const ready = open === undefined ? known.length : Number(open - this.#at);
    this.#held = known.subarray(ready);
    this.#at += BigInt(ready);
    return known.subarray(0, ready);
  }
}

/** A page that goes on from the one before may hold the end of a record that began there. */
async function pageBefore(source: WalSource, name: string, start: bigint): Promise<Buffer> {
  return start < BigInt(WAL_PAGE_BYTES) ? Buffer.alloc(0) : source.around(name, -WAL_PAGE_BYTES, WAL_PAGE_BYTES);
}

/** Throws FAILED_PRECONDITION for a log in which nothing would be found. A page of zeros is none, for the server too. */
function checkReadable(file: Buffer, name: string): void {
  const magic = file.readUInt16LE(0);
  if (magic === 0) return;
  if (PAGE_MAGIC.has(magic) && file.readUInt32LE(PAGE_BYTES_AT) === WAL_PAGE_BYTES) return;
  throw new HoldfastError('FAILED_PRECONDITION', `the log file ${name} is of a kind that this agent does not know`, {
    hint: 'It is replayed only once it was searched for tablespaces in directories that may be in use. Use a newer agent.',
  });
}

/** Records that begin or end in the file, and have a location. */
async function tablespacesIn(
  before: Buffer,
  file: Buffer,
  after: () => Promise<Buffer>,
  start: bigint,
  fileBytes: number,
): Promise<CreatedTablespace[]> {
  const reader = new WalReader(start - BigInt(before.length), false, fileBytes);
  const events = [...reader.feed(before), ...reader.feed(file)];
  if (reader.openTablespace !== undefined) events.push(...reader.feed(await after()));
  return events.filter((event) => event.kind === 'tablespace').filter(({ location }) => location !== '');
}

/** Changes of the record what lies in the file. */
function emptyLocation(file: Buffer, start: bigint, fileBytes: number, record: CreatedTablespace): void {
  const byteAt = (offset: number): number => Number(placeOf(record.start, offset, fileBytes) - start);
  const change = (offset: number, by: number): void => {
    const at = byteAt(offset);
    if (at >= 0 && at < file.length) file[at] = file[at]! ^ by;
  };
  const first = Buffer.from(record.location)[0]!;
  change(record.locationAt, first);
  const followed = record.length - record.locationAt - 1 + CHECKSUM_AT;
  const difference = crc32cAfterZeros(crc32cRegister(0, Uint8Array.of(first)), followed);
  for (let index = 0; index < CHECKSUM_BYTES; index++) change(CHECKSUM_AT + index, (difference >>> (8 * index)) & 0xff);
}

/** LSN of a record's byte, behind the page headers on the way. */
function placeOf(recordStart: bigint, offset: number, fileBytes: number): bigint {
  let at = recordStart;
  let left = BigInt(offset);
  for (;;) {
    const room = BigInt(WAL_PAGE_BYTES) - (at % BigInt(WAL_PAGE_BYTES));
    if (left < room) return at + left;
    left -= room;
    at += room;
    at += BigInt(at % BigInt(fileBytes) === 0n ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES);
  }
}
