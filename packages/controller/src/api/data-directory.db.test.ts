import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { Job as WireJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { expect } from 'chai';

import { sourcesById } from '../fleet/sources.ts';
import { addSource, openRecoveryFixture, type RecoveryFixture } from '../testing/recovery-fixture.ts';
import { dataPlaceOf, type DataDirectoryDeps } from './data-directory.ts';
import { restoreJob } from './recovery-restore.ts';
import { unplacedRestores } from './recovery-targets.ts';

const PLAN = `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files, db]
steps:
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: files, type: restore.files, source: files, needs: [fence]}
  - {id: db, type: restore.postgres, source: db, needs: [fence]}
`;
const BASE = { version: 1, dataDirectory: '/var/lib/postgresql/15/main', tablespaces: [] };

describe('where a database lies', () => {
  let fixture: RecoveryFixture;
  let sourceId: string;

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
    sourceId = await addSource(fixture.catalog, fixture.hostIds.get('web-1')!, fixture.domainId, 'db');
    await become('postgres');
  });
  afterEach(() => fixture.close());

  const become = async (type: string): Promise<void> => {
    const value = { type, settings: [] };
    const spec = SourceSpec.fromPartial({ sourceId, name: 'db', type: { $case: 'engine', value } });
    const bytes = Buffer.from(SourceSpec.encode(spec).finish());
    await fixture.catalog.pool.query('update source set spec = $2 where id = $1', [sourceId, bytes]);
  };
  const saying = (text: string | HoldfastError): DataDirectoryDeps => ({
    catalog: fixture.catalog,
    fileContent: async function* content(_domain, _snapshot, path) {
      expect(path).to.equal('holdfast/base.json');
      if (text instanceof HoldfastError) throw text;
      yield Buffer.from(text.slice(0, 5));
      yield Buffer.from(text.slice(5));
    },
  });
  const placeIn = async (text: string | HoldfastError): Promise<unknown> => {
    const source = (await sourcesById(fixture.catalog.pool, [sourceId])).get(sourceId)!;
    return await dataPlaceOf(saying(text), source);
  };

  it('is said by its newest snapshot, with its tablespaces', async () => {
    const tablespaces = [{ oid: 7, location: '/srv/space' }];
    expect(await placeIn(JSON.stringify({ ...BASE, tablespaces }))).to.deep.equal({
      directory: '/var/lib/postgresql/15/main',
      further: ['/srv/space'],
    });
  });

  it('is not known from what can’t be read, can’t be understood, or is no directory for data', async () => {
    for (const text of [
      '{}',
      'not json',
      '{"dataDirectory":"/"}',
      '{"dataDirectory":"data"}',
      '{"dataDirectory":"/a/../b"}',
    ])
      expect(await placeIn(text), text).to.equal(undefined);
    expect(await placeIn(new HoldfastError('NOT_FOUND', 'the key is the owner’s'))).to.equal(undefined);
    await become('command');
    expect(await placeIn(JSON.stringify(BASE)), 'no such engine').to.equal(undefined);
  });

  it('is where a restore without a target goes', async () => {
    const planId = await fixture.apply(PLAN);
    const view = await fixture.view(await fixture.start(planId, 'unplanned'));
    const { rows } = await fixture.catalog.pool.query<{ id: string }>(
      `select encode(id, 'hex') as id from snapshot where source_id = $1`,
      [sourceId],
    );
    const pinned = { source: 'db', sourceId, kind: 'engine', snapshotId: rows[0]!.id, target: null, atMs: 1 } as const;
    const pointed = { ...view, run: { ...view.run, point: { ...view.run.point, sources: [pinned] } } };
    const vault = { grant: async () => Buffer.from('grant'), grantLog: () => Buffer.from('log') };
    const step = view.steps.find(({ id }) => id === 'db')!;
    const made = await restoreJob({ ...saying(JSON.stringify(BASE)), vault }, pointed, step);
    const wire = WireJob.decode(Buffer.from(made.request(randomUUID()))).kind;
    expect(wire?.$case === 'restore' && wire.value.target).to.equal('/var/lib/postgresql/15/main');
  });

  it('a plan that leaves it to the snapshots is refused when they don’t tell, before anything is fenced', async () => {
    const { plan } = checkPlan(PLAN);
    const found = async (text: string): Promise<string[]> => {
      const findings = await unplacedRestores(saying(text), fixture.domainId, plan!);
      return findings.map(({ level, subject, remedy }) => `${level} ${subject}: ${remedy}`);
    };
    expect(await found(JSON.stringify(BASE))).to.deep.equal([]);
    expect(await found('{}')).to.deep.equal(['error db: Give the step a target: the data directory on the standby.']);
  });
});
