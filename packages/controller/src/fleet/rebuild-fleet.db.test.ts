import { randomUUID } from 'node:crypto';

import type { CommitRecord } from '@holdfast/shared/format/controller-record';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { expect } from 'chai';

import { specWithoutPaths } from '../api/source-identity.ts';
import { openTestCatalog } from '../testing/test-catalog.ts';
import { codeOf } from '../testing/vault-fixture.ts';
import { domainSecret, listDomains } from './domains.ts';
import { prepareFleet } from './first-start.ts';
import { listHosts } from './hosts.ts';
import { masterKeyFrom } from './master-key.ts';
import { planFleet, recreateFleet } from './rebuild-fleet.ts';
import { findSource, sourcesById } from './sources.ts';

const domain = { id: randomUUID(), name: 'default', keyEpoch: 2, secret: seededBytes('a secret', 32) };
const spec = Buffer.from(SourceSpec.encode(SourceSpec.fromPartial({ name: 'site' })).finish());
const host = randomUUID();
const statistics = { entries: 1, files: 1, bytesTotal: 1, bytesRead: 1, bytesNew: 1, bytesStored: 1, durationMs: 1 };

function commit(change: Partial<CommitRecord>): CommitRecord {
  return {
    kind: 'commit',
    snapshotId: seededBytes('a snapshot', 32),
    domainId: domain.id,
    hostId: host,
    hostName: 'web-1',
    sourceId: 'source-1',
    sourceName: 'site',
    sourceType: 'files',
    sequence: 1,
    committedAtMs: 1000,
    hostRecordPublicKey: seededBytes('old key', 32),
    statistics,
    partial: false,
    warningsTotal: 0,
    startedAtMs: 0,
    domainName: 'default',
    domainManaged: true,
    domainKeyEpoch: 2,
    sourceSpec: spec,
    ...change,
  };
}

describe('planning the fleet of a lost catalog', () => {
  it('takes the newest record of each, whatever the order, and of two sources of one name the newer one', () => {
    const newer = { committedAtMs: 2000, hostRecordPublicKey: seededBytes('new key', 32), sourceSpec: Buffer.of(1) };
    const other = commit({ sourceId: 'source-2', committedAtMs: 3000, sourceSpec: Buffer.alloc(0) });
    const commits = [commit({}), other, commit(newer)];
    for (const order of [commits, commits.toReversed()]) {
      const plan = planFleet(order, [domain], specWithoutPaths);
      expect(plan.domains).to.deep.equal([domain]);
      expect(plan.hosts.map(({ id, name }) => [id, name])).to.deep.equal([[host, 'web-1']]);
      expect(plan.sources.map(({ id, removed, withoutPaths }) => [id, removed, withoutPaths])).to.deep.equal([
        ['source-2', false, true],
        ['source-1', true, false],
      ]);
      expect(plan.sources[1]!.spec).to.deep.equal(Buffer.of(1));
    }
  });

  it('refuses a managed domain without its sheet, names it, and takes a sealed one without', () => {
    const sealed = commit({ domainId: 'sealed', domainName: 'acme', domainManaged: false });
    expect(() => planFleet([commit({}), sealed], [], specWithoutPaths)).to.throw(/default \(/);
    const plan = planFleet([commit({}), sealed], [domain], specWithoutPaths);
    expect(plan.domains).to.deep.include({ id: 'sealed', name: 'acme', keyEpoch: 2, secret: undefined });
  });
});

describe('making the fleet of a lost catalog', () => {
  it('puts the old domains in the place of the new one, with their secret, for the owner of the first start', async () => {
    const catalog = await openTestCatalog();
    const key = masterKeyFrom(Buffer.alloc(32, 3));
    await prepareFleet(catalog, key, () => undefined);
    const plan = planFleet(
      [commit({}), commit({ sourceId: 'source-0', committedAtMs: 1 })],
      [domain],
      specWithoutPaths,
    );
    const recreate = (): Promise<void> => catalog.transaction((client) => recreateFleet(client, key, plan));
    await recreate();

    expect(await listDomains(catalog.pool)).to.deep.equal([
      { id: domain.id, name: 'default', managed: true, keyEpoch: 2 },
    ]);
    expect(await domainSecret(catalog.pool, key, domain.id)).to.deep.equal(Buffer.from(domain.secret));
    const [made] = await listHosts(catalog.pool, domain.id);
    expect(made).to.include({ id: host, name: 'web-1', state: 'waiting' });
    expect(await findSource(catalog.pool, domain.id, 'web-1/site')).to.deep.include({ id: 'source-1', spec });
    expect((await sourcesById(catalog.pool, ['source-0'])).get('source-0')?.removedAt).to.be.instanceOf(Date);
    const { rows } = await catalog.pool.query('select name, role from operator join operator_role on operator_id = id');
    expect(rows).to.deep.equal([{ name: 'admin', role: 'admin' }]);

    expect(await codeOf(recreate())).to.equal('FAILED_PRECONDITION');
    await catalog.close();
  });
});
