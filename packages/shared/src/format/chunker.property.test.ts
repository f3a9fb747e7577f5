import { expect } from 'chai';
import fc from 'fast-check';
import { seededBytes } from '../testing/seeded-bytes.ts';
import {
  CHUNK_AVERAGE_BYTES,
  CHUNK_MAX_BYTES,
  CHUNK_MIN_BYTES,
  CHUNK_NORMAL_BYTES,
  Chunker,
  gearTable,
  MASK_AFTER_NORMAL,
  MASK_BEFORE_NORMAL,
  NEED_MORE,
} from './chunker.ts';
import { deriveDomainKeys } from './keys.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const keys = deriveDomainKeys(new Uint8Array(32).fill(2), 'chunks', 0);
const gear = gearTable(keys);

interface Piece {
  from: number;
  to: number;
  zeros: boolean;
}

/** Adjacent zeros pieces as one, as a file's segments have them. */
function addPiece(pieces: Piece[], piece: Piece): void {
  const last = pieces.at(-1);
  if (last?.zeros === true && piece.zeros) last.to = piece.to;
  else if (piece.to > piece.from) pieces.push(piece);
}

function cutWhole(content: Buffer, chunker = new Chunker(gear)): Piece[] {
  const pieces: Piece[] = [];
  for (let from = 0; from < content.length;) {
    const to = chunker.cut(content, from, content.length, true);
    addPiece(pieces, { from, to, zeros: chunker.lastWasZeros });
    from = to;
  }
  return pieces;
}

/** Feeds the content in steps, moving what is kept to another buffer each time, as a reader with a small window does. */
function cutInSteps(content: Buffer, steps: readonly number[]): Piece[] {
  const chunker = new Chunker(gear);
  const pieces: Piece[] = [];
  let from = 0;
  let seen = 0;
  for (let turn = 0; from < content.length; turn++) {
    seen = Math.min(content.length, seen + steps[turn % steps.length]!);
    for (;;) {
      const front = turn % 7;
      const window = Buffer.concat([Buffer.alloc(front, 0xcc), content.subarray(from, seen)]);
      const end = chunker.cut(window, front, window.length, seen === content.length);
      if (end === NEED_MORE) {
        expect(seen - from, 'waits for more only within the longest chunk').to.be.below(CHUNK_MAX_BYTES);
        break;
      }
      addPiece(pieces, { from, to: from + end - front, zeros: chunker.lastWasZeros });
      from += end - front;
      if (from === seen) break;
    }
  }
  return pieces;
}

/** The rule of the format, byte by byte, with no regard for speed. */
function cutByDefinition(content: Buffer): Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  while (from < content.length) {
    let zeros = from;
    while (zeros < content.length && content[zeros] === 0) zeros++;
    if (zeros - from >= CHUNK_MIN_BYTES) {
      addPiece(pieces, { from, to: zeros, zeros: true });
      from = zeros;
      continue;
    }
    const to = from + definitionEnd(content.subarray(from));
    addPiece(pieces, { from, to, zeros: false });
    from = to;
  }
  return pieces;
}

function definitionEnd(rest: Buffer): number {
  let hash = 0;
  for (let length = CHUNK_MIN_BYTES; length < Math.min(rest.length, CHUNK_MAX_BYTES); length++) {
    if (length % (64 * KIB) === 0 && length <= CHUNK_MAX_BYTES - CHUNK_MIN_BYTES) {
      const next = rest.subarray(length, length + CHUNK_MIN_BYTES);
      if (next.length === CHUNK_MIN_BYTES && next.every((byte) => byte === 0)) return length;
    }
    hash = (hash * 2 + gear[rest[length]!]!) % 2 ** 32;
    if (hash < (length < CHUNK_NORMAL_BYTES ? 2 ** 10 : 2 ** 14)) return length + 1;
  }
  return Math.min(rest.length, CHUNK_MAX_BYTES);
}

/** Chunks by content, for counting what two versions share. */
function contentsOf(content: Buffer): Set<string> {
  return new Set(cutWhole(content).map((piece) => content.subarray(piece.from, piece.to).toString('latin1')));
}

function shared(before: Buffer, after: Buffer): { fresh: number; count: number } {
  const old = contentsOf(before);
  const chunks = [...contentsOf(after)];
  return { fresh: chunks.filter((chunk) => !old.has(chunk)).length, count: chunks.length };
}

/** Random bytes with runs of zeros of all lengths around the bounds. */
function withZeros(seed: number, lengths: readonly number[]): Buffer {
  return Buffer.concat(
    lengths.map((length, i) => (i % 2 === 0 ? seededBytes(`${seed}/${i}`, length) : Buffer.alloc(length))),
  );
}

const stream = seededBytes('a stream of 24 MiB', 24 * MIB);

describe('chunker', () => {
  it('H1 cuts as the definition says, runs of zeros included', () => {
    const samples = [
      stream.subarray(0, 5 * MIB),
      withZeros(1, [300 * KIB, 700 * KIB, 1, 256 * KIB, 100 * KIB, 255 * KIB, 2 * MIB, 300 * KIB]),
      withZeros(2, [0, 256 * KIB - 1, 600 * KIB, 256 * KIB + 64 * KIB, 5]),
      Buffer.alloc(6 * MIB, 'a short pattern that never makes a boundary'),
      Buffer.alloc(3 * MIB),
      Buffer.alloc(100 * KIB),
    ];
    for (const content of samples) expect(cutWhole(content)).to.deep.equal(cutByDefinition(content));
  });

  it('H1 cuts the same however the content is fed', () => {
    const content = Buffer.concat([stream.subarray(0, 7 * MIB), Buffer.alloc(MIB), stream.subarray(7 * MIB, 9 * MIB)]);
    const whole = cutWhole(content);
    const step = fc.oneof(
      fc.integer({ min: 100 * KIB, max: 2 * MIB }),
      fc.constantFrom(64 * KIB, 256 * KIB, 4 * MIB, 100_003),
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 5 }), (steps) => {
        expect(cutInSteps(content, steps)).to.deep.equal(whole);
      }),
      { numRuns: 12 },
    );
  });

  it('H1 H4 cuts the same however runs of zeros are fed', () => {
    const run = fc.oneof(
      fc.integer({ min: 0, max: 700 * KIB }),
      fc.constantFrom(256 * KIB, 256 * KIB - 1, 256 * KIB + 1, 64 * KIB),
    );
    const step = fc.integer({ min: 50 * KIB, max: MIB });
    fc.assert(
      fc.property(
        fc.array(run, { minLength: 1, maxLength: 7 }),
        fc.array(step, { minLength: 1, maxLength: 4 }),
        (runs, steps) => {
          const content = withZeros(7, runs);
          const whole = cutWhole(content);
          expect(cutInSteps(content, steps)).to.deep.equal(whole);
          expect(whole.at(-1)?.to ?? 0).to.equal(content.length);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('H2 holds minimum and maximum, and a mean near 1 MiB', () => {
    const content = seededBytes('for the mean', 160 * MIB);
    const lengths = cutWhole(content).map((piece) => piece.to - piece.from);
    for (const length of lengths.slice(0, -1)) expect(length).to.be.within(CHUNK_MIN_BYTES, CHUNK_MAX_BYTES);
    expect(content.length / lengths.length).to.be.within(0.85 * CHUNK_AVERAGE_BYTES, 1.15 * CHUNK_AVERAGE_BYTES);
    expect(Math.max(...lengths)).to.be.above(1.2 * CHUNK_AVERAGE_BYTES);
  });

  it('H2 ends content without boundaries at the maximum, and a short file at its end', () => {
    const dull = Buffer.alloc(9 * MIB, 'x');
    expect(cutWhole(dull).map((piece) => piece.to)).to.deep.equal([4 * MIB, 8 * MIB, 9 * MIB]);
    for (const length of [1, 1_000, CHUNK_MIN_BYTES - 1, CHUNK_MIN_BYTES]) {
      expect(cutWhole(stream.subarray(0, length))).to.deep.equal([{ from: 0, to: length, zeros: false }]);
    }
    expect(new Chunker(gear).cut(stream, 5, 5, true)).to.equal(5);
  });

  it('H3 an insertion or deletion at front, middle or end makes at most three chunks new', () => {
    const places = [0, 1, 5 * MIB + 12_345, 12 * MIB, 24 * MIB - 10];
    for (const at of places) {
      for (const change of [1, 100, 70_000]) {
        const inserted = Buffer.concat([
          stream.subarray(0, at),
          seededBytes(`new ${change}`, change),
          stream.subarray(at),
        ]);
        const removed = Buffer.concat([stream.subarray(0, at), stream.subarray(at + change)]);
        for (const after of [inserted, removed]) {
          const { fresh, count } = shared(stream, after);
          expect(fresh, `${change} bytes at ${at}`).to.be.at.most(3);
          expect(count).to.be.above(15);
        }
      }
    }
  });

  it('H3 a file of which many parts changed keeps the chunks between them', () => {
    const after = Buffer.from(stream);
    for (let at = 2 * MIB; at < after.length; at += 6 * MIB) after[at]! ^= 0xff;
    expect(shared(stream, after).fresh).to.be.at.most(8);
  });

  it('H4 preallocated files and runs of zeros behind content are zeros pieces', () => {
    expect(cutWhole(Buffer.alloc(40 * MIB))).to.deep.equal([{ from: 0, to: 40 * MIB, zeros: true }]);
    const content = Buffer.concat([
      stream.subarray(0, 500 * KIB),
      Buffer.alloc(30 * MIB),
      stream.subarray(0, 500 * KIB),
    ]);
    const pieces = cutWhole(content);
    expect(pieces.map((piece) => piece.zeros)).to.deep.equal([false, true, false]);
    // Found within one look of where the run begins, and whole up to its last byte.
    expect(pieces[1]!.from).to.be.within(500 * KIB, 564 * KIB);
    expect(pieces[1]!.to).to.equal(500 * KIB + 30 * MIB);
  });

  it('cuts another domain’s content elsewhere, and the same in every key epoch', () => {
    const rotated = gearTable(deriveDomainKeys(new Uint8Array(32).fill(2), 'chunks', 9));
    const foreign = gearTable(deriveDomainKeys(new Uint8Array(32).fill(2), 'others', 0));
    expect(rotated).to.deep.equal(gear);
    const ours = new Set(cutWhole(stream).map((piece) => piece.to));
    const theirs = cutWhole(stream, new Chunker(foreign)).filter((piece) => ours.has(piece.to));
    expect(theirs.length).to.be.at.most(2);
    expect(new Set(gear).size).to.equal(256);
  });

  it('a chunker serves file after file, and forgets one that was given up', () => {
    const chunker = new Chunker(gear);
    const whole = cutWhole(stream);
    expect(cutWhole(stream, chunker)).to.deep.equal(whole);
    expect(cutWhole(Buffer.alloc(2 * MIB), chunker)).to.have.length(1);
    expect(cutWhole(stream, chunker)).to.deep.equal(whole);
    expect(chunker.cut(stream, 0, 600 * KIB, false)).to.equal(NEED_MORE);
    chunker.reset();
    expect(cutWhole(stream.subarray(MIB), chunker)).to.deep.equal(cutWhole(stream.subarray(MIB)));
  });

  it('tests the upper bits of the hash, the ones that see the most bytes', () => {
    expect([MASK_BEFORE_NORMAL >>> 0, MASK_AFTER_NORMAL >>> 0]).to.deep.equal([2 ** 32 - 2 ** 10, 2 ** 32 - 2 ** 14]);
  });
});
