// web-1 stands still for longer than its lease and goes on, in the middle of what it was doing.
//
// The shop notes an order when it learns of the commit. An answer of the database that lay in its buffers when both stood still is read when
// they go: such an order is noted late. It had begun before the pause, the shop has no more under way than connections, and the gate sees to
// it that no customer is told.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs } from '../customers.ts';
import type { Overlap } from '../load-report.ts';
import { untilRun } from '../plan.ts';
import { labFor } from '../testing.ts';

/** Of the shop to its database: as many orders can be under way. */
const SHOP_CONNECTIONS = 4;

describe('web-1 is paused and revived', function paused() {
  this.timeout(300_000);
  const lab = labFor(this);

  it('never do two hosts take writes, and web-1 stays down', async () => {
    const customers = await Customers.come(lab());
    const web1 = lab().host('web-1');
    await sleep(2_000);
    const stoppedAt = monotonicMs();
    await web1.pause();
    const stoodStillAt = monotonicMs();
    await customers.untilServed('web-2', stoppedAt, 90_000);
    web1.resume();
    await untilRun(lab(), ['awaiting-commit']);
    await sleep(5_000);
    for (const unit of ['shop', 'nginx']) expect(await web1.unit(unit, 'status'), unit).to.equal(false);
    expect(await web1.ok('ip', 'addr', 'show', 'eth0')).to.not.include('10.77.0.100');
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    const underWay = ({ first }: Overlap): boolean => first.host === 'web-1' && first.began < stoodStillAt;
    const overlaps = customers.overlaps(1);
    expect(overlaps.filter((overlap) => !underWay(overlap))).to.deep.equal([]);
    const notedLate = new Set(overlaps.map(({ first }) => first.id));
    expect(notedLate.size).to.be.at.most(SHOP_CONNECTIONS);
    const told = customers.attempts().flatMap(({ id }) => (id !== undefined && notedLate.has(id) ? [id] : []));
    expect(told, 'orders that were acknowledged after the pause').to.deep.equal([]);
  });
});
