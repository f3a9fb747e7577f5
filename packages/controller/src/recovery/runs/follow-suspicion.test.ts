import { expect } from 'chai';
import type { Clock } from '@holdfast/shared/runtime/clock';

import type { Catalog } from '../../catalog/catalog.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import type { ApplicationLook, Failover } from '../contract.ts';
import { followSuspicion } from './follow-suspicion.ts';

describe('what is suspected', () => {
  it('is looked at again without piling up where each look takes long', async () => {
    const plans = ['a', 'b', 'c', 'd'];
    let looks = 0;
    const answers: (() => void)[] = [];
    const query = async (): Promise<never> => {
      looks++;
      await new Promise<void>((resolve) => answers.push(resolve));
      throw new Error('the catalog is slow, and then it is not there');
    };
    const timers: (() => void)[] = [];
    const after = (_ms: number, run: () => void): { cancel: () => void } => {
      timers.push(run);
      return { cancel: () => undefined };
    };
    const look = { suspected: true, driving: true, splitBrain: false, unreported: [] } as unknown as ApplicationLook;
    const failover: Pick<Failover, 'look' | 'subscribe'> = { look: () => look, subscribe: () => () => undefined };
    const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

    const follower = followSuspicion({
      catalog: { pool: { query } } as unknown as Catalog,
      events: {} as unknown as FleetEvents,
      replica: 'one',
      clock: { after } as unknown as Clock,
      atOnce: 4,
      failover,
      engine: { termOf: () => 1 },
      log: () => undefined,
    });
    for (const plan of plans) follower.look(plan);
    await settled();
    // One look ends in the time in which all are due again.
    for (let round = 0; round < 50; round++) {
      answers.shift()?.();
      await settled();
      for (const fire of timers.splice(0)) fire();
    }
    const before = looks;
    expect(before).to.be.greaterThan(50);
    // No timer fires any more: what is left is what was waiting.
    for (let left = 0; left < 1_000 && answers.length > 0; left++) {
      answers.shift()?.();
      await settled();
    }
    expect(answers).to.deep.equal([]);
    expect(looks - before).to.be.at.most(plans.length);
    await follower.stop();
  });
});
