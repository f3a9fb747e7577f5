import { expectRejection } from '@holdfast/shared/testing/expect-error';
import { expect } from 'chai';
import fc from 'fast-check';
import { walFileName, WAL_PAGE_BYTES } from '../log/lsn.ts';
import { LONG_HEADER_BYTES, SHORT_HEADER_BYTES, WalReader, type CreatedTablespace } from '../log/wal-reader.ts';
import { keepTablespaces, TablespaceFilter } from './log-tablespaces.ts';
import type { WalSource } from './wal-files.ts';

const FILE = 2 * WAL_PAGE_BYTES;
const FIRST = BigInt(FILE);
const FILES = 4;
const MAGIC_15 = 0xd110;
const PLACE = '/srv/production/space';
const OVERWRITES = 0x08;

/** CRC-32C of a record, bit by bit, in the order in which the server computes it. */
function checksumOf(record: Buffer): number {
  let value = 0xffff_ffff;
  for (const byte of Buffer.concat([record.subarray(24), record.subarray(0, 20)])) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f6_3b78 : value >>> 1;
  }
  return (value ^ 0xffff_ffff) >>> 0;
}

function recordOf(resource: number, data: Buffer): Buffer {
  const header = data.length < 256 ? Buffer.from([255, data.length]) : Buffer.from([254, 0, 0, 0, 0]);
  if (data.length > 255) header.writeUInt32LE(data.length, 1);
  const record = Buffer.concat([Buffer.alloc(24), header, data]);
  record.writeUInt32LE(record.length, 0);
  record[17] = resource;
  record.writeUInt32LE(checksumOf(record), 20);
  return record;
}

function creationOf(oid: number, path: string): Buffer {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(oid);
  return recordOf(5, Buffer.concat([number, Buffer.from(`${path}\0`)]));
}

/** Of the heap's: so many bytes of the log in all. */
function filler(bytes: number): Buffer {
  return recordOf(10, Buffer.alloc(bytes - 26 - (bytes - 26 > 255 ? 3 : 0), 0x5a));
}

/** A log as a server writes it: pages with their headers, records at multiples of eight. */
class WrittenLog {
  readonly bytes = Buffer.alloc(FILES * FILE);
  at = 0;

  /** @param upTo the server crashed when so many bytes of it were written */
  write(record: Buffer, upTo = record.length): this {
    this.at += -this.at & 7;
    for (let written = 0; written < upTo;) {
      if (this.at % WAL_PAGE_BYTES === 0) this.page(written === 0 ? 0 : record.length - written);
      const room = WAL_PAGE_BYTES - (this.at % WAL_PAGE_BYTES);
      const taken = record.copy(this.bytes, this.at, written, Math.min(upTo, written + room));
      written += taken;
      this.at += taken;
    }
    return this;
  }

  page(continues: number, flags = continues > 0 ? 1 : 0): this {
    const long = this.at % FILE === 0;
    this.bytes.writeUInt16LE(MAGIC_15, this.at);
    this.bytes.writeUInt16LE(flags | (long ? 2 : 0), this.at + 2);
    this.bytes.writeUInt32LE(continues, this.at + 16);
    if (long) this.bytes.writeUInt32LE(WAL_PAGE_BYTES, this.at + 36);
    this.at += long ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
    return this;
  }

  fill(): this {
    while (this.at < (FILES - 1) * FILE) this.write(filler(1000));
    return this;
  }
}

/** A log in which a tablespace is created `fromEnd` bytes before the end of the first file. */
function logWith(fromEnd: number, path: string): Buffer {
  const before = filler(FILE - fromEnd - LONG_HEADER_BYTES - SHORT_HEADER_BYTES);
  return new WrittenLog().write(before).write(creationOf(16_400, path)).write(creationOf(16_401, '')).fill().bytes;
}

function sourceOf(log: Buffer): WalSource {
  const names = Array.from({ length: FILES }, (_, index) => walFileName(1, FIRST + BigInt(index * FILE), FILE));
  const around = async (name: string, offset: number, length: number): Promise<Buffer> => {
    const from = names.indexOf(name) * FILE + offset;
    return from < 0 ? Buffer.alloc(length) : Buffer.concat([log.subarray(from, from + length)], length);
  };
  const file = (name: string): Promise<Buffer> => around(name, 0, FILE);
  return { names, histories: [], file, around };
}

function creationsIn(log: Buffer): CreatedTablespace[] {
  return new WalReader(FIRST, false, FILE).feed(log).filter((event) => event.kind === 'tablespace');
}

/** The bytes of a record, without the page headers within. */
function recordAt(log: Buffer, { start, length }: CreatedTablespace): Buffer {
  const bytes: number[] = [];
  for (let at = Number(start - FIRST); bytes.length < length; at++) {
    if (at % WAL_PAGE_BYTES === 0) at += at % FILE === 0 ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
    bytes.push(log[at]!);
  }
  return Buffer.from(bytes);
}

/** Handed out in this order of files. */
async function handedOut(log: Buffer, order = [0, 1, 2, 3]): Promise<Buffer> {
  const source = keepTablespaces(sourceOf(log), FILE);
  const files: Buffer[] = [];
  for (const index of order) files[index] = (await source.file(source.names[index]!))!;
  return Buffer.concat(files);
}

describe('tablespaces in a log that is replayed', () => {
  for (const [how, path] of [
    ['short', PLACE],
    ['long', `/${'long/'.repeat(180)}`],
  ] as const) {
    it(`T1 T2 have no location any more (a ${how} one), wherever the record lies, and records stay whole`, async () => {
      for (let fromEnd = 8; fromEnd <= 1200; fromEnd += 8) {
        const log = logWith(fromEnd, path);
        const [created] = creationsIn(log);
        expect(created).to.include({ oid: 16_400, location: path });
        for (const order of [
          [0, 1, 2, 3],
          [3, 1, 0, 2],
        ]) {
          const safe = await handedOut(log, order);
          const [changed, other] = creationsIn(safe);
          expect(changed, `${fromEnd}`).to.include({ oid: 16_400, location: '' });
          expect(other).to.include({ oid: 16_401, location: '' });
          const record = recordAt(safe, changed!);
          expect(record.readUInt32LE(20)).to.equal(checksumOf(record));
          const differing = log.reduce((count, byte, at) => count + (byte === safe[at] ? 0 : 1), 0);
          expect(differing).to.be.within(2, 5);
        }
      }
    });
  }

  it('T1 also where the server went on after a crash in the middle of a record', async () => {
    const log = new WrittenLog().write(filler(4000)).write(filler(6000), WAL_PAGE_BYTES - LONG_HEADER_BYTES - 4000);
    log.page(0, OVERWRITES).write(creationOf(16_400, PLACE)).fill();
    expect(creationsIn(log.bytes)).to.have.length(1);
    expect(creationsIn(await handedOut(log.bytes))[0]).to.include({ oid: 16_400, location: '' });
  });

  it('T1 T2 however a log that is handed on as it comes is cut up; nothing but the beginning of such a record waits', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 });
    const fromEnd = fc.integer({ min: 1, max: 150 }).map((eighths) => eighths * 8);
    fc.assert(
      fc.property(sizes, fromEnd, (cuts, at) => {
        const log = logWith(at, PLACE);
        const filter = new TablespaceFilter(FIRST, FILE);
        const given: Buffer[] = [];
        let pushed = 0;
        for (let turn = 0; pushed < log.length; turn++) {
          const next = pushed + cuts[turn % cuts.length]!;
          given.push(Buffer.from(filter.push(log.subarray(pushed, next))));
          pushed = Math.min(next, log.length);
          const waiting = pushed - given.reduce((sum, { length }) => sum + length, 0);
          expect(waiting).to.be.at.most(200);
        }
        const safe = Buffer.concat(given);
        const [changed] = creationsIn(safe);
        expect(changed).to.include({ oid: 16_400, location: '' });
        const record = recordAt(safe, changed!);
        expect(record.readUInt32LE(20)).to.equal(checksumOf(record));
        expect(log.reduce((count, byte, index) => count + (byte === safe[index] ? 0 : 1), 0)).to.be.within(2, 5);
        expect([...filter.moved]).to.deep.equal([[16_400, PLACE]]);
      }),
      { numRuns: 60 },
    );
  });

  it('says which they were', async () => {
    const source = keepTablespaces(sourceOf(logWith(400, PLACE)), FILE);
    for (const name of source.names) await source.file(name);
    expect([...source.moved]).to.deep.equal([[16_400, PLACE]]);
  });

  it('T3 a log of a kind that is not known is not handed on', async () => {
    for (const change of [
      (log: Buffer) => log.writeUInt16LE(0xd1ff, FILE),
      (log: Buffer) => log.writeUInt32LE(16_384, FILE + 36),
    ]) {
      const log = logWith(400, PLACE);
      change(log);
      const source = keepTablespaces(sourceOf(log), FILE);
      await source.file(source.names[0]!);
      await expectRejection(source.file(source.names[1]!), 'FAILED_PRECONDITION');
    }
  });
});
