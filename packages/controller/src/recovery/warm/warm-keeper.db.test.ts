import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { Job as WireJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { systemClock } from '@holdfast/shared/runtime/clock';

import { planKeep, planRelease, wishesOf } from '../../api/recovery-warm.ts';
import { findJob, finishJob, takeJobs } from '../../fleet/jobs.ts';
import { openRecoveryFixture, type RecoveryFixture } from '../../testing/recovery-fixture.ts';
import { appliedPlan } from '../plans/plan-store.ts';
import { warmFact } from './warm-facts.ts';
import { keepWarmCopies, lookOnce, type WarmKeeperDeps } from './warm-keeper.ts';
import { reportWarm, warmCopies } from './warm-rows.ts';

const PLAN = `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], mode: warm}
sources: [files]
detect: {mode: manual, witnesses: {hosts: [mon-1, api-1], agree: 1, probe: "http://x/"}}
steps:
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: files, type: restore.files, source: files, needs: [fence]}
`;

describe('the keeper of warm copies', () => {
  let fixture: RecoveryFixture;
  let planId: string;
  let deps: WarmKeeperDeps;

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
    planId = await fixture.apply(PLAN);
    const { catalog, events, hostIds } = fixture;
    const vault = { grant: async () => Buffer.from('grant'), grantLog: () => Buffer.from('log') };
    const jobs = { catalog, vault };
    const serving = { primary: hostIds.get('web-1')!, standby: hostIds.get('web-2')! };
    deps = {
      catalog,
      // The fixture's hosts would do at once what they are told of.
      events: { ...events, tell: async () => undefined },
      clock: systemClock,
      log: () => undefined,
      wishes: async () => ({
        wishes: await wishesOf(jobs, await appliedPlan(catalog.pool, planId), serving),
        mine: () => true,
      }),
      planKeep: (wish, takeOver) => planKeep(jobs, wish, takeOver),
      planRelease: (copy) => planRelease(jobs, copy),
      everyMs: 20,
    };
  });
  afterEach(() => fixture.close());

  const copy = async (): Promise<Awaited<ReturnType<typeof warmCopies>>[number]> =>
    (await warmCopies(fixture.catalog.pool))[0]!;
  const standby = (): string => fixture.hostIds.get('web-2')!;
  const jobsOf = async (state: string): Promise<string[]> => {
    const { rows } = await fixture.catalog.pool.query<{ id: string }>(
      `select id from job where requested_by = 'warm standby' and state = $1 order by created_at`,
      [state],
    );
    return rows.map(({ id }) => id);
  };
  const end = async (state: 'done' | 'failed', errorMessage = ''): Promise<void> => {
    const [job] = await fixture.catalog.transaction((client) => takeJobs(client, standby()));
    await finishJob(fixture.catalog.pool, job!.id, standby(), { state, outcome: null, errorMessage });
  };
  const anotherSnapshot = async (): Promise<void> => {
    await fixture.catalog.pool.query(
      `insert into snapshot (domain_id, id, host_id, source_id, sequence, commit_record_id, committed_at, started_at_ms, entries, files,
         bytes_total, bytes_read, bytes_new, bytes_stored, duration_ms, partial, warnings_total, highest_pack_sequence)
       select domain_id, $1, host_id, source_id, sequence + 1, $1, now(), 0, 1, 1, 1, 1, 1, 1, 1, false, 0, 1 from snapshot
       order by sequence desc limit 1`,
      [randomBytes(32)],
    );
  };

  it('brings the newest snapshot to where the source is on the primary, and only the newest of those that came meanwhile', async () => {
    await lookOnce(deps);
    const [id] = await jobsOf('queued');
    const { kind } = WireJob.decode((await findJob(fixture.catalog.pool, id!))!.request);
    expect(kind?.$case === 'restore' && kind.value.target).to.equal('/srv/shop');
    expect(kind?.$case === 'restore' && kind.value.warm).to.include({
      application: planId,
      action: 'keep',
      takeOver: false,
    });
    await anotherSnapshot();
    await anotherSnapshot();
    await lookOnce(deps);
    expect((await jobsOf('queued')).length, 'one at a time').to.equal(1);
    await end('done');
    await lookOnce(deps);
    expect((await copy()).applied).to.not.equal('');
    expect((await jobsOf('queued')).length, 'the newest').to.equal(1);
    await end('done');
    await lookOnce(deps);
    expect(await jobsOf('queued')).to.deep.equal([]);
    const { wishes } = await deps.wishes();
    expect((await copy()).applied).to.equal(wishes[0]!.newest);
    expect(warmFact(wishes[0]!, await copy(), '', 0)).to.include({ level: 'ok', subject: 'web-1/files' });
  });

  it('WR1 is asked for once, however many replicas look at the same time', async () => {
    await Promise.all([lookOnce(deps), lookOnce(deps), lookOnce(deps)]);
    expect((await jobsOf('queued')).length).to.equal(1);
  });

  it('WR2 a try that failed is said, waits, and counts for nothing', async () => {
    await lookOnce(deps);
    await end('failed', 'the target /srv/shop holds something');
    await lookOnce(deps);
    expect(await jobsOf('queued')).to.deep.equal([]);
    expect(await copy()).to.include({ applied: '', failures: 1, error: 'the target /srv/shop holds something' });
    const { wishes } = await deps.wishes();
    expect(warmFact(wishes[0]!, await copy(), '', 0).message).to.contain('holds something');
    await fixture.catalog.pool.query(`update warm_copy set tried_at = now() - interval '1 hour'`);
    await lookOnce(deps);
    expect((await jobsOf('queued')).length).to.equal(1);
  });

  it('WR3 a real run cancels what is under way, and nothing begins before it is over; then what the old primary holds may be overwritten', async () => {
    await lookOnce(deps);
    const runId = await fixture.start(planId, 'planned');
    await lookOnce(deps);
    expect((await jobsOf('cancelled')).length).to.equal(1);
    await fixture.catalog.pool.query(`update warm_copy set tried_at = now() - interval '1 hour'`);
    await lookOnce(deps);
    expect(await jobsOf('queued')).to.deep.equal([]);
    await fixture.catalog.pool.query(
      `update run set state = 'done', finished_at = now(), from_host = to_host, to_host = from_host where id = $1`,
      [runId],
    );
    await lookOnce(deps);
    const [id] = await jobsOf('queued');
    const { kind } = WireJob.decode((await findJob(fixture.catalog.pool, id!))!.request);
    expect(kind?.$case === 'restore' && kind.value.warm?.takeOver).to.equal(true);
  });

  it('a copy on a host that is not the standby any more is released', async () => {
    await lookOnce(deps);
    await end('done');
    await lookOnce(deps);
    await lookOnce({ ...deps, wishes: async () => ({ wishes: [], mine: () => true }) });
    const [id] = await jobsOf('queued');
    const { kind } = WireJob.decode((await findJob(fixture.catalog.pool, id!))!.request);
    expect(kind?.$case === 'restore' && kind.value.warm?.action).to.equal('release');
  });

  it('WR5 a copy whose host was promoted is not released before the run that needs it has begun, whoever starts that', async () => {
    await lookOnce(deps);
    await end('done');
    await lookOnce(deps);
    const { pool } = fixture.catalog;
    const gone = { ...deps, wishes: async () => ({ wishes: [], mine: () => true }) };
    await pool.query(`update application set phase = 'ordered', next_epoch = epoch + 1 where plan_id = $1`, [planId]);
    await lookOnce(gone);
    expect(await jobsOf('queued')).to.deep.equal([]);
    await pool.query(`update application set phase = 'open', automatic = true, epoch = epoch + 1 where plan_id = $1`, [
      planId,
    ]);
    await lookOnce(gone);
    expect(await jobsOf('queued')).to.deep.equal([]);
    const runId = await fixture.start(planId, 'planned');
    await lookOnce(gone);
    expect(await jobsOf('queued')).to.deep.equal([]);
    await pool.query(
      `update run set state = 'done', finished_at = now(), epoch = (select epoch from application) where id = $1`,
      [runId],
    );
    await lookOnce(gone);
    expect((await jobsOf('queued')).length).to.equal(1);
  });

  it('WR4 the copies of a removed plan are released when their host is back, however often that fails, and without their sources', async () => {
    await lookOnce(deps);
    await end('done');
    await lookOnce(deps);
    const { pool } = fixture.catalog;
    await pool.query('update plan set removed_at = now() where id = $1', [planId]);
    await pool.query(`update source set removed_at = now(), spec = ''`);
    const gone = { ...deps, wishes: async () => ({ wishes: [], mine: () => true }) };
    await lookOnce(gone);
    await lookOnce(gone);
    expect((await jobsOf('queued')).length, 'waits for its host').to.equal(1);
    await end('failed', 'the agent was restarted while it worked on this');
    await lookOnce(gone);
    expect(await copy()).to.include({ releasing: true, failures: 1 });
    expect((await jobsOf('queued')).length, 'a little later').to.equal(0);
    await pool.query(`update warm_copy set tried_at = now() - interval '1 hour'`);
    await lookOnce(gone);
    expect((await jobsOf('queued')).length).to.equal(1);
    await end('done');
    await lookOnce(gone);
    expect(await warmCopies(pool)).to.deep.equal([]);
    expect(await jobsOf('queued')).to.deep.equal([]);
  });

  it('a host reports on its own copies, and a copy that it calls broken is said to be', async () => {
    await lookOnce(deps);
    await end('done');
    await lookOnce(deps);
    const { sourceId } = await copy();
    const report = {
      application: planId,
      sourceId,
      state: 'replaying',
      replayed: { order: 5n, text: '0/5' },
      completeToMs: 7,
      note: '',
    };
    await reportWarm(fixture.catalog.pool, fixture.hostIds.get('web-1')!, report);
    expect((await copy()).state).to.equal('');
    await reportWarm(fixture.catalog.pool, standby(), report);
    expect(await copy()).to.include({ state: 'replaying', replayed: 5n, completeToMs: 7 });
    await reportWarm(fixture.catalog.pool, standby(), { ...report, state: 'asleep' });
    expect((await copy()).state).to.equal('replaying');
  });

  it('looks by itself, and ends when it is told to', async () => {
    const keeper = keepWarmCopies(deps);
    try {
      while ((await jobsOf('queued')).length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    } finally {
      await keeper.stop();
    }
    expect((await jobsOf('queued')).length).to.equal(1);
  });
});
