import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as wait } from 'node:timers/promises';
import { expect } from 'chai';
import type { EngineSpec } from '../../jobs/job.ts';
import { EngineBench } from '../../testing/engine-bench.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { sqliteEngine } from './engine.ts';
import { databaseFindings, databasesOnHost } from './look.ts';

function sourceOf(path: string): EngineSpec {
  return {
    sourceId: 'sqlite-1',
    name: 'app',
    type: 'engine',
    engine: { type: 'sqlite', settings: { path, every: 'off' } },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  };
}

function makeDatabase(path: string, rows: number, mode = 'wal'): void {
  const database = new DatabaseSync(path);
  database.exec(`pragma journal_mode=${mode}`);
  database.exec('create table account(id integer primary key, balance int, note text)');
  database.exec(`with recursive c(i) as (select 1 union all select i + 1 from c where i < ${rows})
    insert into account select i, 1000, hex(randomblob(100)) from c`);
  database.close();
}

function ask(path: string, query: string): Record<string, unknown> {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 20_000 });
  try {
    return { ...database.prepare(query).get() };
  } finally {
    database.close();
  }
}

function fingerprint(path: string): string {
  const database = new DatabaseSync(path, { readOnly: true });
  const hash = createHash('sha256');
  for (const row of database.prepare('select * from account order by id').iterate()) hash.update(JSON.stringify(row));
  database.close();
  return hash.digest('hex');
}

engineConformance(
  'SQLite',
  async (): Promise<EngineRig> => {
    const work = mkdtempSync(join(tmpdir(), 'hf-sqlite-'));
    const path = join(work, 'app.db');
    makeDatabase(path, 5_000);
    return {
      engine: sqliteEngine,
      source: sourceOf(path),
      broken: sourceOf(join(work, 'gone.db')),
      target: (name) => join(work, name),
      async change() {
        const database = new DatabaseSync(path);
        database.exec('update account set balance = balance + 1 where id = 77');
        database.close();
      },
      fingerprint: async () => fingerprint(path),
      restored: async (target) => fingerprint(join(target, 'app.db')),
      close: async () => rmSync(work, { recursive: true }),
    };
  },
  { discoverable: false },
);

describe('sqlite engine', function () {
  this.timeout(60_000);
  let work: string;
  let path: string;
  let bench: EngineBench;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'hf-sqlite-'));
    path = join(work, 'app.db');
    bench = new EngineBench({ engine: sqliteEngine, source: sourceOf(path) });
  });
  afterEach(async () => {
    await bench.close();
    rmSync(work, { recursive: true });
  });

  for (const mode of ['wal', 'delete']) {
    it(`is of one moment while another process writes (journal mode ${mode})`, async () => {
      makeDatabase(path, 50_000, mode);
      const writing = spawn('sqlite3', [path], { stdio: ['pipe', 'ignore', 'ignore'] });
      const ended = new Promise((resolve) => writing.once('exit', resolve));
      // It is killed before it has read everything.
      writing.stdin.on('error', () => undefined);
      try {
        writing.stdin.write('.timeout 20000\n');
        // Each transaction moves money between accounts at both ends of the file: the sum is the same at any moment.
        for (let i = 1; i <= 4_000; i++) {
          writing.stdin.write(
            `begin immediate; update account set balance=balance-${i} where id=${i}; update account set balance=balance+${i} where id=${50_001 - i}; commit;\n`,
          );
        }
        while (Number(ask(path, 'select balance b from account where id = 1')['b']) === 1_000) await wait(5);
        const { report, snapshot } = await bench.base();
        expect(report.warnings).to.deep.equal([]);
        const target = join(work, 'back');
        await bench.restore(snapshot, target);
        const back = join(target, 'app.db');
        expect(ask(back, 'select sum(balance) s, count(*) n from account')).to.deep.equal({ s: 50_000_000, n: 50_000 });
        expect(ask(back, 'pragma integrity_check')).to.deep.equal({ integrity_check: 'ok' });
      } finally {
        writing.kill('SIGKILL');
        await ended;
      }
    });
  }

  it('stores the pages that changed, and leaves no copy behind', async () => {
    makeDatabase(path, 100_000);
    await bench.base();
    const database = new DatabaseSync(path);
    for (let id = 1; id <= 100_000; id += 5_000) database.exec(`update account set balance = 0 where id = ${id}`);
    database.close();
    const { report } = await bench.base();
    expect(report.summary.bytesTotal).to.be.greaterThan(20_000_000);
    expect(report.summary.bytesNew).to.be.within(20 * 4096, 25 * 4096);
    const left = readdirSync(join(bench.deps().stateDir, 'cache', 'sqlite-1')).toSorted();
    expect(left).to.deep.equal(['base.json', 'nodes']);
  });

  it('names a damaged page, and takes what there is', async () => {
    makeDatabase(path, 5_000, 'delete');
    const fd = openSync(path, 'r+');
    writeSync(fd, Buffer.alloc(4096, 0xee), 0, 4096, 30 * 4096);
    closeSync(fd);
    const { report } = await bench.base();
    expect(report.warnings.length).to.be.greaterThan(0);
    expect(report.warnings[0]).to.include({ code: 'damaged', path: 'app.db' });
  });

  it('says what is wrong with a file that is no database, and with a database that makes writers wait', () => {
    writeFileSync(path, 'plain text, and long enough to have a header of a hundred bytes'.repeat(3));
    expect(databaseFindings(path)[0]).to.include({ level: 'error', subject: 'path' });
    expect(databaseFindings('app.db')[0]).to.include({ level: 'error', message: 'app.db is no absolute path' });
    const other = join(work, 'other.db');
    makeDatabase(other, 10, 'delete');
    expect(databaseFindings(other).map(({ level, subject }) => [level, subject])).to.deep.equal([
      ['ok', 'database'],
      ['warning', 'journal_mode'],
    ]);
  });

  it('proposes databases that it finds, not files that are only called so', () => {
    mkdirSync(join(work, 'grafana'));
    makeDatabase(join(work, 'grafana', 'grafana.db'), 10);
    writeFileSync(join(work, 'thumbs.db'), 'none');
    const found = databasesOnHost([work]);
    expect(found.map(({ name, settings }) => [name, settings['path']])).to.deep.equal([
      ['grafana', join(work, 'grafana', 'grafana.db')],
    ]);
  });

  it('reads what the sqlite3 program wrote in its largest and smallest pages', async () => {
    for (const pageBytes of [512, 65_536]) {
      const own = join(work, `${pageBytes}.db`);
      const script = `pragma page_size=${pageBytes}; create table account(id integer primary key, balance int, note text); insert into account values (1, 2, 'x');`;
      execFileSync('sqlite3', [own, script]);
      const one = new EngineBench({ engine: sqliteEngine, source: sourceOf(own) });
      try {
        const { snapshot, report } = await one.base();
        expect(report.warnings).to.deep.equal([]);
        await one.restore(snapshot, join(work, `back-${pageBytes}`));
        expect(fingerprint(join(work, `back-${pageBytes}`, `${pageBytes}.db`))).to.equal(fingerprint(own));
      } finally {
        await one.close();
      }
    }
  });
});
