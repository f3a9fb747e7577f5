import {
  startController,
  type ControllerSettings,
  type ControllerState,
} from '@holdfast/shared/failover/controller-state';
import { FAILOVER_TIMING } from '@holdfast/shared/failover/timing';
import { expect } from 'chai';

import { isSuspected } from './signs-of-death.ts';

describe('a primary that is suspected', () => {
  const settings = (witnesses: readonly string[]): ControllerSettings => ({
    replica: 'one',
    timing: FAILOVER_TIMING,
    leases: false,
    witnesses,
    agree: witnesses.length,
    sites: new Map(),
    powerOff: false,
    holdoffMs: 0,
  });
  const state = (verdict: ControllerState['verdict'], isAsked = true): ControllerState => ({
    ...startController(0, 1),
    verdict,
    round: isAsked ? { number: 1, startedMs: 0, words: new Map() } : undefined,
  });

  it('is one that the witnesses were asked about, unless the controller looks cut off itself', () => {
    const is = (...of: Parameters<typeof state>): boolean => isSuspected(state(...of), settings(['mon-1']));
    expect(is('alive', false)).to.equal(false);
    expect(is('alive'), 'the first question is not answered yet').to.equal(false);
    expect(is('suspected')).to.equal(true);
    expect(is('dead')).to.equal(true);
    expect(is('isolated')).to.equal(false);
  });

  it('is one that is silent, where nobody could tell more', () => {
    expect(isSuspected(state('isolated'), settings([]))).to.equal(true);
    expect(isSuspected(state('alive', false), settings([]))).to.equal(false);
  });
});
