// A sealed domain from end to end: the controller never has its key, and its hosts back up and restore all the same.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Agent } from '@holdfast/agent/agent';
import { makeSecretFile, readSecretHex } from '@holdfast/agent/link/domain-secret';
import { connectCatalog } from '@holdfast/controller/catalog/catalog';
import { codeOf, startTestController, type TestController } from '@holdfast/controller/testing/test-controller';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { expect } from 'chai';
import { outcomeOf, startEnrolledAgent } from '../fleet/in-process-agent.ts';

const DOMAIN = 'vaulted';
const SOURCE = 'web-1/site';

describe('a sealed domain', function sealed() {
  this.timeout(60_000);
  let dir: string;
  let test: TestController;
  let secret: Buffer;
  const agents: Agent[] = [];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-sealed-'));
    mkdirSync(join(dir, 'site'));
    writeFileSync(join(dir, 'site/name-to-hide'), 'content to hide');
    test = await startTestController();
    makeSecretFile(join(dir, 'secret'));
    secret = readSecretHex(join(dir, 'secret'));
    const { domain } = await test.owner.addDomain({ name: DOMAIN, sealed: true });
    expect(domain).to.include({ name: DOMAIN, sealed: true, hosts: 0 });
    for (const host of ['web-1', 'web-2'])
      agents.push(await startEnrolledAgent(test, { dir, host, domain: DOMAIN, domainSecret: secret }));
    const spec = { name: 'site', type: { $case: 'files' as const, value: { paths: [join(dir, 'site')] } } };
    await test.owner.addSource({ domain: DOMAIN, host: 'web-1', spec });
  });
  after(async () => {
    for (const agent of agents) await agent.stop();
    await test.close();
    rmSync(dir, { recursive: true });
  });

  it('is backed up on one host, verified, and restored on another', async () => {
    const { jobId } = await test.owner.startBackup({ domain: DOMAIN, source: SOURCE });
    expect((await outcomeOf(test, jobId)).result).to.equal('done');
    const target = join(dir, 'again');
    const restore = await test.owner.startRestore({ domain: DOMAIN, source: SOURCE, toHost: 'web-2', target });
    expect((await outcomeOf(test, restore.jobId)).result).to.equal('done');
    expect(readFileSync(join(target, 'name-to-hide'), 'utf8')).to.equal('content to hide');
    const verify = await test.owner.startVerify({ domain: DOMAIN, source: SOURCE });
    expect((await outcomeOf(test, verify.jobId)).result).to.equal('done');
  });

  it('can’t be browsed, and says why', async () => {
    const { snapshots } = await test.owner.listSnapshots({ domain: DOMAIN, source: SOURCE });
    const listing = test.owner.listEntries({ domain: DOMAIN, snapshotId: snapshots[0]!.id });
    const error: unknown = await (async () => {
      for await (const _ of listing) break;
    })().catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(HoldfastError);
    expect(error).to.include({ code: 'FAILED_PRECONDITION' });
    expect(String(error)).to.contain(`sealed domain ${DOMAIN}`);
  });

  it('leaves its secret nowhere in the catalog', async () => {
    const catalog = await connectCatalog(test.database);
    const { pool } = catalog;
    const { rows: tables } = await pool.query<{ name: string }>(
      `select table_name as name from information_schema.tables where table_schema = 'public'`,
    );
    expect(tables.length).to.be.greaterThan(10);
    for (const { name } of tables) {
      const { rows } = await pool.query<{ row: string }>(`select t::text as row from "${name}" t`);
      const text = rows.map(({ row }) => row).join('\n');
      for (const hidden of [secret.toString('hex'), secret.toString('base64'), 'name-to-hide', 'content to hide'])
        expect(text, name).to.not.contain(hidden);
    }
    const domain = await pool.query(`select managed, wrapped_secret from domain where name = $1`, [DOMAIN]);
    expect(domain.rows).to.deep.equal([{ managed: false, wrapped_secret: null }]);
    await catalog.close();
  });

  it('a host without the secret is told so, by a backup and by a restore, and nothing is written', async () => {
    agents.push(await startEnrolledAgent(test, { dir, host: 'web-3', domain: DOMAIN }));
    const spec = { name: 'site', type: { $case: 'files' as const, value: { paths: [join(dir, 'site')] } } };
    await test.owner.addSource({ domain: DOMAIN, host: 'web-3', spec });
    const backup = await test.owner.startBackup({ domain: DOMAIN, source: 'web-3/site' });
    const target = join(dir, 'nowhere');
    const restore = await test.owner.startRestore({ domain: DOMAIN, source: SOURCE, toHost: 'web-3', target });
    for (const { jobId } of [backup, restore]) {
      const outcome = await outcomeOf(test, jobId);
      expect(outcome).to.include({ result: 'failed', errorCode: 'FAILED_PRECONDITION' });
      expect(outcome.errorMessage).to.contain('secret');
      expect(outcome.errorHint).to.contain('holdfast-agent secret set');
    }
    expect(await codeOf(Promise.resolve().then(() => readFileSync(target)))).to.equal('ENOENT');
  });

  it('stands beside the others: listed with its figures, and made by an admin of every domain alone', async () => {
    const { domains } = await test.owner.listDomains({});
    expect(domains.map(({ name, sealed: isSealed, hosts }) => [name, isSealed, hosts])).to.deep.equal([
      ['default', false, 0],
      [DOMAIN, true, 3],
    ]);
    expect(Number(domains[1]?.storedBytes)).to.be.greaterThan(0);
    expect(await codeOf(test.owner.addDomain({ name: DOMAIN }))).to.equal('ALREADY_EXISTS');
    expect(await codeOf(test.owner.addDomain({ name: '../x' }))).to.equal('INVALID_ARGUMENT');
    const { entries } = await test.owner.listAudit({ domain: DOMAIN });
    expect(entries.map(({ action, subject }) => `${action} ${subject}`)).to.include(`domain.add ${DOMAIN} (sealed)`);
  });
});
