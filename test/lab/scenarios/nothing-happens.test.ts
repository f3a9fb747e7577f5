// What looks like a dead primary and is none: nobody may take over, and the shop serves on.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs } from '../customers.ts';
import { preparations, runs, showPlan, showRun, untilReady } from '../plan.ts';
import { eventually } from '../eventually.ts';
import { labFor } from '../testing.ts';

/** More than twice what it takes until a dead primary is replaced. */
const LONG_MS = 30_000;

describe('the shop is well, and somebody cannot see it', function nothing() {
  this.timeout(300_000);
  const lab = labFor(this);

  const servesOn = async (trouble: () => Promise<void>, end: () => Promise<void>): Promise<void> => {
    const customers = await Customers.come(lab());
    await trouble();
    await sleep(LONG_MS);
    await customers.untilServed('web-1', monotonicMs());
    await end();
    await customers.leave();
    const { turns, withoutServiceMs } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(withoutServiceMs).to.be.lessThan(5_000);
    await untilReady(lab());
    expect(await showPlan(lab())).to.include({ primary: 'web-1' });
    expect((await runs(lab())).filter(({ mode }) => mode === 'unplanned')).to.deep.equal([]);
  };

  it('web-1 is cut from the controller alone: nothing happens but what may run ahead, until it is heard again', async () => {
    await servesOn(
      async () => {
        await lab().cut('web-1', 'controller');
        await eventually('what may run ahead has run', async () => {
          const [first] = await preparations(lab());
          if (first === undefined) return 'nothing was begun';
          const { state, steps } = await showRun(lab(), first.id);
          const begun = steps.filter((step) => step.state !== 'pending').map((step) => `${step.id} ${step.state}`);
          return state === 'preparing' && begun.join() === 'rebuild ok' ? undefined : `${state}: ${begun.join()}`;
        });
      },
      async () => {
        await lab().heal('web-1', 'controller');
        await eventually('it is over', async () => {
          const [first] = await preparations(lab());
          return first?.state === 'cancelled' ? undefined : JSON.stringify(first);
        });
      },
    );
    expect((await preparations(lab())).map(({ reason }) => reason)).to.deep.equal(['web-1 was heard again']);
  });

  it('the controller is cut from everybody: nothing happens', async () => {
    await servesOn(
      async () => await lab().cut('controller', 'all'),
      async () => await lab().heal('controller', 'all'),
    );
  });
});
