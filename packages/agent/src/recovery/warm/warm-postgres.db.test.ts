import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect } from 'chai';
import { expectRejection } from '@holdfast/shared/testing/expect-error';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';
import type { EngineRestore, JobReport, RestoreJob, WarmOrder } from '../../jobs/job.ts';
import { parseLsn } from '../../sources/postgres/log/lsn.ts';
import { ask, ProtectedServer } from '../../sources/postgres/restore/testing/protected-server.ts';
import { embeddedPostgres, PostgresServer } from '../../testing/postgres-server.ts';
import { eventually } from '../../testing/eventually.ts';
import { restoreJob } from '../../testing/job-deps.ts';
import type { WarmReport } from './warm-report.ts';
import { WarmDatabases } from './warm-databases.ts';

for (const [version, bin] of [
  ['15', undefined],
  ['18', embeddedPostgres()],
] as const) {
  describe(`a warm copy of PostgreSQL ${version}`, function warm() {
    this.timeout(60_000);
    let server: PostgresServer;
    let source: ProtectedServer;
    let copies: WarmDatabases;
    let reports: WarmReport[];
    const options: Record<string, string> = bin === undefined ? {} : { bindir: bin };

    const newCopies = (): WarmDatabases => {
      const deps = source.bench.deps();
      return new WarmDatabases({
        ...deps,
        identity: () => deps.identity,
        report: (report) => void reports.push(report),
      });
    };
    const run = (
      name: string,
      action: WarmOrder['action'],
      target: RecoveryTarget = { kind: 'latest' },
      more: Partial<EngineRestore> = {},
    ): Promise<JobReport> => {
      const engine = source.bench.engineRestore(source.engine(target, { start: true, port: 5502, options, ...more }));
      const warmOrder = { application: 'shop', sourceId: name, action, takeOver: false, snapshotId: '' };
      const job: RestoreJob = restoreJob(join(source.root, name), { grant: source.snapshot, engine, warm: warmOrder });
      return copies.run(job, source.bench.deps(), new AbortController().signal, () => undefined);
    };
    const replayedTo = async (name: string, lsn: string): Promise<void> => {
      const wanted = parseLsn(lsn);
      const state = (): WarmReport | undefined => reports.findLast((report) => report.sourceId === name);
      for (let tries = 0; (state()?.replayed?.order ?? 0n) < wanted; tries++) {
        if (tries > 1000)
          throw new Error(`not replayed: ${state()?.state} ${state()?.replayed?.text} ${state()?.note}`);
        await wait(20);
      }
    };
    const noteServer = async (name: string): Promise<number> => {
      const file = join(source.root, name, 'postmaster.pid');
      while (!existsSync(file)) await wait(20);
      const pid = Number(readFileSync(file, 'latin1').split('\n')[0]);
      source.started.push(pid);
      return pid;
    };

    before(async () => {
      reports = [];
      server = await PostgresServer.start(bin === undefined ? {} : { bin });
      await server.query('create table orders (id int primary key, note text)');
      await server.query(`insert into orders select g, md5(g::text) from generate_series(1, 20000) g`);
      source = new ProtectedServer(server);
      await source.firstBase();
      await server.query(`insert into orders values (100001, 'first')`);
      await source.caughtUp();
    });
    beforeEach(() => {
      copies = newCopies();
    });
    afterEach(() => copies?.stop());
    after(async () => {
      await source?.close();
      await server?.remove();
    });

    it('WP1 WP2 WP5 follows the log as it is stored, and takes over with everything, without a file of the log being whole', async () => {
      const kept = await run('taken', 'keep');
      await noteServer('taken');
      expect(kept.failure).to.equal(undefined);
      expect(kept.reached?.running).to.equal(true);
      await server.query(`insert into orders values (100002, 'while it follows')`);
      await replayedTo('taken', await source.caughtUp());
      expect(reports.at(-1)).to.include({ application: 'shop', state: 'replaying', note: '' });
      await server.query(`insert into orders values (100003, 'the last')`);
      await source.caughtUp();
      const finished = await run('taken', 'finish');
      expect(finished.failure).to.equal(undefined);
      expect(Number((await ask(finished.reached, 'select count(*) as n from orders'))['n'])).to.equal(20_003);
      await ask(finished.reached, `insert into orders values (-1, 'new') returning id`);
      const settings = await ask(
        finished.reached,
        `select current_setting('archive_mode') as archive, current_setting('primary_conninfo') as primary`,
      );
      expect(settings).to.deep.equal({ archive: 'off', primary: '' });
      expect(
        readdirSync(join(source.bench.deps().stateDir, 'warm')).filter((name) => name.endsWith('.json')),
      ).to.deep.equal([]);
      expect(reports.at(-1)?.state).to.equal('finished');
    });

    it('WP3 goes on after the agent was restarted, and after the server was killed', async () => {
      await run('again', 'keep');
      const pid = await noteServer('again');
      await copies.stop();
      await server.query(`insert into orders values (200001, 'while no agent runs')`);
      const stored = await source.caughtUp();
      copies = newCopies();
      await copies.resume();
      await replayedTo('again', stored);
      expect(existsSync(`/proc/${pid}`), 'the same server').to.equal(true);
      process.kill(pid, 'SIGQUIT');
      while (existsSync(`/proc/${pid}`)) await wait(20);
      reports = [];
      await server.query(`insert into orders values (200002, 'after it was killed')`);
      await replayedTo('again', await source.caughtUp());
      await noteServer('again');
      const finished = await run('again', 'finish');
      expect(Number((await ask(finished.reached, 'select count(*) as n from orders where id > 200000'))['n'])).to.equal(
        2,
      );
    });

    it('a second order to keep it renews its grant and restores nothing; release ends it, and a point before is refused', async () => {
      await run('renewed', 'keep');
      const pid = await noteServer('renewed');
      const again = await run('renewed', 'keep');
      expect(again.summary.bytesRead).to.equal(0);
      expect(existsSync(`/proc/${pid}`), 'the same server').to.equal(true);
      const early = { kind: 'time', atMs: Date.now() - 1000 } as const;
      const error = await expectRejection(run('renewed', 'finish', early), 'FAILED_PRECONDITION');
      expect(error.message).to.contain('can’t go back').and.contain('restored from its base');
      await run('renewed', 'release');
      await eventually(() => !existsSync(`/proc/${pid}`));
      await expectRejection(run('renewed', 'finish'), 'FAILED_PRECONDITION');
    });

    it('WP4 a hole in the log breaks it, is said, and a new base mends it', async () => {
      await run('holed', 'keep');
      await noteServer('holed');
      await copies.stop();
      const log = source.bench.log;
      const before = log.segments.length;
      await server.query(`insert into orders select g, 'lost' from generate_series(300000, 300100) g`);
      await source.caughtUp();
      await server.query(`insert into orders values (300200, 'behind')`);
      const end = await source.caughtUp();
      await source.bench.unguard();
      const all = log.segments;
      const isLog = ({ range }: (typeof all)[number]): boolean =>
        range.file === '' && range.end.order > range.start.order;
      const lost = all.slice(before).findLast((segment) => isLog(segment) && segment.range.end.order < parseLsn(end));
      log.segments = all.filter((segment) => segment !== lost);
      copies = newCopies();
      await copies.resume();
      const broken = (): WarmReport | undefined =>
        reports.findLast(({ state, sourceId }) => state === 'broken' && sourceId === 'holed');
      for (let tries = 0; broken() === undefined && tries < 500; tries++) await wait(20);
      expect(broken()?.note).to.contain('is not in the vault');
      await expectRejection(run('holed', 'finish'), 'FAILED_PRECONDITION');
      log.segments = all;
      source.bench.guard();
      reports = [];
      const mended = await run('holed', 'keep');
      expect(mended.failure).to.equal(undefined);
      await replayedTo('holed', end);
      await noteServer('holed');
      await run('holed', 'release');
    });
  });
}
