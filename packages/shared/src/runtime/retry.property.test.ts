import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '../base/errors.ts';
import type { Clock } from './clock.ts';
import { backoffMs, retrying } from './retry.ts';

/** Each wait passes at once. */
function hurriedClock(): Clock {
  let now = 0;
  return {
    monotonicMs: () => now,
    wallMs: () => now,
    after(delayMs, callback) {
      now += delayMs;
      queueMicrotask(callback);
      return { cancel: () => undefined };
    },
  };
}

describe('retry', () => {
  it('waits within the cap, and within twice the last ceiling', () => {
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), random, (failures, chance) => {
        const waitMs = backoffMs({ firstMs: 100, capMs: 30_000 }, failures, chance);
        expect(waitMs).to.be.within(0, Math.min(30_000, 100 * 2 ** (failures - 1)));
      }),
    );
  });

  it('tries as often as allowed, as long as allowed, and only what may help', async () => {
    const run = async (code: 'UNREACHABLE' | 'NOT_FOUND', limits: { attempts: number; withinMs?: number }) => {
      let attempts = 0;
      const deps = { clock: hurriedClock(), random: () => 0.999 };
      await retrying({ backoff: { firstMs: 100, capMs: 1000 }, ...limits }, deps, () => {
        attempts++;
        return Promise.reject(new HoldfastError(code, 'no'));
      }).catch((error: unknown) => expect(error).to.be.instanceOf(HoldfastError));
      return attempts;
    };
    expect(await run('UNREACHABLE', { attempts: 7 })).to.equal(7);
    expect(await run('NOT_FOUND', { attempts: 7 })).to.equal(1);
    expect(await run('UNREACHABLE', { attempts: 100, withinMs: 2000 })).to.equal(5);
  });
});
