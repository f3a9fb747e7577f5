import { expect } from 'chai';
import fc from 'fast-check';
import { type Piece, CHUNK_SLAB_BYTES, Slabs } from './slabs.ts';

const MIB = 1024 * 1024;

describe('backup/slabs', () => {
  it('S1 a lent piece keeps its bytes until it is released, in every order of lending and releasing', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 4 * MIB }), fc.nat(9)), { maxLength: 40 }), (steps) => {
        const memory = [
          new SharedArrayBuffer(CHUNK_SLAB_BYTES),
          new SharedArrayBuffer(CHUNK_SLAB_BYTES),
          new SharedArrayBuffer(CHUNK_SLAB_BYTES),
        ];
        const views = memory.map((slab) => Buffer.from(slab));
        const lent: { piece: Piece; mark: number }[] = [];
        const releaseOldest = (): void => {
          const { piece, mark } = lent.shift()!;
          const bytes = views[piece.slab - 5]!.subarray(piece.offset, piece.offset + piece.length);
          expect(bytes[0]).to.equal(mark);
          expect(bytes.at(-1)).to.equal(mark);
          slabs.release(piece.slab);
        };
        const slabs = new Slabs(memory, 5, (ready) => {
          while (!ready()) releaseOldest();
        });
        steps.forEach(([length, releases], index) => {
          const mark = index % 256;
          slabs.room(length).fill(mark, 0, length);
          slabs.filled(length);
          lent.push({ piece: slabs.lend(slabs.pending), mark });
          for (let i = 0; i < releases - 7 && lent.length > 0; i++) releaseOldest();
        });
        while (lent.length > 0) releaseOldest();
      }),
      { numRuns: 30 },
    );
  });

  it('carries an unfinished region over to the next slab', () => {
    const memory = [new SharedArrayBuffer(CHUNK_SLAB_BYTES), new SharedArrayBuffer(CHUNK_SLAB_BYTES)];
    const slabs = new Slabs(memory, 0, (ready) => expect(ready()).to.equal(true));
    slabs.room(5 * MIB).fill(1, 0, 5 * MIB);
    slabs.filled(5 * MIB);
    const first = slabs.lend(4 * MIB);
    slabs.room(6 * MIB).fill(2, 0, 6 * MIB);
    slabs.filled(6 * MIB);
    expect(slabs.pending).to.equal(7 * MIB);
    expect(slabs.pendingBytes()[0]).to.equal(1);
    expect(slabs.pendingBytes()[MIB]).to.equal(2);
    expect(slabs.lend(7 * MIB).slab).not.to.equal(first.slab);
  });

  it('S2 refuses a region larger than a slab', () => {
    const slabs = new Slabs(
      [new SharedArrayBuffer(CHUNK_SLAB_BYTES), new SharedArrayBuffer(CHUNK_SLAB_BYTES)],
      0,
      () => undefined,
    );
    expect(() => slabs.room(CHUNK_SLAB_BYTES + 1)).to.throw(RangeError);
  });
});
