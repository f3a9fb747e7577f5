import { setTimeout as delay } from 'node:timers/promises';

import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { expect } from 'chai';

import { openTestCatalog } from '../../testing/test-catalog.ts';
import type { AppliedPlan, Notification } from '../contract.ts';
import { lookAtPlan, type LookDeps } from './look-at-plan.ts';
import type { PlanHealth } from './plan-health.ts';
import { watchPlans } from './plan-watch.ts';

const DOCUMENT = `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@shop.test}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
secrets: [set, unset]
sources: [files, gone]
steps: [{id: look, type: manual, text: look}]
`;
const { plan } = checkPlan(DOCUMENT);
const applied: AppliedPlan = {
  id: 'p',
  domainId: 'd',
  name: 'shop',
  revision: 1,
  plan: plan!,
  findings: [],
  hostIds: new Map(),
};
const serving = { primary: 'h1', standby: 'h2' };

describe('a look at a plan', () => {
  let catalog: Awaited<ReturnType<typeof openTestCatalog>>;
  let deps: LookDeps;

  beforeEach(async () => {
    catalog = await openTestCatalog();
    const { pool } = catalog;
    await pool.query(`insert into domain (id, name, managed) values ('d', 'shop', false)`);
    await pool.query(`insert into host (id, domain_id, name, state, connection_id, last_seen_at) values
      ('h1', 'd', 'web-1', 'enrolled', 'c', now()), ('h2', 'd', 'web-2', 'enrolled', '', now() - interval '1 hour')`);
    await pool.query(`insert into source (id, host_id, name, spec) values ('s', 'h1', 'files', '')`);
    await pool.query(`insert into plan (id, domain_id, name, revision) values ('p', 'd', 'shop', 1)`);
    await pool.query(
      `insert into plan_revision (plan_id, revision, document, applied_by) values ('p', 1, $1, 'erika')`,
      [DOCUMENT],
    );
    await pool.query(`insert into plan_secret (domain_id, name, wrapped) values ('d', 'set', '')`);
    await pool.query(`insert into run (id, plan_id, revision, mode, state, from_host, to_host, epoch, automatic, started_by,
        started_at, finished_at, approvals_needed, point, times)
      values ('r', 'p', 1, 'drill', 'done', 'h1', 'h2', 1, false, 'erika', now() - interval '60 s', now(), 0, '{"atMs": 5}', '{"healthy": 7}'),
        ('open', 'p', 1, 'planned', 'running', 'h1', 'h2', 1, false, 'erika', now(), null, 0, '{"atMs": 0}', '{}')`);
    await pool.query(`insert into run_step (run_id, step_id, position, spec, state, started_at, finished_at, facts)
      values ('r', 'look', 0, '{}', 'ok', now() - interval '3 s', now() - interval '1 s', '{"bytes": "77"}')`);
    deps = {
      pool,
      knowSources: (sources) =>
        Promise.resolve(
          sources.map((source) => ({ source, newest: undefined, state: { state: 'protected', rpoMs: 30 } })),
        ),
    };
  });
  afterEach(() => catalog.close());

  it('has hosts, sources, secrets and runs as the catalog has them', async () => {
    const look = await lookAtPlan(deps, applied, serving);
    expect([look.primary, look.standby]).to.deep.equal(['web-1', 'web-2']);
    expect(look.hosts.get('web-1')?.state).to.equal('online');
    expect(look.hosts.get('web-2')).to.include({ state: 'offline' });
    expect(look.hosts.get('web-2')?.silentMs).to.be.at.least(3_600_000);
    expect([...look.sources.keys()]).to.deep.equal(['files']);
    expect(look.missingSecrets).to.deep.equal(['unset']);
    expect(look.verifiedAt).to.equal(null);
    expect(look.unverifiedBecause).to.not.equal('');
    expect(look.runs).to.have.length(1);
    expect(look.runs[0]).to.deep.include({ mode: 'drill', recoveryPointMs: 5, moments: { healthy: 7 } });
    expect(look.runs[0]?.steps).to.deep.equal([{ id: 'look', state: 'ok', tookMs: 2000, bytes: 77 }]);
  });

  it('is told to people when it lasts, once, and not while a run goes on', async () => {
    const told: Notification[] = [];
    const heard: PlanHealth[] = [];
    const watch = (running: boolean) =>
      watchPlans({
        ...deps,
        driven: () => Promise.resolve([{ applied, serving, running }]),
        notifier: { notify: (message) => Promise.resolve(void told.push(message)) },
        evidence: { sealEnded: () => Promise.resolve() },
        clock: systemClock,
        heard: (_, health) => void heard.push(health),
        log: (event, { error }) => expect.fail(`${event}: ${String(error)}`),
        everyMs: 1,
      });
    const during = watch(true);
    while (heard.length < 5) await delay(5);
    await during.stop();
    expect(told).to.deep.equal([]);
    heard.length = 0;
    const after = watch(false);
    while (told.length < 2) await delay(5);
    expect(heard.length).to.be.at.least(3);
    while (heard.length < 6) await delay(5);
    await after.stop();
    expect(heard[0]?.ready).to.equal(false);
    // The run that the catalog has missed its RPO by decades, and that is told, too.
    expect(new Set(told.map(({ template, key }) => `${template} ${key}`)).size).to.equal(2);
    const [unready] = told.filter(({ template }) => template === 'unready');
    expect(unready).to.deep.include({ template: 'unready', planId: 'p', contacts: 'everybody' });
    expect(unready?.facts['reason']).to.contain('secret unset').and.contain('web-1/gone').and.contain('web-2');
  });
});
