import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect } from 'chai';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';
import type { JobReport } from '../../../jobs/job.ts';
import { embeddedPostgres, PostgresServer } from '../../../testing/postgres-server.ts';
import { ask, ProtectedServer } from './testing/protected-server.ts';

describe('restore of tablespaces', function tablespaces() {
  this.timeout(120_000);
  let server: PostgresServer;
  let source: ProtectedServer;
  let oid = '';

  before(async () => {
    server = await PostgresServer.start();
    await server.query(`create tablespace space location '${server.folder('space')}'`);
    await server.query('create table t tablespace space as select g as id from generate_series(1, 50000) g');
    oid = (
      await server.query<{ oid: string }>(`select oid::text as oid from pg_tablespace where spcname = 'space'`)
    )[0]!.oid;
    source = new ProtectedServer(server);
    await source.firstBase();
    await server.query('insert into t values (0)');
    await source.caughtUp();
  });
  after(async () => {
    await source?.close();
    await server?.remove();
  });

  const countIn = async (report: JobReport): Promise<number> => {
    const count = Number((await ask(report.reached, 'select count(*) as n from t'))['n']);
    process.kill(source.started.at(-1)!, 'SIGINT');
    while (existsSync(`/proc/${source.started.at(-1)!}`)) await wait(20);
    return count;
  };

  it('in place, where nothing leads to the one that is in use, also by delta; and to a place of its own', async () => {
    const used = (await server.query<{ path: string }>(`select pg_relation_filepath('t') as path`))[0]!.path;
    await server.query('checkpoint');
    const inUse = join(server.dataDir, used);
    const before = { bytes: readFileSync(inUse), stat: statSync(inUse) };
    const first = await source.restore('place', { kind: 'latest' });
    expect(await countIn(first)).to.equal(50_001);
    const again = await source.restore('place', { kind: 'latest' }, {}, { delta: true });
    expect(await countIn(again)).to.equal(50_001);
    expect(again.summary.bytesRead).to.be.lessThan(first.summary.bytesRead / 4);
    expect(lstatSync(join(source.root, 'place/pg_tblspc', oid)).isDirectory()).to.equal(true);
    // What an attacker, or an older base, might have left there.
    rmSync(join(source.root, 'place/pg_tblspc', oid), { recursive: true });
    symlinkSync(server.folderOf('space'), join(source.root, 'place/pg_tblspc', oid));
    expect(await countIn(await source.restore('place', { kind: 'base' }, {}, { delta: true }))).to.equal(50_000);
    expect(readFileSync(inUse).equals(before.bytes)).to.equal(true);
    expect(statSync(inUse)).to.deep.include({
      ino: before.stat.ino,
      uid: before.stat.uid,
      mtimeMs: before.stat.mtimeMs,
    });

    const own = join(source.root, 'own');
    const options = { [`tablespace.${oid}`]: own };
    expect(await countIn(await source.restore('mapped', { kind: 'latest' }, { options }))).to.equal(50_001);
    expect(readlinkSync(join(source.root, 'mapped/pg_tblspc', oid))).to.equal(own);
    const refused = await source.restore('mapped2', { kind: 'latest' }, { options }).catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'FAILED_PRECONDITION');
    expect(existsSync(join(source.root, 'mapped2'))).to.equal(false);
  });
});

for (const [version, bin] of [
  ['15', undefined],
  ['18', embeddedPostgres()],
] as const) {
  describe(`restore of a tablespace that the log creates, of PostgreSQL ${version}`, function logTablespaces() {
    this.timeout(120_000);
    let server: PostgresServer;
    let source: ProtectedServer;
    let oid = '';

    before(async () => {
      const settings = { autovacuum: 'off' };
      server = await PostgresServer.start({ settings, ...(bin === undefined ? {} : { bin }) });
      source = new ProtectedServer(server, bin === undefined ? {} : { bindir: bin });
      await source.firstBase();
      await server.query(`create tablespace later location '${server.folder('later')}'`);
      [{ oid }] = (await server.query<{ oid: string }>(
        `select oid::text as oid from pg_tablespace where spcname = 'later'`,
      )) as [{ oid: string }];
      await server.query('create table t tablespace later as select g as id from generate_series(1, 10000) g');
      await source.caughtUp();
      await server.query('insert into t select g from generate_series(10001, 20000) g');
      // From now on production itself has no reason to write its files: who does is a restored server.
      await server.query('vacuum freeze t');
      await server.query('checkpoint');
    });
    after(async () => {
      await source?.close();
      await server?.remove();
    });

    const filesIn = (directory: string): string[] =>
      readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => {
          const path = join(entry.parentPath, entry.name);
          const { ino, uid, mtimeMs } = statSync(path);
          return [path, ino, uid, mtimeMs, createHash('sha256').update(readFileSync(path)).digest('hex')].join(' ');
        })
        .toSorted();
    const end = async (): Promise<void> => {
      process.kill(source.started.at(-1)!, 'SIGINT');
      while (existsSync(`/proc/${source.started.at(-1)!}`)) await wait(20);
    };
    const newest = async (): Promise<RecoveryTarget> => {
      await source.caughtUp();
      return { kind: 'latest' };
    };

    it('P4 on production’s own host: production’s directory stays as it is, and the tablespace is in the target', async () => {
      const target = await newest();
      const before = filesIn(server.folderOf('later'));
      expect(before.length).to.be.greaterThan(0);
      const report = await source.restore('inside', target);
      expect(await ask(report.reached, 'select count(*)::int as n from t')).to.deep.equal({ n: 20_000 });
      await ask(report.reached, 'update t set id = -id where id < 5000 returning id');
      await ask(report.reached, `select pg_relation_filepath('t') as path`);
      await end();
      expect(filesIn(server.folderOf('later'))).to.deep.equal(before);
      expect(lstatSync(join(source.root, 'inside/pg_tblspc', oid)).isDirectory()).to.equal(true);
      expect(report.warnings.map(({ message }) => message).join()).to.contain(`tablespace.${oid}=/path`);
      expect((await server.query<{ n: number }>('select count(*)::int as n from t'))[0]!.n).to.equal(20_000);
    });

    it('in a place of its own, which must be empty', async () => {
      const place = join(source.root, 'place');
      const options = { [`tablespace.${oid}`]: place };
      const report = await source.restore('mapped', await newest(), { options });
      expect(await ask(report.reached, 'select count(*)::int as n from t')).to.deep.equal({ n: 20_000 });
      await end();
      expect(report.warnings).to.deep.equal([]);
      expect(readlinkSync(join(source.root, 'mapped/pg_tblspc', oid))).to.equal(place);
      expect(filesIn(place).length).to.be.greaterThan(0);
      const again = await source.restore('mapped2', { kind: 'latest' }, { options }).catch((error: unknown) => error);
      expect(again).to.have.property('code', 'FAILED_PRECONDITION');
      expect(existsSync(join(source.root, 'mapped2'))).to.equal(false);
    });

    it('a place for a tablespace that the log does not create is named, and nothing leads there', async () => {
      const report = await source.restore('none', await newest(), {
        options: { 'tablespace.77': join(source.root, 'no') },
      });
      await end();
      expect(report.warnings.map(({ path }) => path)).to.have.members([`pg_tblspc/${oid}`, 'pg_tblspc/77']);
      expect(existsSync(join(source.root, 'none/pg_tblspc/77'))).to.equal(false);
    });

    it('P4 without --start: whoever starts the directory, production’s stays as it is', async () => {
      const target = await newest();
      const before = filesIn(server.folderOf('later'));
      const report = await source.restore('lying', target, { start: false });
      expect(report.warnings.map(({ path }) => path)).to.deep.equal([`pg_tblspc/${oid}`]);
      const dataDir = join(source.root, 'lying');
      const again = await PostgresServer.start({ ...(bin === undefined ? {} : { bin }), dataDir, port: 5503 });
      try {
        while ((await again.query<{ r: boolean }>('select pg_is_in_recovery() as r'))[0]!.r) await wait(50);
        expect((await again.query<{ n: number }>('select count(*)::int as n from t'))[0]!.n).to.equal(20_000);
        await again.query('update t set id = -id');
      } finally {
        await again.remove();
      }
      expect(filesIn(server.folderOf('later'))).to.deep.equal(before);
    });
  });
}
