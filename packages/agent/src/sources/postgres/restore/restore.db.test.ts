import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect } from 'chai';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';
import type { EngineRestore } from '../../../jobs/job.ts';
import { embeddedPostgres, PostgresServer } from '../../../testing/postgres-server.ts';
import { postgresEngine } from '../engine.ts';
import { parseLsn, positionOf } from '../log/lsn.ts';
import { ask, ProtectedServer } from './testing/protected-server.ts';

for (const [version, bin] of [
  ['15', undefined],
  ['18', embeddedPostgres()],
] as const) {
  describe(`restore of PostgreSQL ${version}`, function restore() {
    this.timeout(180_000);
    let server: PostgresServer;
    let source: ProtectedServer;
    const options: Record<string, string> = bin === undefined ? {} : { bindir: bin };
    const times = { between: 0, after: 0 };
    let lsn = '';

    before(async () => {
      // Nothing commits after `times.after`, also where the tests take longer than a minute.
      const settings = { autovacuum: 'off' };
      server = await PostgresServer.start(bin === undefined ? { settings } : { bin, settings });
      await server.query('create table orders (id int primary key, note text)');
      await server.query(`insert into orders select g, md5(g::text) from generate_series(1, 20000) g`);
      source = new ProtectedServer(server);
      await source.firstBase();
      await server.query(`insert into orders values (100001, 'first')`);
      lsn = (await server.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn'))[0]!.lsn;
      await wait(30);
      times.between = Date.now();
      await wait(30);
      await server.query(`select pg_create_restore_point('before the accident')`);
      await server.query(`delete from orders where id <= 10000`);
      await wait(30);
      times.after = Date.now();
      await source.caughtUp();
    });
    after(async () => {
      await source?.close();
      await server?.remove();
    });

    const countAt = async (
      name: string,
      target: RecoveryTarget,
      more: Partial<EngineRestore> = {},
    ): Promise<number> => {
      const report = await source.restore(name, target, { options, ...more });
      expect(report.failure?.message).to.equal(undefined);
      return Number((await ask(report.reached, 'select count(*) as n from orders'))['n']);
    };

    it('P1 to a time between two commits, to the newest, to a position, to a name, and to the base alone', async () => {
      expect(await countAt('time', { kind: 'time', atMs: times.between })).to.equal(20_001);
      expect(await countAt('latest', { kind: 'latest' })).to.equal(10_001);
      expect(await countAt('lsn', { kind: 'position', text: lsn })).to.equal(20_001);
      expect(await countAt('name', { kind: 'name', name: 'before the accident' })).to.equal(20_001);
      expect(await countAt('base', { kind: 'base' })).to.equal(20_000);
    });

    it('a quiet database, to a time after its last commit: recovery ends with the log', async () => {
      const target = { kind: 'time', atMs: times.after } as const;
      expect(await countAt('quiet', target, { toEndOfLog: true })).to.equal(10_001);
      const error = await source.restore('never', target, { options }).catch((thrown: unknown) => thrown);
      expect(error).to.have.property('message').that.contains('ends before the point');
      expect(existsSync(join(source.root, 'never', 'postmaster.pid'))).to.equal(false);
    });

    it('says where it stands and how to reach it, takes writes, and acts no more as the server that it was', async () => {
      const { reached } = await source.restore('facts', { kind: 'latest' }, { options });
      expect(reached).to.include({ running: true, connect: `host=${join(source.root, 'facts')} port=5502` });
      expect(reached!.lastCommitAtMs).to.be.within(times.between, times.after);
      await ask(reached, `insert into orders values (-1, 'new') returning id`);
      const row = await ask(
        reached,
        `select current_setting('archive_mode') as archive, current_setting('primary_conninfo') as primary`,
      );
      expect(row).to.deep.equal({ archive: 'off', primary: '' });
      // Nothing in its directory is kept from it: a base backup of the restored server reads every file.
      const dataDir = join(source.root, 'facts');
      const owners = readdirSync(dataDir).map((name) => statSync(join(dataDir, name)).uid);
      expect(new Set(owners)).to.deep.equal(new Set([statSync(join(dataDir, 'PG_VERSION')).uid]));
    });

    it('without --start the directory stands alone: another server recovers from it', async () => {
      const report = await source.restore('alone', { kind: 'time', atMs: times.between }, { start: false, options });
      expect(report.reached).to.equal(undefined);
      const dataDir = join(source.root, 'alone');
      expect(readdirSync(join(dataDir, 'holdfast_wal')).some((name) => /^[0-9A-F]{24}$/.test(name))).to.equal(true);
      const again = await PostgresServer.start({ ...(bin === undefined ? {} : { bin }), dataDir, port: 5503 });
      try {
        for (let tries = 0; tries < 200; tries++) {
          if ((await again.query<{ r: boolean }>('select not pg_is_in_recovery() as r'))[0]!.r) break;
          await wait(50);
        }
        expect(Number((await again.query<{ n: string }>('select count(*) as n from orders'))[0]!.n)).to.equal(20_001);
      } finally {
        await again.remove();
      }
    });

    it('P2 refuses a directory where a server runs, and one that is not empty; --delta rewrites only what differs', async () => {
      const first = await source.restore('delta', { kind: 'latest' }, { options });
      const dataDir = join(source.root, 'delta');
      const busy = await source
        .restore('delta', { kind: 'latest' }, { options }, { delta: true })
        .catch((error: unknown) => error);
      expect(busy).to.have.property('code', 'BUSY');
      const pid = source.started.at(-1)!;
      await ask(first.reached, 'update orders set note = upper(note) where id between 15000 and 15100 returning id');
      process.kill(pid, 'SIGINT');
      while (existsSync(`/proc/${pid}`)) await wait(20);
      const full = await source.restore('delta', { kind: 'latest' }, { options }).catch((error: unknown) => error);
      expect(full).to.have.property('code', 'FAILED_PRECONDITION');
      const merged = await source
        .restore('delta', { kind: 'latest' }, { options }, { intoNonEmpty: true })
        .catch((error: unknown) => error);
      expect(merged).to.have.property('message').that.contains('no cluster is merged');
      writeFileSync(join(dataDir, 'base', 'stray'), 'stray');
      // Ended when the first file is reported: what is there by then is no database system to any server.
      const ended = await source
        .restore('delta', { kind: 'latest' }, { options }, { delta: true }, new AbortController())
        .catch((error: unknown) => error);
      expect(ended).to.have.property('code', 'CANCELLED');
      expect(existsSync(join(dataDir, 'global', 'pg_control'))).to.equal(false);
      const again = await source.restore('delta', { kind: 'latest' }, { options }, { delta: true });
      expect(again.summary.bytesRead).to.be.lessThan(first.summary.bytesRead / 2);
      expect(existsSync(join(dataDir, 'base', 'stray'))).to.equal(false);
      const row = await ask(
        again.reached,
        `select count(*) filter (where note ~ '[A-F]') as upper, count(*) as n from orders`,
      );
      expect(row).to.deep.equal({ upper: '0', n: '10001' });
    });

    it('stops before a damaged piece of the log, and says where', async () => {
      // It would put the piece right by merging it with others.
      await source.bench.unguard();
      const segment = source.bench.log.segments
        .filter(({ range }) => range.file === '' && range.end.order > range.start.order)
        .toSorted((a, b) => (a.range.end.order < b.range.end.order ? 1 : -1))[0]!;
      const at = segment.envelope.length - 3;
      segment.envelope[at] = segment.envelope[at]! ^ 1;
      try {
        const { failure, reached } = await source.restore('damaged', { kind: 'latest' }, { options });
        expect(failure).to.have.property('code', 'DAMAGED');
        expect(reached!.position.order < segment.range.end.order).to.equal(true);
        const error = await source
          .restore('damaged-lsn', { kind: 'position', text: positionOf(segment.range.end.order).text }, { options })
          .catch((thrown: unknown) => thrown);
        expect(error).to.have.property('code', 'DAMAGED');
      } finally {
        segment.envelope[at] ^= 1;
        source.bench.guard();
      }
    });

    it('a restore test brings it up, asks it, and leaves nothing', async () => {
      const before = readdirSync('/var/tmp');
      const job = source.bench.verifyJob(source.snapshot);
      const restoreTest = { ...source.bench.engineRestore(source.engine({ kind: 'latest' }, { options })) };
      restoreTest.source = {
        ...restoreTest.source,
        settings: { ...restoreTest.source.settings, 'verify-query': 'select count(*), max(id) from orders' },
      };
      const report = await postgresEngine.verify(
        { ...job, restoreTest },
        source.bench.deps(),
        new AbortController().signal,
        () => undefined,
      );
      expect(report.reached!.facts).to.include({ query: '10001 | 100001' });
      if (bin === undefined) expect(report.reached!.facts).to.include({ manifest: 'ok', amcheck: 'ok' });
      expect(report.reached!.running).to.equal(false);
      expect(readdirSync('/var/tmp').filter((name) => !before.includes(name))).to.deep.equal([]);
    });

    it('P1 after a SIGKILL of the server under load: every acknowledged transaction that is stored is there, none after', async () => {
      await server.query('create table load (id int primary key)');
      const client = await server.connect();
      let acknowledged = 0;
      const writing = (async () => {
        for (let id = 1; ; id++) {
          await client.query('insert into load values ($1)', [id]);
          acknowledged = id;
        }
      })().catch(() => undefined);
      await wait(1500);
      // Before the position is asked for: what is acknowledged meanwhile may lie behind it.
      const sure = acknowledged;
      const [row] = await server.query<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
      while ((source.stored?.order ?? 0n) < parseLsn(row!.lsn)) await wait(20);
      await server.kill();
      await writing;
      await wait(300);
      const report = await source.restore('killed', { kind: 'latest' }, { options });
      const found = await ask(report.reached, 'select count(*)::int as n, max(id) as top from load');
      expect(found['n']).to.equal(found['top']);
      expect(Number(found['n'])).to.be.within(sure, acknowledged + 1);
    });
  });
}

describe('restore over a promotion', function promotion() {
  this.timeout(120_000);
  let server: PostgresServer;
  let source: ProtectedServer;

  before(async () => {
    server = await PostgresServer.start();
    await server.query('create table t (id int primary key)');
    await server.query('insert into t values (1)');
    source = new ProtectedServer(server);
    await source.firstBase();
    await server.query('insert into t values (2)');
    await source.caughtUp();
    await server.stop();
    writeFileSync(join(server.dataDir, 'standby.signal'), '');
    await server.run();
    await server.query('select pg_promote()');
    await server.query('insert into t values (3)');
    await source.caughtUp();
  });
  after(async () => {
    await source?.close();
    await server?.remove();
  });

  it('from a base on the old timeline to the newest point on the new one, and to a point on the old one', async () => {
    const streams = source.bench.log.segments.map(({ range }) => range.stream.timeline);
    expect(new Set(streams)).to.deep.equal(new Set([1, 2]));
    const base = source.bench.vault.points[0]!;
    source.snapshot = source.bench.vault.snapshots[0]!;
    const end = (timeline: number) =>
      source.bench.log.segments
        .filter(({ range }) => range.file === '' && range.stream.timeline === timeline)
        .map(({ range }) => range.end)
        .toSorted((a, b) => (a.order < b.order ? 1 : -1))[0]!;
    const log = (timeline: number) => ({
      stream: { systemIdentifier: base.stream.systemIdentifier, timeline },
      end: end(timeline),
      grant: Buffer.alloc(0),
    });
    const newest = await source.restore('newest', { kind: 'latest' }, { log: log(2) });
    expect((await ask(newest.reached, 'select sum(id)::int as sum from t'))['sum']).to.equal(6);
    expect(newest.reached!.stream.timeline).to.equal(2);
    const old = await source.restore('old', { kind: 'latest' }, { log: log(1), port: 5504 });
    expect((await ask(old.reached, 'select sum(id)::int as sum from t'))['sum']).to.equal(3);
  });
});
