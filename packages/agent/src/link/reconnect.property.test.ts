import { expect } from 'chai';
import fc from 'fast-check';
import { afterStreamEnd, LOST, NEVER_CONNECTED, REFUSED, STABLE_MS, WELCOMED_MAX_MS } from './reconnect.ts';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const ends = fc.array(
  fc.record({
    code: fc.constantFrom('UNREACHABLE', 'UNAUTHENTICATED', 'NOT_ALLOWED', 'TIMED_OUT', undefined),
    connectedForMs: fc.oneof(fc.constant(0), fc.nat(STABLE_MS * 2)),
    random,
  }),
  { minLength: 1 },
);

describe('reconnect', () => {
  it('W1 W3 W4 waits within the bounds of its kind, whatever happens', () => {
    fc.assert(
      fc.property(ends, (list) => {
        let state = NEVER_CONNECTED;
        for (const end of list) {
          const decision = afterStreamEnd(state, end, end.random);
          state = decision.state;
          const refused = end.code === 'UNAUTHENTICATED' || end.code === 'NOT_ALLOWED';
          expect(decision.kind).to.equal(refused ? 'refused' : 'lost');
          expect(decision.waitMs).to.be.at.most(refused ? REFUSED.capMs : LOST.capMs);
          expect(decision.waitMs).to.be.at.least(refused ? REFUSED.firstMs / 2 : 100);
        }
      }),
    );
  });

  it('W2 starts small again after a stream that was stable', () => {
    fc.assert(
      fc.property(fc.nat(1000), random, (failures, chance) => {
        const end = { code: 'UNREACHABLE', connectedForMs: STABLE_MS } as const;
        expect(afterStreamEnd({ failures }, end, chance).waitMs).to.be.at.most(LOST.firstMs);
      }),
    );
  });

  it('W5 waits little after a welcome, however many streams were lost before and however short this one was', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.integer({ min: 1, max: STABLE_MS }), random, (failures, connectedForMs, chance) => {
        const end = { code: 'UNREACHABLE', connectedForMs } as const;
        expect(afterStreamEnd({ failures }, end, chance).waitMs).to.be.at.most(WELCOMED_MAX_MS);
      }),
    );
  });

  it('spreads a thousand agents over the whole interval', () => {
    const waits = Array.from(
      { length: 1000 },
      (_, i) => afterStreamEnd({ failures: 9 }, { code: 'UNREACHABLE', connectedForMs: 0 }, i / 1000).waitMs,
    );
    const inFirstHalf = waits.filter((wait) => wait < LOST.capMs / 2).length;
    expect(inFirstHalf).to.be.within(490, 510);
  });
});
