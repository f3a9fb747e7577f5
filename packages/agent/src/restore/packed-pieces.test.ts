import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import type { Piece } from './piece.ts';
import { packPieces, unpackPieces } from './packed-pieces.ts';

const anyNumber = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const anyPiece: fc.Arbitrary<Piece> = fc.oneof(
  fc.record({
    position: anyNumber,
    segment: fc.record({ kind: fc.constantFrom('zeros' as const, 'hole' as const), length: anyNumber }),
  }),
  fc.record({ position: anyNumber, length: anyNumber, offset: anyNumber, plainLength: anyNumber }).map((numbers) => ({
    position: numbers.position,
    segment: {
      kind: 'data' as const,
      length: numbers.length,
      offset: numbers.offset,
      tag: randomBytes(16),
      chunk: {
        id: randomBytes(32),
        plainLength: numbers.plainLength,
        proof: Buffer.alloc(0),
        node: Buffer.alloc(0),
        index: 0,
      },
    },
  })),
);

describe('pieces on their way to a thread', () => {
  it('come back as they were, from a copy of the buffer too', () => {
    fc.assert(
      fc.property(fc.array(anyPiece, { maxLength: 40 }), (pieces) => {
        expect(unpackPieces(structuredClone(packPieces(pieces)))).to.deep.equal(pieces);
      }),
    );
  });
});
