import { randomBytes } from 'node:crypto';

import { expect } from 'chai';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { systemClock } from '@holdfast/shared/runtime/clock';

import type { Catalog } from '../../catalog/catalog.ts';
import { masterKeyFrom } from '../../fleet/master-key.ts';
import {
  addSource,
  mortalCatalog,
  openRecoveryFixture,
  type RecoveryFixture,
  type Replica,
} from '../../testing/recovery-fixture.ts';
import { openEvidence } from '../evidence/evidence.ts';
import { lookAtPlan } from '../objectives/look-at-plan.ts';
import { removePlan } from '../plans/apply.ts';
import { appliedPlan, findPlan } from '../plans/plan-store.ts';
import { plansAtWork } from '../warm/warm-rows.ts';
import { followSuspicion } from './follow-suspicion.ts';
import { chanceOf } from './preparation-rows.ts';
import { followNews } from './run-news.ts';
import { listRuns } from './run-store.ts';
import type { RunRow, RunView } from './run-view.ts';
import { AT_ONCE } from './turn.ts';

const PLAN = (mode: string): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
detect: {mode: ${mode}}
steps:
  - {id: rebuild, type: rebuild, users: true, ahead: true}
  - {id: aside, type: restore.files, source: files, target: /srv/staging, ahead: true}
  - {id: room, type: check.tcp, address: "10.0.0.1:80", ahead: true, needs: [rebuild]}
  - {id: later, type: check.tcp, address: "10.0.0.1:80", ahead: true, needs: [aside]}
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: start, type: service.start, units: [shop], needs: [rebuild, room, fence]}
`;
/** What needs no recovery point: there is none in a test of news. */
const WITHOUT_RESTORE = (mode: string): string => PLAN(mode).replaceAll(/^ .*aside.*\n/gm, '');
const MINUTE_MS = 60_000;
const WITHIN_MS = 40_000;

describe('preparations', () => {
  let fixture: RecoveryFixture;
  let ends: (() => unknown)[] = [];

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
    const blueprint = await addSource(fixture.catalog, fixture.hostIds.get('web-1')!, fixture.domainId, 'blueprint');
    const spec = SourceSpec.fromPartial({
      sourceId: blueprint,
      name: 'blueprint',
      type: { $case: 'engine', value: { type: 'blueprint' } },
    });
    const { pool } = fixture.catalog;
    await pool.query('update source set spec = $2 where id = $1', [
      blueprint,
      Buffer.from(SourceSpec.encode(spec).finish()),
    ]);
    // Silent since long: until it is heard.
    await pool.query(`update host set last_seen_at = now() - interval '1 hour' where name = 'web-1'`);
  });
  afterEach(async () => {
    for (const end of ends) await end();
    ends = [];
    await fixture.close();
  });

  const replica = (name: string, own?: Catalog): Replica => {
    const made = fixture.replica(name, own);
    const { events, told } = fixture;
    const catalog = own ?? fixture.catalog;
    const notifier = { notify: async (message: (typeof told)[number]) => void told.push(message) };
    const candidates = async (): Promise<{ sources: []; nowMs: number }> => ({ sources: [], nowMs: Date.now() });
    const common = { catalog, events, replica: name, log: () => undefined, ...made };
    const suspicions = followSuspicion({ ...common, clock: systemClock, atOnce: AT_ONCE.default });
    // One that was killed never answers.
    ends.push(followNews({ ...common, notifier, candidates }), () =>
      own === undefined ? suspicions.stop() : undefined,
    );
    return made;
  };
  const runs = (): Promise<RunRow[]> => listRuns(fixture.catalog.pool, { domainId: fixture.domainId, limit: 10 });
  const eventually = async <T>(found: () => Promise<T | undefined>): Promise<T> => {
    const deadline = performance.now() + WITHIN_MS;
    for (;;) {
      const value = await found();
      if (value !== undefined) return value;
      if (performance.now() > deadline) {
        const { rows } = await fixture.catalog.pool.query('select step_id, message from run_event order by at');
        throw new Error(`it never came: ${JSON.stringify(rows)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const newest = (): Promise<RunRow> => eventually(async () => (await runs())[0]);
  const untilStep = (runId: string, step: string, state: string): Promise<RunView> =>
    eventually(async () => {
      const view = await fixture.view(runId);
      return view.steps.find(({ id }) => id === step)?.state === state ? view : undefined;
    });
  const statesOf = ({ steps }: RunView): Record<string, string> =>
    Object.fromEntries(steps.map(({ id, state }) => [id, state]));
  const worked = (): string[] => fixture.hosts.worked.map(({ host, name, action }) => `${host} ${name} ${action}`);
  const hear = async ({ failover, engine }: Replica, planId: string, runId: string): Promise<void> => {
    await fixture.catalog.pool.query(`update host set last_seen_at = now() + interval '1 hour' where name = 'web-1'`);
    failover.suspect(planId, false);
    await engine.pump(runId);
  };
  const suspected = async (mode: string, plan = PLAN): Promise<{ one: Replica; planId: string; run: RunRow }> => {
    const planId = await fixture.apply(plan(mode));
    const one = replica('one');
    await one.failover.drive(planId);
    one.failover.suspect(planId);
    return { one, planId, run: await newest() };
  };

  /** Jobs of the run that nobody has asked to end. */
  const openJobs = async (runId: string): Promise<unknown[]> => {
    const { rows } = await fixture.catalog.pool.query(
      `select j.id from job j join run_job r on r.job_id = j.id
       where r.run_id = $1 and j.state in ('queued', 'running') and not j.cancel_asked`,
      [runId],
    );
    return rows;
  };
  const roomIsOk = (): Promise<RunRow> =>
    eventually(async () => {
      const [run] = await runs();
      if (run === undefined || run.finishedAt !== null) return undefined;
      const { steps } = await fixture.view(run.id);
      return steps.find(({ id }) => id === 'room')?.state === 'ok' ? run : undefined;
    });

  it('PR1 a suspicion begins what may run before there is a recovery point, on the standby, and nothing else', async () => {
    const { one, planId, run } = await suspected('manual');
    const view = await untilStep(run.id, 'room', 'ok');
    expect(view.run).to.include({
      state: 'preparing',
      ahead: true,
      mode: 'unplanned',
      fromName: 'web-1',
      toName: 'web-2',
    });
    await one.engine.pump(run.id);
    expect(statesOf(await fixture.view(run.id))).to.deep.equal({
      rebuild: 'ok',
      aside: 'pending',
      room: 'ok',
      later: 'pending',
      fence: 'pending',
      start: 'pending',
    });
    expect(worked()).to.deep.equal(['web-2 rebuild apply', 'web-2 rebuild verify', 'web-2 room apply']);
    expect(one.failover.proofs).to.deep.equal([]);
    one.failover.suspect(planId);
    await one.engine.pump(run.id);
    expect(await runs(), 'PR2').to.have.length(1);
  });

  it('PR3 the run of a promotion adopts it: what it did is not done again, and what it does goes on', async () => {
    fixture.hosts.answers = ({ name, action }) => (name === 'rebuild' && action === 'apply' ? 'silence' : undefined);
    const { one, run } = await suspected('automatic', WITHOUT_RESTORE);
    await untilStep(run.id, 'rebuild', 'dispatched');
    const planId = run.planId;
    const epoch = await one.failover.promoteNow(planId, true);
    const going = await fixture.until(run.id, ['running']);
    expect(going.run).to.include({ ahead: false, automatic: true, epoch, fenceProof: 'lease-ran-out' });
    expect(going.run.times).to.include.keys('lastSignOfLife', 'suspected', 'declaredDead');
    expect(going.run.startedAt.getTime()).to.be.greaterThan(run.startedAt.getTime());
    expect(going.steps.find(({ id }) => id === 'rebuild')).to.include({ state: 'dispatched', attempt: 1 });
    await fixture.catalog.pool.query(`update job set state = 'queued', sent_at = null where state = 'running'`);
    fixture.hosts.answers = () => undefined;
    await fixture.events.tell(fixture.catalog.pool, { kind: 'jobs', hostId: fixture.hostIds.get('web-2')! });
    const done = await fixture.until(run.id, ['awaiting-commit']);
    expect(done.steps.map(({ id, state, attempt }) => `${id} ${state} ${attempt}`)).to.deep.equal([
      'rebuild ok 1',
      'room ok 1',
      'fence ok 1',
      'start ok 1',
    ]);
    expect(await runs()).to.have.length(1);
  });

  it('PR3 a person’s run and one that asks first adopt it, too; what failed ahead is tried once more', async () => {
    fixture.hosts.answers = ({ name, action }) => (name === 'rebuild' && action === 'apply' ? 'failed' : undefined);
    const { one, planId, run } = await suspected('approve');
    const failed = await eventually(async () => {
      const step = (await fixture.view(run.id)).steps.find(({ id }) => id === 'rebuild');
      return step?.state === 'failed' && step.attempt === 3 ? step : undefined;
    });
    expect(failed.message).to.equal('scripted to fail');
    expect(fixture.told, 'PR6').to.deep.equal([]);
    fixture.hosts.answers = () => undefined;
    const signs = { lastSignOfLifeAt: new Date(), suspectedAt: new Date(), declaredDeadAt: new Date() };
    one.failover.tell({ kind: 'dead', planId, signs });
    const asks = await fixture.until(run.id, ['awaiting-approval']);
    expect(asks.run).to.include({ ahead: false, approvalsNeeded: 1 });
    expect(statesOf(await untilStep(run.id, 'rebuild', 'ok'))).to.include({ fence: 'pending', start: 'pending' });
    const late = await fixture.act(run.id, 'end-ahead').catch((error: Error) => error.message);
    expect(late, 'AC4').to.equal('this is the unplanned run itself, not what runs ahead of one');
    await fixture.act(run.id, 'abort');
    await fixture.until(run.id, ['cancelled']);

    one.failover.suspect(planId);
    const next = await eventually(async () => (await runs()).find(({ id }) => id !== run.id));
    await untilStep(next.id, 'room', 'ok');
    expect(await fixture.start(planId, 'unplanned', { fenceConfirmed: true })).to.equal(next.id);
    const up = await fixture.until(next.id, ['awaiting-commit']);
    expect(up.run).to.include({ ahead: false, startedBy: 'operator test' });
    expect(up.run.point.atMs).to.equal(1_700_000_000_000);
    expect(up.steps.find(({ id }) => id === 'rebuild')).to.include({ attempt: 1 });
  });

  it('PR2 PR3 another run ends it at once, and beside a run none begins', async () => {
    fixture.hosts.answers = ({ name }) => (name === 'rebuild' ? 'silence' : undefined);
    const { one, planId, run } = await suspected('manual');
    await untilStep(run.id, 'rebuild', 'dispatched');
    // Of another revision: nobody knows what it has in common.
    await fixture.apply(PLAN('manual').replace('users: true', 'cron: true'));
    const real = await fixture.start(planId, 'unplanned');
    expect(real).to.not.equal(run.id);
    await one.engine.pump(run.id);
    const over = await fixture.until(run.id, ['cancelled']);
    expect(over.run.reason).to.equal('another run came');
    expect(await openJobs(run.id)).to.deep.equal([]);
    one.failover.suspect(planId);
    await fixture.until(real, ['running', 'awaiting-commit']);
    expect((await runs()).map(({ ahead }) => ahead)).to.deep.equal([false, true]);
  });

  it('PR2 PR3 a run that is started in the same moment adopts it, or comes before it: there are never two', async () => {
    fixture.hosts.answers = () => 'silence';
    const one = replica('one');
    const plans: string[] = [];
    for (let index = 0; index < 8; index++) {
      const planId = await fixture.apply(PLAN('manual').replace('name: shop', `name: shop-${index}`));
      await one.failover.drive(planId);
      plans.push(planId);
    }
    await Promise.all(
      plans.map(async (planId, index) => {
        one.failover.suspect(planId);
        await new Promise((resolve) => setTimeout(resolve, index));
        await fixture.start(planId, 'unplanned');
      }),
    );
    // What was under way is over.
    for (const end of ends.splice(0)) await end();
    const all = await runs();
    expect(all.map(({ ahead }) => ahead)).to.deep.equal(plans.map(() => false));
    expect(new Set(all.map(({ planId }) => planId)).size).to.equal(plans.length);
  });

  it('PR2 none begins of a plan that is removed in the same moment: nobody would end it', async () => {
    const planId = await fixture.apply(PLAN('manual'));
    const one = replica('one');
    await one.failover.drive(planId);
    const { pool } = fixture.catalog;
    const remover = await pool.connect();
    try {
      await remover.query('begin');
      await remover.query('select 1 from plan where id = $1 for update', [planId]);
      one.failover.suspect(planId);
      await eventually(async () => {
        const { rowCount } = await pool.query(
          `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%for no key update%'`,
        );
        return rowCount === 0 ? undefined : true;
      });
      await remover.query('update plan set removed_at = now() where id = $1', [planId]);
      await remover.query('commit');
    } finally {
      remover.release();
    }
    for (const end of ends.splice(0)) await end();
    expect(await runs()).to.deep.equal([]);
  });

  it('a run waits for no replica that was paused in the middle of a removal', async () => {
    const planId = await fixture.apply(PLAN('manual'));
    const { catalog, domainId } = fixture;
    const held = Promise.withResolvers<void>();
    const goesOn = Promise.withResolvers<void>();
    const tell = async (): Promise<void> => {
      held.resolve();
      await goesOn.promise;
    };
    const deps = { catalog, events: { ...fixture.events, tell }, replica: 'paused' };
    const removed = removePlan(deps, await findPlan(catalog.pool, domainId, 'shop'), 'operator ann').then(
      () => 'removed',
      () => 'refused',
    );
    await held.promise;
    await fixture.start(planId, 'unplanned');
    goesOn.resolve();
    expect(await removed).to.equal('refused');
    expect((await runs()).length).to.equal(1);
  });

  it('PR4 the primary is heard again: it ends, but not in the middle of an installation', async () => {
    fixture.hosts.answers = ({ name, action }) => (name === 'rebuild' && action === 'apply' ? 'silence' : undefined);
    const { one, planId, run } = await suspected('manual');
    await untilStep(run.id, 'rebuild', 'dispatched');
    await fixture.catalog.pool.query('update job set acknowledged = true');
    await untilStep(run.id, 'rebuild', 'running');
    await hear(one, planId, run.id);
    expect((await fixture.view(run.id)).run.state).to.equal('preparing');
    await fixture.catalog.pool.query(`update job set state = 'failed', finished_at = now()`);
    await one.engine.pump(run.id);
    const over = await fixture.until(run.id, ['cancelled']);
    expect(over.run.reason).to.equal('web-1 was heard again');
    expect(await openJobs(run.id)).to.deep.equal([]);
    expect(fixture.told, 'PR6').to.deep.equal([]);
  });

  it('PR4 what has not begun at the host is cancelled', async () => {
    fixture.hosts.answers = () => 'silence';
    const { one, planId, run } = await suspected('manual');
    await untilStep(run.id, 'rebuild', 'dispatched');
    await hear(one, planId, run.id);
    await fixture.until(run.id, ['cancelled']);
    expect(await openJobs(run.id)).to.deep.equal([]);
  });

  it('PR5 killed behind or before any transition, another replica goes on with it, or ends it', async function () {
    this.timeout(120_000);
    const planId = await fixture.apply(PLAN('manual'));
    for (let boundary = 0; ; boundary++) {
      fixture.hosts.worked.length = 0;
      await fixture.catalog.pool.query(`update run set finished_at = now() - interval '7 hours'`);
      await fixture.catalog.pool.query(`update host set last_seen_at = now() - interval '1 hour' where name = 'web-1'`);
      const mortal = await mortalCatalog(fixture.catalog.connection);
      const first = replica(`first-${boundary}`, mortal);
      mortal.kill(boundary, boundary % 2 === 0 ? 'before' : 'behind');
      await first.failover.drive(planId);
      first.failover.suspect(planId);
      const isDead = await Promise.race([mortal.dead.then(() => true), roomIsOk().then(() => false)]);
      first.deafen();
      const second = replica(`second-${boundary}`);
      await second.failover.drive(planId);
      // It knows of no suspicion yet: that alone ends nothing.
      for (const { id, state } of await runs()) if (state === 'preparing') await second.engine.pump(id);
      second.failover.suspect(planId);
      await roomIsOk();
      expect((await runs()).filter(({ finishedAt }) => finishedAt === null)).to.have.length(1);
      expect(fixture.hosts.applied('rebuild'), `boundary ${boundary}`).to.equal(1);
      const [run] = await runs();
      await hear(second, planId, run!.id);
      await fixture.until(run!.id, ['cancelled']);
      second.deafen();
      second.engine.lose(planId);
      await second.engine.stop();
      if (!isDead) break;
      expect(boundary).to.be.lessThan(40);
    }
  });

  it('PR5 a driver that died with the promotion leaves it to the next one, whose run adopts it', async () => {
    const { one, planId, run } = await suspected('automatic', WITHOUT_RESTORE);
    await untilStep(run.id, 'room', 'ok');
    one.deafen();
    for (const end of ends.splice(0)) await end();
    await one.engine.stop();
    const epoch = await one.failover.promoteNow(planId, true);
    await replica('next').failover.drive(planId);
    const done = await fixture.until(run.id, ['awaiting-commit']);
    expect(done.run).to.include({ ahead: false, epoch });
    expect(fixture.hosts.applied('rebuild')).to.equal(1);
    expect(await runs()).to.have.length(1);
  });

  it('PR6 is no failover: not for readiness, not for copies, in no figure, and without a report', async () => {
    const { one, planId, run } = await suspected('manual');
    await untilStep(run.id, 'room', 'ok');
    expect(await plansAtWork(fixture.catalog.pool)).to.deep.equal(new Set());
    await hear(one, planId, run.id);
    await fixture.until(run.id, ['cancelled']);
    const evidence = await openEvidence({
      catalog: fixture.catalog,
      masterKey: masterKeyFrom(randomBytes(32)),
      version: 'test',
    });
    await evidence.sealEnded();
    expect((await fixture.catalog.pool.query('select 1 from run_report')).rowCount).to.equal(0);
    const refused = await evidence.reportOf(run.id).then(() => 'made', String);
    expect(refused).to.include('leaves no report');
    const serving = { primary: fixture.hostIds.get('web-1')!, standby: fixture.hostIds.get('web-2')! };
    const applied = await appliedPlan(fixture.catalog.pool, planId);
    const look = await lookAtPlan({ pool: fixture.catalog.pool, knowSources: async () => [] }, applied, serving);
    expect(look.runs).to.deep.equal([]);
  });

  it('PR6 is no turn: what depends on a plan that is being prepared still waits for its failover', async () => {
    const { one, planId, run } = await suspected('automatic', WITHOUT_RESTORE);
    await untilStep(run.id, 'room', 'ok');
    await fixture.catalog.pool.query('update application set disarmed = 0');
    await one.failover.drive(planId);
    one.failover.suspect(planId);
    const needy = WITHOUT_RESTORE('manual').replace('name: shop', 'name: blog, dependsOn: [shop]');
    const blog = await fixture.apply(needy);
    await one.failover.drive(blog);
    const waiting = await fixture.start(blog, 'unplanned');
    await eventually(async () => {
      const { rowCount } = await fixture.catalog.pool.query(
        `select 1 from run_event where run_id = $1 and message like '%it comes after shop%'`,
        [waiting],
      );
      return rowCount === 0 ? undefined : true;
    });
    await one.failover.promoteNow(planId, true);
    await fixture.until(run.id, ['awaiting-commit']);
    await fixture.until(waiting, ['awaiting-commit']);
  });

  it('PR7 the next one waits after one that was for nothing; a standby that is not there is waited for', async () => {
    const { one, planId, run } = await suspected('manual');
    await untilStep(run.id, 'room', 'ok');
    await hear(one, planId, run.id);
    await fixture.until(run.id, ['cancelled']);
    const { pool } = fixture.catalog;
    const chance = async (): Promise<string> =>
      await chanceOf(pool, { id: planId, domainId: fixture.domainId }, fixture.hostIds.get('web-1')!, AT_ONCE.default);
    expect(await chance()).to.equal('later');
    await pool.query("update run set finished_at = now() - $1 * interval '1 ms'", [MINUTE_MS]);
    expect(await chance()).to.equal('now');
    await pool.query(`update host set connection_id = '' where name = 'web-2'`);
    expect(await chance()).to.equal('later');
  });
});
