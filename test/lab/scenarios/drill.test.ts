// A drill while the shop is open: customers notice nothing, and nothing is left of it.

import { expect } from 'chai';
import { Customers, monotonicMs } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { runPlan, showPlan, untilReady, whatItSays } from '../plan.ts';
import { labFor } from '../testing.ts';

describe('a drill during production', function drill() {
  this.timeout(300_000);
  const lab = labFor(this);

  /** What a sandbox could leave on the standby. */
  const traces = async (): Promise<string> => {
    const web2 = lab().host('web-2');
    const mounts = await web2.ok('sh', '-c', "awk '{print $2, $3}' /proc/mounts | sort");
    const links = await web2.ok('ip', '-br', 'link');
    // No such program is an answer, too.
    const units = await web2.ok(
      'sh',
      '-c',
      'ps ax -o args= | grep -E "^nginx|shop/shop|bin/postgres -D" | grep -v grep | sort; true',
    );
    return `${mounts}${links}${units}`;
  };

  it('production’s customers see nothing, and the standby is as it was', async () => {
    const before = await traces();
    const customers = await Customers.come(lab());
    const run = await runPlan(lab(), 'drill');
    expect(run.state, await whatItSays(lab(), run.id)).to.equal('done');
    await customers.untilServed('web-1', monotonicMs());
    await customers.leave();
    const { turns, withoutServiceMs } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(withoutServiceMs).to.be.lessThan(5_000);
    expect(await customers.lostOn('web-1')).to.deep.equal([]);
    expect(customers.overlaps(0)).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: 'web-1', standby: 'web-2' });
    await eventually('nothing is left of the sandbox', async () => {
      const after = await traces();
      return after === before ? undefined : `before:\n${before}\nafter:\n${after}`;
    });
    await untilReady(lab());
  });
});
