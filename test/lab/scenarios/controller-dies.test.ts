// The controller dies, and others with it: who may serve goes on, who can't know stays down, and nobody is replaced.
//
// With HOLDFAST_LONG=1 the controller is dead for ten minutes; otherwise for longer than every lease, and than the standby waits for it.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs, writesOf } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { heldBy, NOTHING_HELD } from '../held.ts';
import { runs, showPlan, untilReady } from '../plan.ts';
import { labFor } from '../testing.ts';
import { PROTECTED_UNITS } from '../units.ts';

const LONG = process.env['HOLDFAST_LONG'] === '1';
const LONG_MS = 600_000;
/** Whoever grants and has been alone for 60 s gives a grant without end. */
const ALONE_MS = 65_000;
/** Longer than a lease and its margin. */
const LEASE_MS = 12_000;
const BOOT_MS = 60_000;

describe('the controller dies', function controllerDies() {
  this.timeout(LONG ? 900_000 : 300_000);
  const lab = labFor(this);

  const oneEpoch = async (epoch: number): Promise<void> => {
    await untilReady(lab());
    expect(await showPlan(lab())).to.include({ primary: 'web-1', standby: 'web-2', epoch });
    expect((await runs(lab())).filter(({ mode }) => mode === 'unplanned')).to.deep.equal([]);
  };
  const startedAt = async (): Promise<string> =>
    await lab()
      .host('web-1')
      .ok('sh', '-c', 'for unit in shop nginx; do cut -d" " -f22 /proc/$(cat /run/$unit.pid)/stat; done');

  /** One of the two that grant dies, and when that one has been away for long the other dies, too. */
  const servesOnWithout = async (first: string, then: string, aloneMs: number): Promise<void> => {
    const { epoch } = await showPlan(lab());
    const web1 = lab().host('web-1');
    const before = await startedAt();
    const customers = await Customers.come(lab(), 20);
    await lab().host(first).kill();
    await sleep(aloneMs);
    await eventually('web-1 may serve for good', async () => {
      const { address } = await heldBy(web1);
      return address === 'for good' ? undefined : address;
    });
    await lab().host(then).kill();
    await sleep(LEASE_MS);
    await customers.untilServed('web-1', monotonicMs());
    expect(await heldBy(web1)).to.deep.equal({ units: PROTECTED_UNITS, address: 'for good' });
    expect(await startedAt(), 'no unit was stopped meanwhile').to.equal(before);
    await Promise.all([lab().host(first).start(), lab().host(then).start()]);
    await oneEpoch(epoch);
    await customers.untilServed('web-1', monotonicMs());
    await customers.leave();
    const { acknowledged, turns, withoutServiceMs } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(withoutServiceMs).to.be.lessThan(5_000);
    expect(await customers.lostOn('web-1')).to.deep.equal([]);
    expect(customers.overlaps(0)).to.deep.equal([]);
    process.stderr.write(`      ${acknowledged} orders; without service ${Math.round(withoutServiceMs)} ms\n`);
  };

  it('for long, and then the standby too: web-1 serves on', async () => {
    await servesOnWithout('controller', 'web-2', LONG ? LONG_MS : ALONE_MS);
  });

  it('after the standby, which has been dead for long: web-1 serves on', async () => {
    await servesOnWithout('web-2', 'controller', ALONE_MS);
  });

  it('web-1 boots meanwhile: web-2 lets it serve again, and the controller agrees when it is back', async () => {
    const { epoch } = await showPlan(lab());
    const customers = await Customers.come(lab(), 20);
    await lab().host('controller').kill();
    await lab().host('web-1').kill();
    const died = monotonicMs();
    await lab().host('web-1').start();
    await customers.untilServed('web-1', died, BOOT_MS);
    await lab().host('controller').start();
    await oneEpoch(epoch);
    await customers.untilServed('web-1', monotonicMs());
    await customers.leave();
    const { turns, outages } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(outages).to.have.length(1);
    expect(await customers.lostOn('web-1')).to.deep.equal([]);
    expect(customers.overlaps(0)).to.deep.equal([]);
  });

  it('web-1 boots, and web-2 is dead as well: it serves nobody until it was told that it may', async () => {
    const { epoch } = await showPlan(lab());
    const customers = await Customers.come(lab(), 20);
    for (const name of ['controller', 'web-2', 'web-1']) await lab().host(name).kill();
    const died = monotonicMs();
    await lab().host('web-1').start();
    await sleep(LEASE_MS);
    expect(await heldBy(lab().host('web-1'))).to.deep.equal(NOTHING_HELD);
    const back = monotonicMs();
    await lab().host('controller').start();
    await customers.untilServed('web-1', back, BOOT_MS);
    await lab().host('web-2').start();
    await oneEpoch(epoch);
    await customers.leave();
    expect(writesOf(lab(), 'web-1').filter(({ began }) => began > died && began < back)).to.deep.equal([]);
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(await customers.lostOn('web-1')).to.deep.equal([]);
    expect(customers.overlaps(0)).to.deep.equal([]);
  });

  it('web-1 boots, and the cable to web-2 is cut: it serves as soon as web-2 can say that it may', async () => {
    const { epoch } = await showPlan(lab());
    const web1 = lab().host('web-1');
    const customers = await Customers.come(lab(), 20);
    await lab().host('controller').kill();
    await lab().cut('web-1', 'web-2');
    await web1.kill();
    const died = monotonicMs();
    await web1.start();
    await sleep(LEASE_MS);
    expect(await heldBy(web1)).to.deep.equal(NOTHING_HELD);
    const healed = monotonicMs();
    await lab().heal('web-1', 'web-2');
    await customers.untilServed('web-1', healed, BOOT_MS);
    await lab().host('controller').start();
    await oneEpoch(epoch);
    await customers.leave();
    expect(writesOf(lab(), 'web-1').filter(({ began }) => began > died && began < healed)).to.deep.equal([]);
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(await customers.lostOn('web-1')).to.deep.equal([]);
    expect(customers.overlaps(0)).to.deep.equal([]);
  });
});
