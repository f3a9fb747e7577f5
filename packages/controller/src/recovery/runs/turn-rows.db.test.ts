import { expect } from 'chai';

import { openRecoveryFixture, type RecoveryFixture } from '../../testing/recovery-fixture.ts';

const named = (name: string, more = ''): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: ${name}, owner: ops@plik.example, ${more}}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
detect: {mode: manual}
steps:
  - {id: quiesce, type: service.stop, in: [planned], host: primary, units: [${name}]}
  - {id: fence, type: fence, in: [unplanned, planned], needs: [quiesce]}
  - {id: start, type: service.start, units: [${name}], needs: [fence]}
`;

describe('turns of runs', () => {
  let fixture: RecoveryFixture;

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
  });
  afterEach(() => fixture.close());

  const AFTER_DNS = 'it comes after dns (dependsOn), for at most 10 min';
  /** Until the run has said so. */
  const untilWaits = async (run: string, why: string): Promise<void> => {
    const said = 'select 1 from run_event where run_id = $1 and message = $2';
    while ((await fixture.catalog.pool.query(said, [run, `it waits: ${why}`])).rowCount === 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
  };

  it('of failovers that are due together, what others depend on comes first; the run that waits says so, and a person can end it', async () => {
    const replica = fixture.replica('one');
    const plans: Record<string, string> = {};
    for (const [name, more] of [
      ['dns', ''],
      ['shop', 'dependsOn: [dns, no-plan], '],
      ['wiki', 'dependsOn: [dns], '],
      ['blog', 'priority: 900, '],
    ] as const) {
      plans[name] = await fixture.apply(named(name, more));
      await replica.failover.drive(plans[name]);
    }
    const start = (name: string, approvalsNeeded = 0): Promise<string> =>
      fixture.start(plans[name]!, 'unplanned', { approvalsNeeded });
    const dns = await start('dns', 1);
    await fixture.until(dns, ['awaiting-approval']);
    const shop = await start('shop');
    const wiki = await start('wiki');
    await fixture.until(await start('blog'), ['awaiting-commit']);
    await untilWaits(shop, AFTER_DNS);
    await untilWaits(wiki, AFTER_DNS);
    expect((await fixture.view(shop)).run.state).to.equal('prechecking');
    expect((await fixture.view(shop)).steps.every(({ state }) => state === 'pending')).to.equal(true);
    await fixture.act(wiki, 'abort');
    await fixture.until(wiki, ['cancelled']);
    await fixture.act(dns, 'approve');
    await fixture.until(dns, ['awaiting-commit']);
    await fixture.until(shop, ['awaiting-commit']);
    const { rows } = await fixture.catalog.pool.query<{ early: boolean }>(
      `select (select min(started_at) from run_step where run_id = $2) < (select max(finished_at) from run_step where run_id = $1) as early`,
      [dns, shop],
    );
    expect(rows).to.deep.equal([{ early: false }]);
  });

  it('a run that was agreed to after its patience is ordered like any other', async () => {
    const replica = fixture.replica('one');
    const dns = await fixture.apply(named('dns'));
    const shop = await fixture.apply(named('shop', 'dependsOn: [dns], '));
    for (const plan of [dns, shop]) await replica.failover.drive(plan);
    const first = await fixture.start(dns, 'unplanned', { approvalsNeeded: 1 });
    await fixture.until(first, ['awaiting-approval']);
    const late = await fixture.start(shop, 'unplanned', { approvalsNeeded: 1 });
    await fixture.until(late, ['awaiting-approval']);
    await fixture.catalog.pool.query(`update run set started_at = now() - interval '3 hours'`);
    await fixture.act(late, 'approve');
    await untilWaits(late, AFTER_DNS);
    // Whom nobody agreed to is not waited for any longer than that.
    await fixture.catalog.pool.query(`update run_approval set at = now() - interval '10 minutes' where run_id = $1`, [
      late,
    ]);
    await fixture.until(late, ['awaiting-commit']);
    expect((await fixture.view(first)).run.state).to.equal('awaiting-approval');
  });

  it('what a run depends on is waited for from its silence on, and in the moment between its promotion and its run', async () => {
    const { failover, engine } = fixture.replica('one');
    const automatic = named('dns').replace('mode: manual', 'mode: automatic');
    const dns = await fixture.apply(automatic);
    const shop = await fixture.apply(named('shop', 'dependsOn: [dns], '));
    for (const plan of [dns, shop]) await failover.drive(plan);
    await fixture.catalog.pool.query('update application set disarmed = 0');
    await failover.drive(dns);
    failover.hush(dns, 7_000);
    const waiting = await fixture.start(shop, 'unplanned');
    await untilWaits(waiting, AFTER_DNS);
    await failover.promoteNow(dns, true);
    failover.hush(dns, 0);
    await engine.pump(waiting);
    expect((await fixture.view(waiting)).run.state).to.equal('prechecking');
    const applied = await fixture.start(dns, 'unplanned', { approvalsNeeded: 1 });
    await fixture.until(applied, ['awaiting-approval']);
    await fixture.act(applied, 'abort');
    await fixture.until(applied, ['cancelled']);
    await fixture.until(waiting, ['awaiting-commit']);
  });

  it('planned runs take turns among each other, at most so many as the settings say, and behind failovers', async () => {
    const { failover } = fixture.replica('one', undefined, { atOnce: 1 });
    const plans: string[] = [];
    for (const name of ['first', 'second', 'third']) {
      const plan = await fixture.apply(named(name));
      await failover.drive(plan);
      plans.push(plan);
    }
    fixture.hosts.answers = ({ name, action }) => (name === 'quiesce' && action === 'apply' ? 'silence' : undefined);
    const first = await fixture.start(plans[0]!, 'planned');
    await fixture.until(first, ['running']);
    const second = await fixture.start(plans[1]!, 'planned');
    await untilWaits(second, 'other runs come first (metadata.priority), 1 at a time, for at most 10 min');
    const { rows } = await fixture.catalog.pool.query<{ state: string }>(
      `select distinct state from run_step where run_id = $1`,
      [second],
    );
    expect(rows).to.deep.equal([{ state: 'pending' }]);
    await fixture.until(await fixture.start(plans[2]!, 'unplanned'), ['awaiting-commit']);
    expect((await fixture.view(second)).run.state).to.equal('prechecking');
    await fixture.act(first, 'abort');
    await fixture.until(second, ['running']);
  });
});
