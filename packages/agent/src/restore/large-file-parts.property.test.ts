import { expect } from 'chai';
import fc from 'fast-check';
import { chunkOf } from '@holdfast/shared/testing/manifest-trees';
import type { Piece } from './piece.ts';
import { partsOf } from './large-file-parts.ts';
import { keyOf } from './opened-chunks.ts';
import { UNIT_BYTES } from './unit-plan.ts';

const nodes = Array.from({ length: 3 }, (_, i) => chunkOf(`node ${i}`).id);

/** `chunk`: −1 for zeros. */
const drawn = fc.array(fc.record({ chunk: fc.integer({ min: -1, max: 30 }), node: fc.nat(2) }), { maxLength: 3_000 });

function windowOf(pieces: readonly { readonly chunk: number; readonly node: number }[]): Piece[] {
  return pieces.map(({ chunk, node }, i): Piece => {
    if (chunk < 0) return { position: i * 8192, segment: { kind: 'zeros', length: 8192 } };
    const { id, proof, plainLength } = chunkOf(`c${chunk}`, 1 + chunk * 150_000);
    const placed = { id, proof, plainLength, node: nodes[node]!, index: chunk };
    return {
      position: i * 8192,
      segment: { kind: 'data', chunk: placed, offset: 0, length: 1, tag: Buffer.alloc(16) },
    };
  });
}

describe('parts of a large file', () => {
  it('P1 P2 P3 hold every piece once, each chunk in one part, and little at a time', () => {
    fc.assert(
      fc.property(drawn, (given) => {
        const window = windowOf(given);
        const parts = partsOf(window);
        const all = parts.flatMap(({ pieces }) => pieces).toSorted((a, b) => a.position - b.position);
        expect(all).to.deep.equal(window);
        const seen = new Set<string>();
        for (const { pieces, chunks } of parts) {
          const used = pieces.flatMap(({ segment }) => (segment.kind === 'data' ? [keyOf(segment.chunk.id)] : []));
          expect(new Set(used)).to.deep.equal(new Set(chunks.keys()));
          for (const key of chunks.keys()) {
            expect(seen.has(key)).to.equal(false);
            seen.add(key);
          }
          const placed = [...chunks.values()];
          const bytes = placed.reduce((sum, { plainLength }) => sum + plainLength, 0);
          expect(bytes <= UNIT_BYTES || chunks.size === 1).to.equal(true);
          expect(new Set(placed.map(({ node }) => keyOf(node))).size).to.be.at.most(1);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('P4 pieces with a chunk each stay in order', () => {
    const window = windowOf(Array.from({ length: 31 }, (_, chunk) => ({ chunk, node: 0 })));
    expect(partsOf(window).flatMap(({ pieces }) => pieces)).to.deep.equal(window);
  });
});
