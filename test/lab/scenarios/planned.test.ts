// The shop moves on purpose, and back.

import { expect } from 'chai';
import { Customers, monotonicMs } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { runPlan, showPlan, untilReady, untilRun, whatItSays } from '../plan.ts';
import { labFor, servesNothing } from '../testing.ts';

describe('a planned failover', function planned() {
  this.timeout(300_000);
  const lab = labFor(this);

  /** @param moved how often it has moved by then: the hosts' own logs go on */
  const moves = async (from: string, to: string, moved: number): Promise<void> => {
    const customers = await Customers.come(lab());
    const run = await runPlan(lab(), 'planned');
    expect(run.state, await whatItSays(lab(), run.id)).to.equal('awaiting-commit');
    await customers.untilServed(to, monotonicMs());
    await customers.leave();
    const { turns, withoutServiceMs } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal([from, to]);
    expect(await customers.lostOn(to)).to.deep.equal([]);
    expect(customers.overlaps(moved)).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: to, standby: from });
    await servesNothing(lab(), from);
    process.stderr.write(`      without service ${Math.round(withoutServiceMs)} ms; RTO ${run.rtoMs} ms\n`);
    await lab().json('run', 'commit', run.id);
    await untilRun(lab(), ['done']);
    await servesNothing(lab(), from);
  };

  it('loses no acknowledged order', async () => await moves('web-1', 'web-2', 1));

  it('and neither does the way back, once the old primary is protected again', async () => {
    await untilReady(lab());
    await moves('web-2', 'web-1', 2);
  });

  it('what came back is protected as it was: its log is followed, and there is a standby', async () => {
    await untilReady(lab());
    await eventually('the log of the database is followed again', async () => {
      const { log } = await lab().json<{ log: { state: string; note: string } | null }>('source', 'show', 'web-1/db');
      return log?.state === 'following' ? undefined : `${log?.state} ${log?.note}`;
    });
    await eventually('a base is taken', async () => {
      const { code, stderr } = await lab().holdfast(['backup', 'web-1/db']);
      return code === 0 ? undefined : stderr;
    });
  });
});
