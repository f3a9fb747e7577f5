import { randomBytes } from 'node:crypto';

import { decodeReport } from '@holdfast/shared/recovery/report';
import { isSigned } from '@holdfast/shared/recovery/report-signature';
import { expectRejection } from '@holdfast/shared/testing/expect-error';
import { expect } from 'chai';

import { masterKeyFrom } from '../../fleet/master-key.ts';
import { openTestCatalog } from '../../testing/test-catalog.ts';
import { openEvidence, type Evidence } from './evidence.ts';

const DOCUMENT = `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@shop.test}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
steps: [{id: look, type: manual, text: look}]
`;

describe('evidence', () => {
  let catalog: Awaited<ReturnType<typeof openTestCatalog>>;
  const masterKey = masterKeyFrom(randomBytes(32));
  const open = (key = masterKey): Promise<Evidence> => openEvidence({ catalog, masterKey: key, version: '0.1.0' });

  beforeEach(async () => {
    catalog = await openTestCatalog();
    const { pool } = catalog;
    await pool.query(`insert into domain (id, name, managed) values ('d', 'default', false)`);
    await pool.query(
      `insert into host (id, domain_id, name, state) values ('h1', 'd', 'web-1', 'enrolled'), ('h2', 'd', 'web-2', 'enrolled')`,
    );
    await pool.query(`insert into plan (id, domain_id, name, revision) values ('evident', 'd', 'shop', 2)`);
    await pool.query(
      `insert into plan_revision (plan_id, revision, document, applied_by) values ('evident', 1, $1, 'erika'), ('evident', 2, $2, 'paul')`,
      [DOCUMENT, DOCUMENT.replace('15m', '20m')],
    );
    await pool.query(`insert into run (id, plan_id, revision, mode, state, from_host, to_host, epoch, automatic, started_by,
        started_at, finished_at, approvals_needed, point, times)
      values ('ended', 'evident', 1, 'planned', 'done', 'h1', 'h2', 3, false, 'erika', '2026-11-23T04:00:00Z', '2026-11-23T04:05:00Z', 0,
          '{"findings": [], "atMs": 1795406400000}', '{"lastSignOfLife": 1795406401000, "healthy": 1795406405000}'),
        ('open', 'evident', 2, 'unplanned', 'paused', 'h1', 'h2', 4, false, 'erika', '2026-11-23T05:00:00Z', null, 0, '{"findings": [], "atMs": 0}', '{}')`);
    await pool.query(`insert into run_step (run_id, step_id, position, spec, host_id, state, attempt, message)
      values ('ended', 'look', 0, '{"id": "look", "type": "manual", "needs": []}', null, 'ok', 1, 'looked')`);
    await pool.query(`insert into run_event (run_id, sequence, actor, term, step_id, kind, message)
      values ('ended', 1, 'operator erika', 0, 'look', 'action', 'done: all is well')`);
  });
  afterEach(() => catalog.close());

  it('K1 replicas that start at once, and later starts, sign with one key', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => open()));
    const keys = new Set([...all, await open()].map(({ publicKey }) => publicKey.toString('hex')));
    expect(keys.size).to.equal(1);
    expect([...keys][0]).to.have.length(64);
    await expectRejection(open(masterKeyFrom(randomBytes(32))), 'FAILED_PRECONDITION');
  });

  it('a report says what the rows say, of the revision that was carried out', async () => {
    const report = decodeReport((await (await open()).reportOf('ended')).report);
    expect(report.plan).to.include({ name: 'shop', revision: 1, appliedBy: 'erika', document: DOCUMENT });
    expect(report.domain).to.equal('default');
    expect(report.run).to.include({
      mode: 'planned',
      fromHost: 'web-1',
      toHost: 'web-2',
      finishedAt: '2026-11-23T04:05:00.000Z',
    });
    expect(report.objectives.rto).to.deep.equal({ promisedMs: 900_000, measuredMs: 4000, met: true });
    expect(report.objectives.rpo.measuredMs).to.equal(1000);
    expect(report.steps).to.have.length(1);
    expect(report.decisions.map(({ actor, message }) => [actor, message])).to.deep.equal([
      ['operator erika', 'done: all is well'],
    ]);
  });

  it('V1 a report is signed once: what the rows say later changes nothing', async () => {
    const evidence = await open();
    const first = await evidence.reportOf('ended');
    expect(isSigned(first)).to.equal(true);
    await catalog.pool.query(`update run set started_by = 'somebody else' where id = 'ended'`);
    expect(await evidence.reportOf('ended')).to.deep.equal(first);
    expect(await (await open()).reportOf('ended')).to.deep.equal(first);
  });

  it('a run that goes on has a report without a signature; one that is not there has none', async () => {
    const evidence = await open();
    expect((await evidence.reportOf('open')).signature).to.have.length(0);
    await catalog.pool.query(`update run set finished_at = now(), state = 'done' where id = 'open'`);
    expect(isSigned(await evidence.reportOf('open'))).to.equal(true);
    await expectRejection(evidence.reportOf('gone'), 'NOT_FOUND');
  });

  it('V2 a run that has ended gets its report also when nobody asks', async () => {
    const evidence = await open();
    await evidence.sealEnded();
    const { rows } = await catalog.pool.query('select run_id from run_report');
    expect(rows).to.deep.equal([{ run_id: 'ended' }]);
    await evidence.sealEnded();
  });
});
