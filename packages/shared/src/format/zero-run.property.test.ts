import { expect } from 'chai';
import fc from 'fast-check';
import { zeroRunEnd } from './zero-run.ts';

describe('zero runs', () => {
  it('end at the first byte that is not zero', () => {
    const size = 200_000;
    const buffer = Buffer.alloc(size);
    fc.assert(
      fc.property(fc.nat(size), fc.nat(size), fc.nat(size - 1), fc.integer({ min: 1, max: 255 }), (a, b, at, value) => {
        const from = Math.min(a, b);
        const to = Math.max(a, b);
        buffer[at] = value;
        const end = zeroRunEnd(buffer, from, to);
        buffer[at] = 0;
        expect(end).to.equal(at >= from && at < to ? at : to);
      }),
      { numRuns: 500 },
    );
  });
});
