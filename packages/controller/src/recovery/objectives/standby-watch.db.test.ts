import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { expect } from 'chai';

import { openFleetEvents, type FleetEvents } from '../../fleet/fleet-events.ts';
import { finishJob } from '../../fleet/jobs.ts';
import { openTestCatalog } from '../../testing/test-catalog.ts';
import type { AppliedPlan } from '../contract.ts';
import type { Report } from '../runs/run-view.ts';
import { standbyFacts, standbyLooks } from './standby-looks.ts';
import { lookAtStandbys, type StandbyWatchDeps } from './standby-watch.ts';

const { plan } = checkPlan(`apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@shop.test}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
steps:
  - {id: fence, type: fence, in: [planned, unplanned], host: primary}
  - {id: files, type: restore.files, host: standby, source: files, needs: [fence]}
`);
const applied: AppliedPlan = {
  id: 'p',
  domainId: 'd',
  name: 'shop',
  revision: 1,
  plan: plan!,
  findings: [],
  hostIds: new Map(),
};

describe('what the standby says of the places of restores', () => {
  let catalog: Awaited<ReturnType<typeof openTestCatalog>>;
  let events: FleetEvents;
  let answer: Report;
  let running: boolean;
  let asked: number;
  let deps: StandbyWatchDeps;

  beforeEach(async () => {
    catalog = await openTestCatalog();
    events = await openFleetEvents(catalog);
    const { pool } = catalog;
    await pool.query(`insert into domain (id, name, managed) values ('d', 'shop', false)`);
    await pool.query(`insert into host (id, domain_id, name, state, connection_id, last_seen_at) values
      ('h1', 'd', 'web-1', 'enrolled', 'c', now()), ('h2', 'd', 'web-2', 'enrolled', 'c', now())`);
    await pool.query(`insert into plan (id, domain_id, name, revision) values ('p', 'd', 'shop', 1)`);
    running = false;
    asked = 0;
    answer = { state: 'ok', message: '/srv: there is room for 3.0 GB, 8.0 GB free', remedy: '', output: '', facts: {} };
    const { clock, driven, log, readOutcome } = {
      clock: systemClock,
      driven: async () => await Promise.resolve([{ applied, serving: { primary: 'h1', standby: 'h2' }, running }]),
      log: () => undefined,
      readOutcome: () => answer,
    };
    const precheck: StandbyWatchDeps['precheck'] = async () => {
      asked += 1;
      return await Promise.resolve({
        host: 'web-2',
        job: { domainId: 'd', hostId: 'h2', kind: 'step', requestedBy: 'look', request: () => Buffer.alloc(0) },
      });
    };
    deps = { catalog, events, clock, driven, log, readOutcome, precheck };
  });
  afterEach(async () => {
    await events.close();
    await catalog.close();
  });

  /** One look, with an agent that works on what it is asked. */
  const look = async (): Promise<void> => {
    const { pool } = catalog;
    const looking = lookAtStandbys(deps);
    const over = looking.then(() => 'over');
    const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
    while ((await Promise.race([over, pause()])) !== 'over') {
      const { rows } = await pool.query<{ id: string }>(`select id from job where state = 'queued'`);
      for (const { id } of rows) await finishJob(pool, id, 'h2', { state: 'done', outcome: null, errorMessage: '' });
    }
  };
  const facts = async () => standbyFacts(plan!, await standbyLooks(catalog.pool, 'p'), 'h2');

  it('SW1 is kept, with the figure, and leaves no job; what is well is not asked again at once', async () => {
    expect(await facts()).to.deep.equal([]);
    await look();
    expect(await facts()).to.deep.equal([
      { level: 'ok', subject: 'files', message: 'web-2: /srv: there is room for 3.0 GB, 8.0 GB free', remedy: '' },
    ]);
    expect((await catalog.pool.query('select 1 from job')).rowCount).to.equal(0);
    await look();
    expect(asked).to.equal(1);
  });

  it('makes the plan unready while there is no room, and ready as soon as there is', async () => {
    answer = { ...answer, state: 'failed', message: '/srv has 1.0 GB free', remedy: 'Make room.' };
    await look();
    expect(await facts()).to.deep.equal([
      { level: 'error', subject: 'files', message: 'web-2: /srv has 1.0 GB free', remedy: 'Make room.' },
    ]);
    answer = { ...answer, state: 'ok' };
    await look();
    expect((await facts())[0]).to.include({ level: 'ok' });
  });

  it('what its host did not say itself changes nothing', async () => {
    answer = { ...answer, state: 'lost', message: 'the job was failed before its host reported' };
    await look();
    expect(await facts()).to.deep.equal([]);
    expect((await catalog.pool.query('select 1 from job')).rowCount).to.equal(0);
  });

  it('is only a risk where the host was the primary: what is there is brought up to date', async () => {
    await catalog.pool
      .query(`insert into run (id, plan_id, revision, mode, state, from_host, to_host, epoch, automatic, started_by,
        started_at, finished_at, approvals_needed, point, times)
      values ('r', 'p', 1, 'planned', 'done', 'h2', 'h1', 2, false, 'erika', now(), now(), 0, '{"atMs": 5}', '{}')`);
    answer = { ...answer, state: 'failed' };
    await look();
    expect((await facts())[0]).to.include({ level: 'warning' });
  });

  it('nobody is asked while a run needs the standby, or it is away; what another host said is nothing', async () => {
    running = true;
    await look();
    running = false;
    await catalog.pool.query(`update host set connection_id = '' where id = 'h2'`);
    await look();
    expect(asked).to.equal(0);
    await catalog.pool.query(`update host set connection_id = 'c' where id = 'h2'`);
    await look();
    expect(standbyFacts(plan!, await standbyLooks(catalog.pool, 'p'), 'h1')).to.deep.equal([]);
  });
});
