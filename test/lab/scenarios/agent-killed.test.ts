// web-1's agent is killed while the shop runs, and then nobody but the customers reaches web-1: only its kernel is left to end the service.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs, writesOf } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { heldBy, NOTHING_HELD } from '../held.ts';
import { showPlan, untilRun } from '../plan.ts';
import { labFor } from '../testing.ts';
import { PROTECTED_UNITS } from '../units.ts';

const WHO_COULD_TELL = ['controller', 'web-2', 'mon-1', 'api-1', 'db-1'];
const BACK_MS = 10_000;

describe('web-1’s agent is killed, and then the network is cut', function agentKilled() {
  this.timeout(300_000);
  const lab = labFor(this);

  it('the kernel ends the service before web-2 serves, and the agent stops the rest when it is back', async () => {
    const web1 = lab().host('web-1');
    const customers = await Customers.come(lab());
    const inside = await Customers.comeInside(lab(), 'web-1');
    await sleep(2_000);
    const killedAt = monotonicMs();
    await web1.signalUnit('agent', 'KILL');
    for (const name of WHO_COULD_TELL) await lab().cut('web-1', name);
    const cutAt = monotonicMs();
    await customers.untilServed('web-2', killedAt, 90_000);
    expect(await heldBy(web1), 'nobody is there to stop them').to.deep.equal({
      units: PROTECTED_UNITS,
      address: 'none',
    });
    await untilRun(lab(), ['awaiting-commit']);
    for (const name of WHO_COULD_TELL) await lab().heal('web-1', name);
    await web1.unit('agent', 'start');
    await eventually('the agent has stopped what ran', async () => {
      const held = await heldBy(web1);
      return JSON.stringify(held) === JSON.stringify(NOTHING_HELD) ? undefined : JSON.stringify(held);
    });
    await sleep(BACK_MS);
    expect(await heldBy(web1)).to.deep.equal(NOTHING_HELD);
    const { hosts } = await lab().json<{ hosts: { name: string; state: string }[] }>('host', 'ls');
    expect(hosts.find(({ name }) => name === 'web-1')).to.include({ state: 'online' });
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
    await customers.untilServed('web-2', monotonicMs());
    await Promise.all([customers.leave(), inside.leave()]);

    const onWeb1 = customers.attempts().filter(({ host }) => host === 'web-1');
    expect(
      onWeb1.some(({ sentMs }) => sentMs > cutAt),
      'customers still reached web-1',
    ).to.equal(true);
    const committed = writesOf(lab(), 'web-1').flatMap(({ committed: at }) => (at === null ? [] : [at]));
    const [first] = writesOf(lab(), 'web-2').toSorted((a, b) => a.began - b.began);
    expect(Math.max(...committed)).to.be.lessThan(first!.began);
    expect(customers.overlaps(1)).to.deep.equal([]);
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    process.stderr.write(
      `      web-1's last order ${Math.round(Math.max(...committed) - killedAt)} ms after the kill, web-2's first ${Math.round(first!.began - killedAt)} ms\n`,
    );
  });
});
