import { expect } from 'chai';
import fc from 'fast-check';
import { crc32 } from 'node:zlib';
import { EventReader, EventType, type BinlogEvent } from './event-reader.ts';
import { TransactionTracker } from './transactions.ts';

/** An event as a server writes it, with its checksum. */
function eventOf(type: number, timestampS: number, body: Uint8Array): Buffer {
  const event = Buffer.alloc(19 + body.length + 4);
  event.writeUInt32LE(timestampS, 0);
  event.writeUInt8(type, 4);
  event.writeUInt32LE(7, 5);
  event.writeUInt32LE(event.length, 9);
  event.set(body, 19);
  event.writeUInt32LE(crc32(event.subarray(0, event.length - 4)), event.length - 4);
  return event;
}

/** A format description that says: checksums. */
const layout = eventOf(EventType.formatDescription, 1, Buffer.concat([Buffer.alloc(60), Buffer.from([1])]));

function gtid(sequence: number, alone: boolean): Buffer {
  const body = Buffer.alloc(19);
  body.writeBigUInt64LE(BigInt(sequence), 0);
  body.writeUInt8(alone ? 1 : 0, 12);
  return eventOf(EventType.mariaGtid, sequence, body);
}

function query(text: string): Buffer {
  return eventOf(EventType.query, 5, Buffer.concat([Buffer.alloc(14), Buffer.from(text)]));
}

function read(bytes: Buffer, cuts: readonly number[]): { type: number; length: number; body: string; crc: number }[] {
  const seen: { type: number; length: number; body: string; crc: number }[] = [];
  const reader = new EventReader(
    ({ type, length, head, crc }) => void seen.push({ type, length, body: head.toString('hex'), crc }),
  );
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    reader.push(bytes.subarray(from, from + cut));
    from += cut;
  }
  expect(reader.between).to.equal(true);
  return seen;
}

describe('events of a binary log', () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 20 });

  it('come out the same, however the bytes are cut', () => {
    fc.assert(
      fc.property(bodies, fc.array(fc.integer({ min: 1, max: 60 })), (parts, cuts) => {
        const events = parts.map((body) => eventOf(EventType.xid, 9, body));
        const seen = read(Buffer.concat([layout, ...events]), cuts);
        expect(seen.slice(1).map(({ body }) => body)).to.deep.equal(
          parts.map((body) => Buffer.from(body).toString('hex')),
        );
        expect(seen).to.deep.equal(read(Buffer.concat([layout, ...events]), []));
      }),
    );
  });

  it('a changed byte is found, wherever it is', () => {
    fc.assert(
      fc.property(bodies, fc.nat(), fc.integer({ min: 1, max: 255 }), (parts, place, change) => {
        const bytes = Buffer.concat([layout, ...parts.map((body) => eventOf(EventType.xid, 9, body))]);
        const at = layout.length + (place % (bytes.length - layout.length));
        bytes[at] = (bytes[at] ?? 0) ^ change;
        expect(() => read(bytes, [])).to.throw();
      }),
    );
  });
});

describe('a format description', () => {
  const silent = eventOf(EventType.formatDescription, 1, Buffer.alloc(61));
  const unsummed = Buffer.from(silent);
  unsummed.writeUInt32LE(1, unsummed.length - 4);
  const event = eventOf(EventType.xid, 9, Buffer.alloc(8));

  it('switches the sums off at the beginning of a file alone, or when its own sum is right', () => {
    const rotation = eventOf(EventType.rotate, 0, Buffer.from('12345678binlog.2'));
    for (const bytes of [
      [layout, event, rotation, unsummed],
      [layout, event, silent],
    ])
      expect(read(Buffer.concat(bytes), [])).to.have.length(bytes.length);
    expect(() => read(Buffer.concat([layout, event, unsummed]), [])).to.throw(/checksum/);
  });

  it('is not what a changed byte makes of another event', () => {
    const changed = Buffer.from(event);
    changed[4] = EventType.formatDescription;
    expect(() => read(Buffer.concat([layout, changed]), [])).to.throw(/checksum/);
  });
});

describe('transactions of a binary log', () => {
  const commits = (bytes: Buffer): { gtids: string[]; open: boolean } => {
    const tracker = new TransactionTracker();
    const gtids: string[] = [];
    const reader = new EventReader((event: BinlogEvent) => {
      const commit = tracker.next(event);
      if (commit !== undefined) gtids.push(commit.gtid);
    });
    reader.push(bytes);
    return { gtids, open: tracker.open };
  };

  it('end with a commit or by themselves, and are open in between', () => {
    const rows = eventOf(23, 5, Buffer.alloc(30));
    const xid = eventOf(EventType.xid, 5, Buffer.alloc(8));
    const log = [layout, gtid(1, true), query('CREATE TABLE t'), gtid(2, false), rows, query('SAVEPOINT s'), rows, xid];
    expect(commits(Buffer.concat(log))).to.deep.equal({ gtids: ['0-7-1', '0-7-2'], open: false });
    expect(commits(Buffer.concat([...log, gtid(3, false), rows]))).to.deep.equal({
      gtids: ['0-7-1', '0-7-2'],
      open: true,
    });
    expect(commits(Buffer.concat([...log, gtid(3, false), rows, query('COMMIT')])).gtids).to.have.length(3);
  });

  it('of a server without GTIDs are known by their BEGIN', () => {
    const rows = eventOf(23, 5, Buffer.alloc(30));
    const xid = eventOf(EventType.xid, 5, Buffer.alloc(8));
    const log = Buffer.concat([layout, query('DROP TABLE t'), query('BEGIN'), rows, xid, query('BEGIN'), rows]);
    expect(commits(log)).to.deep.equal({ gtids: ['', ''], open: true });
  });
});
