// The shop moves on purpose.

import { expect } from 'chai';
import { Customers, monotonicMs } from '../customers.ts';
import { runPlan, showPlan, whatItSays } from '../plan.ts';
import { labFor } from '../testing.ts';

describe('a planned failover', function planned() {
  this.timeout(300_000);
  const lab = labFor(this);

  it('loses no acknowledged order', async () => {
    const customers = await Customers.come(lab());
    const run = await runPlan(lab(), 'planned');
    expect(run.state, await whatItSays(lab(), run.id)).to.equal('awaiting-commit');
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    const { turns, withoutServiceMs } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    expect(await customers.lostOn('web-2')).to.deep.equal([]);
    expect(customers.overlaps(1)).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
    process.stderr.write(`      without service ${Math.round(withoutServiceMs)} ms; RTO ${run.rtoMs} ms\n`);
  });
});
