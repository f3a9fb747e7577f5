// web-1 and the only controller die together, and the controller dies once more while it brings the shop up on web-2.

import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { heldBy } from '../held.ts';
import { PLAN, runs, showPlan, untilRun, whatItSays } from '../plan.ts';
import { labFor } from '../testing.ts';

/** More than twice a lease, and less than the standby waits for the controller before it promises not to take over. */
const AWAY_MS = 20_000;

describe('web-1 and the controller die together', function bothDie() {
  this.timeout(300_000);
  const lab = labFor(this);

  /** Undefined when the list of runs says so; a controller that boots says nothing. */
  const listed = async (wanted: string): Promise<string | undefined> => {
    const { stdout, stderr } = await lab().holdfast(['run', 'ls', PLAN, '--json']);
    return stdout.includes(wanted) ? undefined : stderr || stdout;
  };

  it('nobody takes over until the controller is back, and then one run does, though the controller dies in the middle of it', async () => {
    const customers = await Customers.come(lab());
    await sleep(2_000);
    const [controller, web1] = [lab().host('controller'), lab().host('web-1')];
    await Promise.all([controller.kill(), web1.kill()]);
    const died = monotonicMs();
    await sleep(AWAY_MS);
    expect(customers.attempts().filter(({ host, sentMs }) => host !== undefined && sentMs > died)).to.deep.equal([]);
    expect(await heldBy(lab().host('web-2'))).to.include({ address: 'none' });
    await controller.start();
    await eventually('a run is under way', async () => await listed('"state":"running"'));
    await controller.kill();
    await sleep(2_000);
    await controller.start();
    await customers.untilServed('web-2', died, 90_000);
    await eventually('the controller answers', async () => await listed('"runs"'));
    const run = await untilRun(lab(), ['awaiting-commit']);
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    expect(await runs(lab()), await whatItSays(lab(), run.id)).to.have.length(1);
    expect(run).to.include({ mode: 'unplanned', from: 'web-1', to: 'web-2' });
    const { turns, outages } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    expect(outages).to.have.length(1);
    expect(customers.overlaps(1)).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
    process.stderr.write(`      without service ${Math.round(outages[0]!.lengthMs)} ms\n`);
  });
});
