import { FilesSource, SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { expect } from 'chai';

import { reprotect } from '../../api/recovery-reprotect.ts';
import { sourcesOfHost } from '../../fleet/sources.ts';
import { addSource, openRecoveryFixture, type RecoveryFixture } from '../../testing/recovery-fixture.ts';

const PLAN = `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
steps:
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: files, type: restore.files, source: files, target: /srv/standby, needs: [fence]}
  - {id: switch, type: traffic, in: [unplanned, planned], via: [{address: {ip: 10.0.0.9/24, dev: eth0}}], needs: [files, fence]}
  - {id: after, type: manual, in: [unplanned], text: look at it, needs: [switch]}
`;

const BASE = { dataDirectory: '/var/lib/postgresql/15/main', tablespaces: [{ oid: 1, location: '/srv/space' }] };

async function* fileContent(): AsyncGenerator<Buffer> {
  yield Buffer.from(JSON.stringify(BASE));
}

/** A source of the host of another type than files, or with other settings. */
async function respecify(
  fixture: RecoveryFixture,
  host: string,
  name: string,
  type: SourceSpec['type'],
): Promise<void> {
  const hostId = fixture.hostIds.get(host) ?? '';
  const known = (await sourcesOfHost(fixture.catalog.pool, hostId)).find((one) => one.name === name);
  const id = known?.id ?? (await addSource(fixture.catalog, hostId, fixture.domainId, name));
  const spec = SourceSpec.fromPartial({ sourceId: id, name, ...(type === undefined ? {} : { type }) });
  await fixture.catalog.pool.query('update source set spec = $2 where id = $1', [
    id,
    Buffer.from(SourceSpec.encode(spec).finish()),
  ]);
}

describe('protection after a failover', () => {
  let fixture: RecoveryFixture;
  let planId: string;

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
    planId = await fixture.apply(PLAN);
    const { failover } = fixture.replica('one', fixture.catalog, {
      reprotect: (view) => reprotect({ ...fixture, fileContent }, view),
    });
    await failover.drive(planId);
  });
  afterEach(() => fixture.close());

  const settled = async (check: () => Promise<boolean>): Promise<void> => {
    while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 10));
  };

  it('RP1 from the switch on, before any commit, the new primary has the sources, where they were restored to, and is backed up', async () => {
    const runId = await fixture.start(planId, 'unplanned');
    await settled(async () => (await fixture.view(runId)).run.protectedAt !== null);
    expect((await fixture.view(runId)).run.state).to.equal('running');
    const [source] = await sourcesOfHost(fixture.catalog.pool, fixture.hostIds.get('web-2')!);
    const spec = SourceSpec.decode(source!.spec);
    expect(spec.type?.$case === 'files' && spec.type.value.paths).to.deep.equal(['/srv/standby']);
    await settled(async () => fixture.hosts.worked.some(({ host, kind }) => host === 'web-2' && kind === 'backup'));
  });

  it('RP2 after the commit what the old one held is kept and locked, once it can be reached', async () => {
    const web1 = fixture.hostIds.get('web-1')!;
    const runId = await fixture.start(planId, 'unplanned');
    await settled(async () => (await fixture.view(runId)).steps.some(({ state }) => state === 'waiting'));
    await fixture.act(runId, 'done');
    await fixture.until(runId, ['awaiting-commit']);
    expect(
      fixture.hosts.worked.filter(({ host, kind }) => host === 'web-1' && kind === 'backup'),
      'not before',
    ).to.deep.equal([]);
    await fixture.catalog.pool.query(`update host set connection_id = '' where id = $1`, [web1]);
    await fixture.act(runId, 'commit');
    await fixture.until(runId, ['reprotecting']);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await fixture.view(runId)).run).to.deep.include({ state: 'reprotecting', diverged: {} });
    await fixture.catalog.pool.query(`update host set connection_id = 'x' where id = $1`, [web1]);
    const done = await fixture.until(runId, ['done']);
    expect(done.run.diverged['files']?.state).to.equal('taken');
    const { rows } = await fixture.catalog.pool.query<{ id: string }>(
      `select encode(l.snapshot_id, 'hex') as id from snapshot_lock l join snapshot s on s.id = l.snapshot_id where s.host_id = $1 and l.name = 'diverged'`,
      [web1],
    );
    expect(rows.map(({ id }) => id)).to.deep.equal([done.run.diverged['files']?.snapshotId]);
  });

  it('RP2 what can’t be kept waits for a person, who has it tried again or gives it up', async () => {
    const runId = await fixture.start(planId, 'unplanned');
    await settled(async () => (await fixture.view(runId)).steps.some(({ state }) => state === 'waiting'));
    await fixture.act(runId, 'done');
    await fixture.until(runId, ['awaiting-commit']);
    fixture.hosts.answers = ({ host, kind }) => (host === 'web-1' && kind === 'backup' ? 'failed' : undefined);
    await fixture.act(runId, 'commit');
    const asked = (): number =>
      fixture.hosts.worked.filter(({ host, kind }) => host === 'web-1' && kind === 'backup').length;
    await settled(async () => (await fixture.view(runId)).run.diverged['files']?.state === 'failed');
    expect(asked()).to.equal(1);
    await fixture.act(runId, 'retry');
    await settled(async () => asked() === 2 && (await fixture.view(runId)).run.diverged['files']?.message !== '');
    await fixture.act(runId, 'skip');
    const done = await fixture.until(runId, ['done']);
    expect(done.run.diverged['files']).to.include({ state: 'skipped', message: 'given up by operator ann' });
  });

  it('RP2 of a database whose server was stopped its directories are kept, as files, by nobody’s hand', async () => {
    await respecify(fixture, 'web-1', 'files', { $case: 'engine', value: { type: 'postgres', settings: [] } });
    const runId = await fixture.start(planId, 'unplanned');
    await settled(async () => (await fixture.view(runId)).steps.some(({ state }) => state === 'waiting'));
    await fixture.act(runId, 'done');
    await fixture.until(runId, ['awaiting-commit']);
    const stopped = ({ host, name }: { host: string; name: string }): boolean =>
      host === 'web-1' && name === 'web-1/files';
    fixture.hosts.answers = (work) => (work.kind === 'backup' && stopped(work) ? 'failed' : undefined);
    await fixture.act(runId, 'commit');
    const { run } = await fixture.until(runId, ['done']);
    expect(run.diverged['files']).to.include({ state: 'taken', message: 'as files, in web-1/files.diverged' });
    const job = fixture.hosts.seen.at(-1)?.kind;
    const spec = job?.$case === 'backup' ? job.value.source?.type : undefined;
    expect(spec?.$case === 'files' && spec.value.paths).to.deep.equal(['/var/lib/postgresql/15/main', '/srv/space']);
    const { rows } = await fixture.catalog.pool.query<{ id: string; live: boolean }>(
      `select encode(l.snapshot_id, 'hex') as id, o.removed_at is null as live from snapshot_lock l
         join snapshot s on s.id = l.snapshot_id join source o on o.id = s.source_id where o.name = 'files.diverged'`,
    );
    expect(rows).to.deep.equal([{ id: run.diverged['files']?.snapshotId, live: false }]);
  });

  it('RP1 what was continuous stays so, and the new primary has a blueprint, too, for the way back', async () => {
    const settings = { excludes: ['*.tmp'], continuous: true, scanEverySeconds: 7 };
    const before = FilesSource.fromPartial({ ...settings, paths: ['/srv/shop'] });
    await respecify(fixture, 'web-1', 'files', { $case: 'files', value: before });
    await respecify(fixture, 'web-1', 'server', { $case: 'engine', value: { type: 'blueprint', settings: [] } });
    const runId = await fixture.start(planId, 'unplanned');
    await settled(async () => (await fixture.view(runId)).run.protectedAt !== null);
    const there = await sourcesOfHost(fixture.catalog.pool, fixture.hostIds.get('web-2')!);
    expect(there.map(({ name }) => name)).to.deep.equal(['files', 'server']);
    const [files] = there.map(({ spec }) => SourceSpec.decode(spec).type);
    expect(files?.value).to.deep.include({ ...settings, paths: ['/srv/standby'] });
    const backedUp = (name: string) => (work: { host: string; name: string; kind: string }) =>
      work.host === 'web-2' && work.kind === 'backup' && work.name === `web-2/${name}`;
    await settled(async () => ['files', 'server'].every((name) => fixture.hosts.worked.some(backedUp(name))));
  });
});
