// The story that matters: the primary loses its power under load, and nobody is there to do anything about it.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs, ordersOn } from '../customers.ts';
import { showPlan, showRun, untilRun, whatItSays } from '../plan.ts';
import { labFor } from '../testing.ts';

const BOOTED_MS = 10_000;

describe('web-1 dies under load', function dies() {
  this.timeout(300_000);
  const lab = labFor(this);

  it('the shop answers on web-2 behind the same address, with every order from before the recovery point', async () => {
    const customers = await Customers.come(lab());
    await sleep(3_000);
    const diedAt = monotonicMs();
    await lab().host('web-1').kill();
    await customers.untilServed('web-2', diedAt, 90_000).catch(async (error: unknown) => {
      throw new Error(`${String(error)}; ${JSON.stringify(await showPlan(lab()))}`);
    });
    const run = await untilRun(lab(), ['awaiting-commit']);
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    expect(run, await whatItSays(lab(), run.id)).to.include({ mode: 'unplanned', from: 'web-1', to: 'web-2' });
    const rebuild = (await showRun(lab(), run.id)).steps.find(({ id }) => id === 'rebuild');
    expect(run.rtoMs).to.be.greaterThan(0);
    expect(run.rpoMs).to.be.a('number');

    const { turns, outages } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    expect(outages).to.have.length(1);
    expect(customers.overlaps(1)).to.deep.equal([]);

    const point = Date.parse(run.recoveryPoint!);
    const lost = await customers.lostOn('web-2');
    expect(lost.filter(({ sentAt, sentMs, endedMs }) => Date.parse(sentAt) + endedMs - sentMs < point)).to.deep.equal(
      [],
    );
    const present = await ordersOn(lab(), 'web-2');
    const later = customers.attempts().filter(({ host }) => host === 'web-2');
    expect(later.filter(({ id }) => !present.has(id!))).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
    process.stderr.write(
      `      without service ${Math.round(outages[0]!.lengthMs)} ms; RTO ${run.rtoMs} ms, RPO ${run.rpoMs} ms; ${lost.length} orders lost; ` +
        `rebuilt ahead ${Date.parse(run.times['fenced']!) - Date.parse(rebuild!.startedAt!)} ms before the promotion\n`,
    );
  });

  it('the old primary boots, stays down and is seen again', async () => {
    const customers = await Customers.come(lab());
    const web1 = lab().host('web-1');
    await web1.start();
    await sleep(BOOTED_MS);
    for (const unit of ['shop', 'nginx']) expect(await web1.unit(unit, 'status'), unit).to.equal(false);
    expect(await web1.ok('ip', 'addr', 'show', 'eth0')).to.not.include('10.77.0.100');
    const { hosts } = await lab().json<{ hosts: { name: string; state: string }[] }>('host', 'ls');
    expect(hosts.find(({ name }) => name === 'web-1')).to.include({ state: 'online' });
    await customers.leave();
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-2']);
  });
});
