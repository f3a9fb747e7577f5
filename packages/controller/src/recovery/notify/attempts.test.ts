import { expect } from 'chai';

import { afterAttempt, ATTEMPTS } from './attempts.ts';

const failed = { kind: 'failed', final: false, why: 'busy' } as const;

describe('attempts to deliver', () => {
  it('grow further apart, and end between five and fifteen minutes after the first', () => {
    for (const random of [0, 0.999]) {
      let totalMs = 0;
      for (let attempt = 1; attempt < ATTEMPTS.max; attempt++) {
        const next = afterAttempt(failed, attempt, random);
        expect(next.state).to.equal('waiting');
        totalMs += next.state === 'waiting' ? next.inMs : 0;
      }
      expect(totalMs).to.be.within(5 * 60_000, 16 * 60_000);
    }
    expect(afterAttempt(failed, ATTEMPTS.max, 0)).to.deep.equal({ state: 'failed', why: 'busy' });
  });

  it('a refusal for good is not tried again', () => {
    expect(afterAttempt({ ...failed, final: true }, 1, 0)).to.deep.equal({ state: 'failed', why: 'busy' });
  });

  it('a reason is bounded', () => {
    const next = afterAttempt({ ...failed, final: true, why: 'x'.repeat(10_000) }, 1, 0);
    expect(next).to.have.property('why').with.length(300);
  });
});
