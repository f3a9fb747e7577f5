// web-1 stands still for longer than its lease and goes on, in the middle of what it was doing.
//
// What was under way between shop and database when they stopped is handed on when they go: no gate is between the database and its own
// buffers. So such an order may be committed late, beside the successor's; it must have begun before the pause, and nobody is told of it.

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
    const fromBuffers = ({ first }: Overlap): boolean => first.host === 'web-1' && first.began < stoodStillAt;
    const overlaps = customers.overlaps(1);
    expect(overlaps.filter((overlap) => !fromBuffers(overlap))).to.deep.equal([]);
    const committedLate = new Set(overlaps.map(({ first }) => first.id));
    expect(committedLate.size).to.be.at.most(SHOP_CONNECTIONS);
    const told = customers.attempts().flatMap(({ id }) => (id !== undefined && committedLate.has(id) ? [id] : []));
    expect(told, 'orders that were acknowledged after the pause').to.deep.equal([]);
  });
});
