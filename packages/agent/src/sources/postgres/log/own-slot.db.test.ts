import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectRejection } from '@holdfast/shared/testing/expect-error';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import { expect } from 'chai';
import type { EngineSpec } from '../../../jobs/job.ts';
import { testJobDeps } from '../../../testing/job-deps.ts';
import { MemoryLog } from '../../../testing/memory-log.ts';
import { MemoryVault } from '../../../testing/memory-vault.ts';
import { PostgresServer } from '../../../testing/postgres-server.ts';
import { registryOf } from '../../registry.ts';
import { newSourceProtection, type SourceProtection } from '../../source-protection.ts';
import { postgresEngine } from '../engine.ts';
import { until } from './testing/log-fixture.ts';

describe('the slot of a source that is not there any more', function slots() {
  this.timeout(60_000);
  let servers: PostgresServer[];
  let stateDir: string;
  let log: MemoryLog;
  let protection: SourceProtection;

  before(async () => {
    servers = await Promise.all([PostgresServer.start(), PostgresServer.start({ port: 5502 })]);
  });
  after(async () => {
    for (const server of servers) await server.remove();
  });
  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'holdfast-slot-'));
    log = new MemoryLog();
    protection = startAgent();
  });
  afterEach(async () => {
    await protection.stop();
    rmSync(stateDir, { recursive: true });
    for (const server of servers) {
      await until(async () => {
        await server.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active');
        return (await slotsOf(server)) === 0;
      });
    }
  });

  const deps = () => ({ ...testJobDeps({ ...new MemoryVault().client, ...log.client }), stateDir });
  const startAgent = (): SourceProtection =>
    newSourceProtection({
      ...deps(),
      registry: registryOf({ postgres: () => Promise.resolve(postgresEngine) }),
      identity: () => deps().identity,
      clock: systemClock,
      log: silentLog,
      random: () => 0,
      runBackup: () => new Promise(() => undefined),
      report: () => undefined,
      forgetReport: () => undefined,
    });
  const sourceAt = (server: PostgresServer): EngineSpec => ({
    sourceId: 'db-1',
    name: 'db',
    type: 'engine',
    engine: { type: 'postgres', settings: { dsn: server.dsn } },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  });
  const slotsOf = async (server: PostgresServer): Promise<number> =>
    (await server.query('select 1 from pg_replication_slots')).length;
  const isFollowed = (server: PostgresServer): Promise<void> =>
    until(async () => (await server.query('select 1 from pg_replication_slots where active')).length === 1);

  it('is dropped when the source is taken away, and when it becomes another server', async () => {
    const [one, two] = servers as [PostgresServer, PostgresServer];
    protection.update([sourceAt(one)]);
    await isFollowed(one);
    protection.update([sourceAt(two)]);
    await isFollowed(two);
    await until(async () => (await slotsOf(one)) === 0);
    protection.update([]);
    await until(async () => (await slotsOf(two)) === 0);
  });

  it('is dropped once its server is reached again, also by the next agent', async () => {
    const [one, two] = servers as [PostgresServer, PostgresServer];
    protection.update([sourceAt(one)]);
    await isFollowed(one);
    await one.kill();
    protection.update([sourceAt(two)]);
    await isFollowed(two);
    await protection.stop();
    protection = startAgent();
    protection.update([sourceAt(two)]);
    await one.run();
    expect(await slotsOf(one)).to.equal(1);
    await until(async () => (await slotsOf(one)) === 0);
    expect(await slotsOf(two)).to.equal(1);
  });

  it('is dropped also when the source was taken away while no agent ran', async () => {
    const [one] = servers as [PostgresServer];
    protection.update([sourceAt(one)]);
    await isFollowed(one);
    await protection.stop();
    expect(await slotsOf(one)).to.equal(1);
    protection = startAgent();
    protection.update([]);
    await until(async () => (await slotsOf(one)) === 0);
  });

  it('takes with it a base that is still being taken there', async () => {
    const [one, two] = servers as [PostgresServer, PostgresServer];
    protection.update([sourceAt(one)]);
    await isFollowed(one);
    log.beforeStore = () => new Promise(() => undefined);
    const job = { kind: 'backup', jobId: 'job', fullRead: false, source: sourceAt(one) } as const;
    const base = postgresEngine.base(job, deps(), new AbortController().signal, () => undefined);
    base.catch(() => undefined);
    await until(async () => (await one.query(`select 1 from pg_stat_activity where query ~ 'BASE_BACKUP'`)).length > 0);
    protection.update([sourceAt(two)]);
    await expectRejection(base, 'FAILED_PRECONDITION');
  });
});
