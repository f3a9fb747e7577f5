import { expect } from 'chai';
import fc from 'fast-check';
import { MARKS_MAX, PieceCutter, type Piece } from './piece-cutter.ts';
import type { WalEvent } from './wal-reader.ts';

const FILE = 4096;
const START = 8192n;

/** Answers the planned events whose records end in what is fed. */
function readerOf(events: readonly WalEvent[], from: bigint) {
  let at = from;
  return {
    feed(bytes: Buffer): WalEvent[] {
      const before = at;
      at += BigInt(bytes.length);
      return events.filter(({ end }) => end > before && end <= at);
    },
  };
}

const commit = (end: bigint): WalEvent => ({ kind: 'commit', end, xid: 1, atMs: Number(end) });
const point = (end: bigint): WalEvent => ({ kind: 'restore-point', end, name: String(end), atMs: 0 });

describe('pieces of a log', () => {
  it('C1 C2 C3 C4 are the bytes, within files, sizes and marks, each with the events that end in it', () => {
    const plan = fc.record({
      lengths: fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 }),
      pieceBytes: fc.integer({ min: 1, max: 5000 }),
      skip: fc.integer({ min: 0, max: 500 }),
      every: fc.integer({ min: 1, max: 40 }),
      points: fc.boolean(),
    });
    fc.assert(
      fc.property(plan, ({ lengths, pieceBytes, skip, every, points }) => {
        const total = lengths.reduce((sum, length) => sum + length, 0);
        const all = Buffer.from(Array.from({ length: total }, (_, i) => i % 251));
        const events: WalEvent[] = [];
        for (let at = every; at <= total; at += every) {
          const end = START + BigInt(at);
          events.push(points ? point(end) : commit(end));
        }
        const from = START + BigInt(skip);
        const cutter = new PieceCutter(from, START, readerOf(events, START), { fileBytes: FILE, pieceBytes });
        const pieces: Piece[] = [];
        let at = 0;
        for (const length of lengths) {
          pieces.push(...cutter.push(START + BigInt(at), all.subarray(at, at + length), at));
          at += length;
        }
        const rest = cutter.flush();
        if (rest !== undefined) pieces.push(rest);

        expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).equals(all.subarray(skip))).to.equal(true);
        let expected = from;
        for (const piece of pieces) {
          const { start, end, bytes, restorePoints, firstCommitAtMs, lastCommitAtMs, endsFile } = piece;
          expect(start).to.equal(expected);
          expect(BigInt(bytes.length)).to.equal(end - start);
          expect(bytes.length).to.be.within(1, pieceBytes);
          expect((end - 1n) / BigInt(FILE)).to.equal(start / BigInt(FILE));
          expect(endsFile).to.equal(end % BigInt(FILE) === 0n);
          expect(restorePoints.length).to.be.at.most(MARKS_MAX);
          const own = events.filter((event) => event.end > start && event.end <= end);
          if (points) expect(restorePoints).to.deep.equal(own.map((event) => String(event.end)));
          else {
            expect(firstCommitAtMs).to.equal(own[0] === undefined ? undefined : Number(own[0].end));
            expect(lastCommitAtMs).to.equal(own[0] === undefined ? undefined : Number(own.at(-1)!.end));
          }
          expected = end;
        }
      }),
    );
  });

  it('refuses bytes that do not follow those before', () => {
    const cutter = new PieceCutter(0n, 0n, readerOf([], 0n), { fileBytes: FILE, pieceBytes: 100 });
    cutter.push(0n, Buffer.alloc(10), 0);
    expect(() => cutter.push(11n, Buffer.alloc(10), 0)).to.throw('does not follow');
  });

  it('knows when the open piece was begun, and its first commit', () => {
    const cutter = new PieceCutter(0n, 0n, readerOf([commit(5n), commit(15n)], 0n), {
      fileBytes: FILE,
      pieceBytes: 100,
    });
    expect(cutter.openedAtMs).to.equal(undefined);
    cutter.push(0n, Buffer.alloc(10), 7);
    cutter.push(10n, Buffer.alloc(10), 9);
    expect(cutter.openedAtMs).to.equal(7);
    expect(cutter.firstCommitAtMs).to.equal(5);
    cutter.flush();
    expect(cutter.openedAtMs).to.equal(undefined);
    expect(cutter.firstCommitAtMs).to.equal(undefined);
  });
});
