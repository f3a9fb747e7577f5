// web-1 stands still for longer than its lease and goes on, in the middle of what it was doing.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs } from '../customers.ts';
import { untilRun } from '../plan.ts';
import { labFor } from '../testing.ts';

describe('web-1 is paused and revived', function paused() {
  this.timeout(300_000);
  const lab = labFor(this);

  it('never do two hosts take writes, and web-1 stays down', async () => {
    const customers = await Customers.come(lab());
    const web1 = lab().host('web-1');
    await sleep(2_000);
    const stoppedAt = monotonicMs();
    await web1.pause();
    await customers.untilServed('web-2', stoppedAt, 90_000);
    web1.resume();
    await untilRun(lab(), ['awaiting-commit']);
    await sleep(5_000);
    for (const unit of ['shop', 'nginx']) expect(await web1.unit(unit, 'status'), unit).to.equal(false);
    expect(await web1.ok('ip', 'addr', 'show', 'eth0')).to.not.include('10.77.0.100');
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    expect(customers.overlaps(1)).to.deep.equal([]);
  });
});
