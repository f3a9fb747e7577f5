import { expect } from 'chai';
import { FAILOVER_TIMING, promotionBoundMs, safetySlackMs } from './timing.ts';

describe('failover timing', () => {
  it('leaves time between the last moment of a holder and the first of its successor, with the worst clocks', () => {
    expect(safetySlackMs(FAILOVER_TIMING)).to.be.greaterThan(500);
    expect(safetySlackMs({ ...FAILOVER_TIMING, marginMs: 1000 })).to.be.lessThan(0);
  });

  it('promotes within 12 s of the last sign of life', () => {
    expect(promotionBoundMs(FAILOVER_TIMING)).to.equal(12_000);
  });
});
