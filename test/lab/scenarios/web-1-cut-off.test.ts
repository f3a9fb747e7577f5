// Nobody hears of web-1 any more, and it lives: customers who sit on web-1 itself go on ordering from it.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs, writesOf } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { heldBy, NOTHING_HELD } from '../held.ts';
import { showPlan, untilRun } from '../plan.ts';
import { labFor } from '../testing.ts';

const AFTER_HEAL_MS = 10_000;

describe('web-1 is cut from everybody', function cutOff() {
  this.timeout(300_000);
  const lab = labFor(this);

  it('it stops before web-2 serves, and stays down when the cable is mended', async () => {
    const web1 = lab().host('web-1');
    const customers = await Customers.come(lab());
    const inside = await Customers.comeInside(lab(), 'web-1');
    await sleep(2_000);
    const cutAt = monotonicMs();
    await lab().cut('web-1', 'all');
    const { endedMs: takenOver } = await customers.untilServed('web-2', cutAt, 90_000);
    await eventually('web-1 has stopped, by itself', async () => {
      const held = await heldBy(web1);
      return JSON.stringify(held) === JSON.stringify(NOTHING_HELD) ? undefined : JSON.stringify(held);
    });
    await untilRun(lab(), ['awaiting-commit']);
    await lab().heal('web-1', 'all');
    await eventually('web-1 is seen again', async () => {
      const { hosts } = await lab().json<{ hosts: { name: string; state: string }[] }>('host', 'ls');
      const state = hosts.find(({ name }) => name === 'web-1')?.state;
      return state === 'online' ? undefined : state;
    });
    await sleep(AFTER_HEAL_MS);
    expect(await heldBy(web1)).to.deep.equal(NOTHING_HELD);
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
    await customers.untilServed('web-2', monotonicMs());
    await Promise.all([customers.leave(), inside.leave()]);

    const served = inside.attempts().filter(({ status }) => status === 201);
    expect(
      served.some(({ sentMs }) => sentMs > cutAt),
      'the cut alone stops nothing',
    ).to.equal(true);
    expect(served.filter(({ endedMs }) => endedMs > takenOver)).to.deep.equal([]);
    const committed = writesOf(lab(), 'web-1').flatMap(({ committed: at }) => (at === null ? [] : [at]));
    const [first] = writesOf(lab(), 'web-2').toSorted((a, b) => a.began - b.began);
    expect(Math.max(...committed)).to.be.lessThan(first!.began);
    expect(customers.overlaps(1)).to.deep.equal([]);
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    process.stderr.write(
      `      web-1's last order ${Math.round(Math.max(...committed) - cutAt)} ms after the cut, web-2's first ${Math.round(first!.began - cutAt)} ms\n`,
    );
  });
});
