import { expect } from 'chai';
import fc from 'fast-check';

import type { ApplicationLook } from '../contract.ts';
import { restMs, whyNeedless } from './preparation.ts';

const MINUTE_MS = 60_000;
const RUN = { fromHost: 'one', fromName: 'web-1' };

const lookOf = (
  verdict: ApplicationLook['verdict'],
  change: Partial<ApplicationLook> & { primary?: string; automatic?: boolean } = {},
): ApplicationLook => {
  const { primary = 'one', automatic = false, ...rest } = change;
  const row = {
    identity: 'catalog',
    phase: 'open',
    primary,
    standby: primary === 'one' ? 'two' : 'one',
    epoch: 1,
    nextEpoch: 2,
    grantSeq: 0,
    attempt: 0,
    serial: 0,
    disarmed: 0,
    orderSerial: 0,
    confirmed: false,
    automatic,
    driver: 'replica',
    term: 1,
    beat: 0,
  } as const;
  return {
    row,
    verdict,
    suspected: verdict !== 'alive',
    driving: true,
    splitBrain: false,
    troubles: [],
    unreported: [],
    lastSignOfLifeAt: undefined,
    suspectedAt: undefined,
    declaredDeadAt: undefined,
    ...rest,
  };
};

describe('whether a preparation is still wanted', () => {
  const why = (look: ApplicationLook | undefined, isHeard = false): string | undefined =>
    whyNeedless(RUN, { look, isHeard, otherRun: undefined })?.reason;

  it('PR4 it ends when the primary is heard again, not when its new driver has yet to notice the silence', () => {
    expect(why(lookOf('alive'), true)).to.equal('web-1 was heard again');
    expect(why(lookOf('alive'), false)).to.equal(undefined);
    expect(why(undefined, true)).to.equal(undefined);
    // Its agent may be there and the application not.
    for (const verdict of ['suspected', 'isolated', 'dead'] as const)
      expect(why(lookOf(verdict), true)).to.equal(undefined);
  });

  it('PR3 it waits for the run of a promotion that came by itself, and ends at once beside any other run', () => {
    expect(why(lookOf('alive', { primary: 'two', automatic: true }), true)).to.equal(undefined);
    expect(why(lookOf('alive', { primary: 'two' }), true)).to.equal('web-1 is not the primary any more');
    for (const otherRun of ['real', 'drill'] as const) {
      expect(whyNeedless(RUN, { look: undefined, isHeard: false, otherRun })).to.deep.equal({
        reason: 'another run came',
        gently: otherRun === 'drill',
      });
    }
    expect(why(lookOf('dead', { splitBrain: true }))).to.equal('two hosts claim to serve');
  });
});

describe('how often a plan may be prepared for nothing', () => {
  const now = new Date('2026-01-01T12:00:00Z');
  const ago = (minutes: number): Date => new Date(now.getTime() - minutes * MINUTE_MS);

  it('PR7 after 1, 2, 4 … 60 minutes, and at once when it was quiet for long', () => {
    expect(restMs([], now)).to.equal(0);
    expect(restMs([ago(0)], now)).to.equal(MINUTE_MS);
    expect(restMs([ago(1)], now)).to.equal(0);
    expect(restMs([ago(0), ago(5)], now)).to.equal(2 * MINUTE_MS);
    expect(
      restMs(
        Array.from({ length: 12 }, (_, index) => ago(index)),
        now,
      ),
    ).to.equal(60 * MINUTE_MS);
    expect(restMs([ago(361), ago(400)], now)).to.equal(0);
  });

  it('PR7 however a network flaps, there are at most a dozen in six hours', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 90 }), { minLength: 50, maxLength: 400 }), (gaps) => {
        const begun: Date[] = [];
        let at = now.getTime();
        for (const gap of gaps) {
          at += gap * MINUTE_MS;
          if (restMs(begun.toReversed(), new Date(at)) === 0) begun.push(new Date(at));
        }
        for (const [index, first] of begun.entries()) {
          const thirteenth = begun[index + 12];
          if (thirteenth !== undefined) expect(thirteenth.getTime() - first.getTime()).to.be.at.least(360 * MINUTE_MS);
        }
      }),
      { numRuns: 200 },
    );
  });
});
