import { expect } from 'chai';
import fc from 'fast-check';
import type { DataSegment, PlacedChunk } from '@holdfast/shared/format/manifest/entry';
import { UNIT_BYTES, UNIT_ENTRIES, UnitPlanner, type PlannedUnit } from './unit-plan.ts';

function segment(index: number, plainLength: number, length: number): DataSegment<PlacedChunk> {
  const none = Buffer.alloc(0);
  return {
    kind: 'data',
    offset: 0,
    length,
    tag: none,
    chunk: { id: Buffer.of(index), proof: none, plainLength, node: none, index },
  };
}

function planOf(entries: readonly (readonly DataSegment<PlacedChunk>[])[]): PlannedUnit[] {
  const planner = new UnitPlanner();
  const units = [...entries.map((segments, index) => planner.add(index, segments)), planner.finish()];
  return units.filter((unit) => unit !== undefined);
}

describe('units of a restore', () => {
  it('U1 U2 hold bounded bytes and every entry once, in order', () => {
    const lengths = fc.array(fc.tuple(fc.nat(40), fc.integer({ min: 1, max: UNIT_BYTES })), { maxLength: 3 });
    fc.assert(
      fc.property(fc.array(lengths, { maxLength: 40 }), (spec) => {
        const known = new Map<number, number>();
        const entries = spec.map((chunks) =>
          chunks.map(([index, length]) => {
            if (!known.has(index)) known.set(index, length);
            return segment(index, known.get(index)!, 1);
          }),
        );
        const units = planOf(entries);
        expect(units.flatMap((unit) => unit.entries)).to.deep.equal(entries.map((_, index) => index));
        for (const unit of units) {
          const alone = unit.entries.map((index) => planOf([entries[index]!])[0]!.chunkBytes);
          expect(unit.chunkBytes).to.be.at.most(Math.max(UNIT_BYTES, ...alone));
        }
      }),
    );
  });

  it('U2 hold at most UNIT_ENTRIES entries', () => {
    expect(planOf(Array.from({ length: UNIT_ENTRIES + 1 }, () => [])).map((unit) => unit.entries.length)).to.deep.equal(
      [UNIT_ENTRIES, 1],
    );
  });

  it('U3 end where a new chunk begins', () => {
    const half = UNIT_BYTES / 2;
    const units = planOf([
      [segment(0, half, 10)],
      [segment(1, half, 10)],
      [segment(1, half, 20)],
      [segment(2, half, 10)],
    ]);
    expect(units.map((unit) => unit.entries)).to.deep.equal([[0, 1, 2], [3]]);
    expect(units[0]!.chunks.map((chunk) => chunk.usedBytes)).to.deep.equal([10, 30]);
  });
});
