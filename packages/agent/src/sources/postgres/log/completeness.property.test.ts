import { expect } from 'chai';
import fc from 'fast-check';
import { Completeness, MARGIN_MS, withoutPageHeader } from './completeness.ts';

describe('up to when a log is complete', () => {
  it('T1 rests on a sight whose end is stored, and never goes back', () => {
    const sight = fc.record({ lsn: fc.integer({ min: 0, max: 100 }), atMs: fc.integer({ min: 2000, max: 9000 }) });
    const step = fc.oneof(sight, fc.record({ stored: fc.integer({ min: 0, max: 100 }) }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const complete = new Completeness(0);
        const seen: { lsn: number; atMs: number }[] = [];
        let before = 0;
        for (const one of steps) {
          if ('lsn' in one) {
            complete.saw(BigInt(one.lsn), one.atMs);
            seen.push(one);
            continue;
          }
          const claim = complete.upTo(BigInt(one.stored));
          const best = Math.max(0, ...seen.filter(({ lsn }) => lsn <= one.stored).map(({ atMs }) => atMs - MARGIN_MS));
          expect(claim).to.equal(Math.max(before, best));
          before = claim;
        }
      }),
    );
  });

  it('T2 keeps a bounded number of sights, and claims no more for it', () => {
    const complete = new Completeness(0);
    for (let i = 1; i <= 100_000; i++) complete.saw(BigInt(i), 1_000_000 + i);
    for (const stored of [50_000, 99_999]) {
      const claim = complete.upTo(BigInt(stored));
      expect(claim).to.be.at.most(1_000_000 + stored - MARGIN_MS);
    }
    expect(complete.upTo(100_000n)).to.equal(1_100_000 - MARGIN_MS);
  });

  it('goes on from what was known, and moves on while nothing is written', () => {
    const complete = new Completeness(5000);
    expect(complete.upTo(10n)).to.equal(5000);
    complete.saw(10n, 8000);
    expect(complete.upTo(10n)).to.equal(7000);
    complete.saw(10n, 9000.9);
    expect(complete.upTo(10n)).to.equal(8000);
    expect(complete.upTo(9n)).to.equal(8000);
  });

  it('takes a position behind a page header for the beginning of its page', () => {
    const file = 16 << 20;
    expect(withoutPageHeader(8192n + 24n, 8192, file)).to.equal(8192n);
    expect(withoutPageHeader(BigInt(file) + 40n, 8192, file)).to.equal(BigInt(file));
    expect(withoutPageHeader(8192n + 40n, 8192, file)).to.equal(8192n + 40n);
    expect(withoutPageHeader(8192n, 8192, file)).to.equal(8192n);
  });
});
