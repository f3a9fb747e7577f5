import { chmodSync, closeSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import type { EngineSpec, JobReport } from '../../../jobs/job.ts';
import type { ContentCheck } from '../../../restore/content-check.ts';
import { runVerify } from '../../../restore/restore.ts';
import { testJobDeps, verifyJob } from '../../../testing/job-deps.ts';
import { MemoryVault } from '../../../testing/memory-vault.ts';
import { embeddedPostgres, PostgresServer } from '../../../testing/postgres-server.ts';
import { removeScratchDirectories, scratchDirectory } from '../../../testing/scratch-directory.ts';
import { TEST_DOMAIN, TEST_SECRET } from '../../../testing/snapshot-builder.ts';
import { pipelinesOf, registryOf } from '../../registry.ts';
import { postgresEngine } from '../engine.ts';
import { manifestCheck } from '../restore/manifest-check.ts';
import { noteStoredLog, type StoredLogNotes } from '../stored-log.ts';
import { decodeFacts, FACTS_PATH } from './base-facts.ts';
import { runBase } from './base.ts';

const keys = deriveDomainKeys(TEST_SECRET, TEST_DOMAIN, 0);
const EVERYTHING = 2n ** 62n;

for (const [version, bin] of [
  ['15', undefined],
  ['18', embeddedPostgres()],
] as const) {
  describe(`base backup of PostgreSQL ${version}`, function base() {
    this.timeout(120_000);
    let server: PostgresServer;
    let vault: MemoryVault;
    let stateDir: string;
    let notes: StoredLogNotes;

    before(async () => {
      server = await PostgresServer.start(bin === undefined ? {} : { bin });
      const folder = server.folder('space');
      await server.query(`create tablespace space location '${folder}'`);
      await server.query('create table here as select g as id, md5(g::text) as word from generate_series(1, 40000) g');
      await server.query('create table there tablespace space as select * from here');
      await server.query('create index on here (id)');
    });
    after(async () => server.remove());
    beforeEach(async () => {
      vault = new MemoryVault();
      stateDir = scratchDirectory();
      notes = noteStoredLog('db-1');
      const [row] = await server.query<{ id: string }>('select system_identifier::text as id from pg_control_system()');
      notes.stored({ systemIdentifier: row!.id, timeline: 1 }, EVERYTHING);
    });
    afterEach(() => {
      notes.stop();
      removeScratchDirectories();
    });

    const source = (more: Record<string, string> = {}): EngineSpec => ({
      sourceId: 'db-1',
      name: 'db',
      type: 'engine',
      engine: { type: 'postgres', settings: { dsn: server.dsn, ...more } },
      hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
      limitBytesPerSecond: 0,
      compression: { codec: 'zstd', level: 0 },
    });
    const run = (signal = new AbortController().signal, more: Record<string, string> = {}): Promise<JobReport> =>
      runBase(
        { kind: 'backup', jobId: 'job', fullRead: false, source: source(more) },
        { ...testJobDeps(vault.client), stateDir },
        signal,
        () => undefined,
      );
    const fileOf = async (table: string): Promise<string> =>
      (await server.query<{ path: string }>('select pg_relation_filepath($1::regclass) as path', [table]))[0]!.path;

    it('B1 has every relation as the server has it, its tablespaces, manifest and facts', async () => {
      await server.query('checkpoint');
      const report = await run();
      expect(report.warnings).to.deep.equal([]);
      const contents = vault.contents(keys);
      const here = await fileOf('here');
      expect(contents.get(`data/${here}`)!.content!.equals(readFileSync(join(server.dataDir, here)))).to.equal(true);
      const there = (await fileOf('there')).replace(/^pg_tblspc\//, 'tablespaces/');
      const onDisk = readFileSync(join(server.dataDir, await fileOf('there')));
      expect(contents.get(there)!.content!.equals(onDisk)).to.equal(true);
      const manifest = JSON.parse(contents.get('data/backup_manifest')!.content!.toString()) as { Files: object[] };
      const files = [...contents].filter(
        ([path, { content }]) => /^(data|tablespaces)\//.test(path) && content !== undefined,
      );
      expect(files.length).to.be.at.least(manifest.Files.length);
      const facts = decodeFacts(contents.get(FACTS_PATH)!.content!);
      expect(facts).to.include({ timeline: 1, walFileBytes: 16 * 1024 * 1024, pageBytes: 8192 });
      expect(facts.serverVersion).to.match(new RegExp(`^${version}\\.`));
      expect(facts.tablespaces).to.deep.equal([{ oid: facts.tablespaces[0]!.oid, location: server.folderOf('space') }]);
    });

    it('is held against the server’s own manifest by a verification: each file with its size and checksum', async () => {
      await server.query('checkpoint');
      await run();
      const deps = { ...testJobDeps(vault.client), stateDir };
      const job = verifyJob({ grant: vault.snapshots.at(-1)! });
      const { signal } = new AbortController();
      const pipelines = pipelinesOf(registryOf({ postgres: () => Promise.resolve(postgresEngine) }));
      const verify = await pipelines.verify(job);
      const { warnings, failure, summary } = await verify(job, deps, signal, () => undefined);
      expect({ warnings, failure }).to.deep.equal({ warnings: [], failure: undefined });
      expect(summary.files).to.be.greaterThan(900);

      const [changed, missing] = [`data/${await fileOf('here')}`, 'data/PG_VERSION'];
      const found = await runVerify(
        job,
        deps,
        signal,
        () => undefined,
        async () => {
          const check = manifestCheck(job, deps, signal);
          const file: ContentCheck['file'] = (path, size, checksum) => {
            if (path !== missing) check.file(path, size, path === changed ? checksum ^ 1 : checksum);
          };
          return { ...check, file };
        },
      );
      expect(found.warnings.map(({ code, path }) => `${code} ${path}`)).to.have.members([
        `damaged ${changed}`,
        `damaged ${missing}`,
      ]);
      expect(found.failure).to.have.property('code', 'DAMAGED');
      expect(readdirSync(stateDir).filter((name) => name.startsWith('verify-'))).to.deep.equal([]);
    });

    it('stores what changed, by pages', async () => {
      await run();
      await server.query('update here set word = upper(word) where id between 1000 and 1040');
      await server.query('checkpoint');
      const { summary } = await run();
      expect(summary.bytesNew).to.be.lessThan(summary.bytesTotal / 8);
    });

    it('B2 names a page that failed its checksum, and is suspect', async () => {
      const path = await fileOf('here');
      await server.stop();
      const file = openSync(join(server.dataDir, path), 'r+');
      writeSync(file, Buffer.from('flipped'), 0, 7, 3 * 8192 + 4000);
      closeSync(file);
      await server.run();
      try {
        const { warnings } = await run();
        expect(warnings.map(({ code }) => code)).to.include('checksum');
        expect(warnings.find(({ code }) => code === 'checksum')!.path).to.equal(`data/${path}`);
        expect(vault.points.at(-1)).to.include({ suspect: true, hasLog: true });
      } finally {
        await server.query('drop table here');
        await server.query(
          'create table here as select g as id, md5(g::text) as word from generate_series(1, 40000) g',
        );
      }
    });

    it('a server that is killed in the middle, and a cancel, leave no snapshot and say what happened', async () => {
      const killed = run().catch((error: unknown) => error);
      await new Promise((resolve) => setTimeout(resolve, 150));
      await server.kill();
      const end = await killed;
      expect(vault.snapshots.length, String(end)).to.equal(0);
      expect(end).to.have.property('code', 'UNREACHABLE');
      await server.run();
      const abort = new AbortController();
      const cancelled = run(abort.signal).catch((error: unknown) => error);
      setTimeout(() => abort.abort(), 100);
      expect(await cancelled).to.have.property('code', 'CANCELLED');
      expect(vault.snapshots.length).to.equal(0);
    });

    it('writes what pg_dump says of a database beside it, and a dump that fails is named', async function dumps() {
      // The embedded package brings no pg_dump.
      if (bin !== undefined) this.skip();
      const { warnings } = await run(undefined, { export: 'postgres, nowhere' });
      const dump = vault.contents(keys).get('export/postgres.sql')!.content!.toString();
      expect(dump).to.contain('CREATE TABLE public.here').and.to.contain('PostgreSQL database dump complete');
      expect(warnings.map(({ code, path }) => [code, path])).to.deep.equal([['export', 'export/nowhere.sql']]);
      expect(vault.contents(keys).has('export/nowhere.sql')).to.equal(false);
    });

    it('is taken from a standby as well', async function standby() {
      if (bin !== undefined) this.skip();
      const folder = server.folder('standby');
      chmodSync(folder, 0o700);
      const made = server.tool('pg_basebackup', [
        '-D',
        folder,
        '-R',
        '-c',
        'fast',
        '--tablespace-mapping',
        `${server.folderOf('space')}=${server.folder('space2')}`,
      ]);
      expect(made.status, made.stderr).to.equal(0);
      const replica = await PostgresServer.start({ dataDir: folder, port: 5510 });
      try {
        const { warnings } = await run(undefined, { dsn: replica.dsn });
        expect(warnings).to.deep.equal([]);
        const contents = vault.contents(keys);
        expect(contents.get(`data/${await fileOf('here')}`)!.content!.length).to.be.greaterThan(1_000_000);
        expect(decodeFacts(contents.get(FACTS_PATH)!.content!).timeline).to.equal(1);
      } finally {
        await replica.remove();
      }
    });

    it('is not made while nobody follows the log', async () => {
      notes.stop();
      const error = await run().catch((thrown: unknown) => thrown);
      expect(error).to.have.property('code', 'FAILED_PRECONDITION');
      expect(vault.snapshots.length).to.equal(0);
    });
  });
}
