import { expect } from 'chai';
import fc from 'fast-check';
import { charge, newBucket } from './bandwidth-limiter.ts';

const transfers = fc.array(
  fc.record({ bytes: fc.integer({ min: 1, max: 5_000_000 }), pauseMs: fc.integer({ min: -50, max: 3000 }) }),
  {
    minLength: 1,
    maxLength: 60,
  },
);

describe('bandwidth limiter', () => {
  it('B1 B2 lets no more through than burst, rate and the transfer on its way, in order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1000, max: 100_000_000 }), transfers, (bytesPerSecond, list) => {
        let bucket = newBucket(bytesPerSecond, 0);
        let now = 0;
        const starts: { at: number; bytes: number }[] = [];
        for (const { bytes, pauseMs } of list) {
          now = Math.max(0, now + pauseMs);
          const charged = charge(bucket, bytes, now);
          bucket = charged.bucket;
          expect(Number.isFinite(charged.waitMs)).to.equal(true);
          starts.push({ at: bucket.updatedAtMs + charged.waitMs, bytes });
        }
        for (const [i, first] of starts.entries()) {
          let sum = 0;
          for (const later of starts.slice(i)) {
            expect(later.at).to.be.at.least(first.at - 1e-6);
            sum += later.bytes;
            const allowed = bucket.burstBytes + (bytesPerSecond * (later.at - first.at)) / 1000 + first.bytes;
            expect(sum).to.be.at.most(allowed * (1 + 1e-9) + 1);
          }
        }
      }),
    );
  });

  it('B3 gives no tokens for a clock that stands still or goes back', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1000, max: 0 }), { minLength: 1 }), (steps) => {
        let bucket = charge(newBucket(1000, 5000), 1_000_000, 5000).bucket;
        const level = bucket.levelBytes;
        let now = 5000;
        for (const step of steps) bucket = charge(bucket, 1, (now += step)).bucket;
        expect(bucket.levelBytes).to.equal(level - steps.length);
      }),
    );
  });
});
