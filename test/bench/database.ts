// Databases: the same work by Holdfast and by the server's own school of backup, in one run.
//
//   pnpm bench db [--only postgres,mariadb]
//
// PostgreSQL (pgbench, scale 50) against pgBackRest with block-incremental backups, MariaDB against mariadb-backup. Stored bytes of
// Holdfast are what a base added to the vault; the log that is stored besides is the same for both schools.

import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { MariadbServer } from '@holdfast/agent/testing/mariadb-server';
import { PostgresServer } from '@holdfast/agent/testing/postgres-server';
import { endRestored } from '../demo/database.ts';
import { fleetDown, fleetStatus, fleetUp, holdfast } from '../fleet/fleet.ts';
import { diskBytes, installed } from './contenders.ts';
import { type Cost, measure, type Subject } from './measure.ts';
import type { Row } from './table.ts';

const SCALE = 50;
const TRANSACTIONS = 2_000;
const LAG_SECONDS = 20;
const ROWS = 1_600_000;
const UPDATES = 2_000;

export async function benchDatabases(
  work: string,
  chosen: readonly string[],
  say: (line: string) => void,
): Promise<Row[]> {
  const rows: Row[] = [];
  const fleet = join(work, 'fleet');
  chmodSync(work, 0o755);
  await fleetUp({ dir: fleet, hosts: ['bench-1', 'bench-2'], say });
  const processes = new Map<string, number>();
  for (const { name, pid } of await fleetStatus(fleet)) if (pid !== undefined) processes.set(name, pid);
  // Apart from what it starts: servers' processes share most of their memory, which a sum counts for each.
  const of = (name: string, below: string): Subject[] => {
    const pid = processes.get(name)!;
    return [
      { name, pid, counts: 'itself' },
      { name: below, pid, counts: 'below' },
    ];
  };
  const bench: Bench = {
    work,
    fleet,
    subjects: [
      ...of('bench-1', "bench-1's tools"),
      ...of('bench-2', "bench-2's server"),
      ...of('controller', 'catalog'),
    ],
    say,
    add(title, contender, cost, storedBytes) {
      rows.push({ title, contender, cost, storedBytes });
      const mb = (storedBytes / 1e6).toFixed(1);
      say(
        `${title} · ${contender}: ${cost.wallSeconds.toFixed(2)} s, ${cost.cpuSeconds.toFixed(2)} CPU-s, ${mb} MB stored`,
      );
    },
  };
  try {
    if (chosen.includes('postgres')) await postgres(bench);
    if (chosen.includes('mariadb')) await mariadb(bench);
  } finally {
    await fleetDown(fleet);
  }
  return rows;
}

interface Bench {
  readonly work: string;
  readonly fleet: string;
  readonly subjects: readonly Subject[];
  readonly say: (line: string) => void;
  add(title: string, contender: string, cost: Cost, storedBytes: number): void;
}

async function command({ fleet, subjects, work }: Bench, ...args: string[]): Promise<Cost> {
  return measure(['sh', '-c', '. "$0/env"; exec holdfast "$@"', fleet, ...args, '--json'], subjects, work);
}

/** What bases of a source have stored since it was asked last: the guard may have taken one by itself just before. */
async function storedSince({ fleet, say }: Bench, source: string, known: Set<string>): Promise<number> {
  const { stdout } = await holdfast(fleet, ['snapshot', 'ls', source, '--json']);
  const { snapshots } = JSON.parse(stdout) as { snapshots: { id: string; bytesStored: number }[] };
  const fresh = snapshots.filter(({ id }) => !known.has(id));
  for (const { id } of fresh) known.add(id);
  if (fresh.length > 1)
    say(`${source}: ${fresh.length} bases were taken here, the guard's own among them; the time below is of both`);
  return fresh.reduce((sum, { bytesStored }) => sum + bytesStored, 0);
}

async function addSource({ fleet }: Bench, name: string, type: string, dsn: string, ...more: string[]): Promise<void> {
  const words = ['source', 'add', name, '--host', 'bench-1', '--type', type, '--dsn', dsn, ...more];
  const { code, stdout, stderr } = await holdfast(fleet, words);
  if (code !== 0) throw new Error(`holdfast source add: ${stdout}${stderr}`);
}

/** Until a restore to the newest point would have everything that is written now. */
async function untilFollowed({ fleet }: Bench, source: string): Promise<void> {
  for (;;) {
    const { stdout } = await holdfast(fleet, ['source', 'show', source, '--json']);
    const { state, log } = JSON.parse(stdout) as { state: string; log: { lagBytes: number } | null };
    if (state === 'protected' && log?.lagBytes === 0) return;
    await pause(500);
  }
}

async function postgres(bench: Bench): Promise<void> {
  const { work, say, fleet } = bench;
  const server = await PostgresServer.start({
    parent: work,
    settings: { shared_buffers: '256MB', max_wal_size: '4GB', archive_mode: 'off' },
  });
  try {
    say(`filling PostgreSQL (pgbench, scale ${SCALE}) …`);
    server.fillPgbench(SCALE);
    await server.query('checkpoint');
    const dsn = `host=${server.directory} port=${server.port} user=postgres dbname=postgres`;
    // The guard would take the first base by itself: the measured one must be it.
    await addSource(bench, 'db', 'postgres', dsn, '--set', 'baseEvery=off', '--no-check');
    const known = new Set<string>();
    const full = await command(bench, 'backup', 'bench-1/db');
    bench.add('PostgreSQL, full', 'holdfast', full, await storedSince(bench, 'bench-1/db', known));
    // What it does when nobody says how many processes it may have is one.
    const others = installed('pgbackrest') ? [pgbackrest(bench, server, 2), pgbackrest(bench, server, 1)] : [];
    const backUp = async (title: string, type: 'full' | 'incr'): Promise<void> => {
      for (const other of others) bench.add(title, other.name, await other.backup(type), other.grown());
    };
    const restore = async (title: string, delta: boolean): Promise<void> => {
      for (const other of others) bench.add(title, other.name, await other.restore(delta), 0);
    };
    await backUp('PostgreSQL, full', 'full');

    await untilFollowed(bench, 'bench-1/db');
    const before = pgbench(server, ['-c', '2', '-t', String(TRANSACTIONS / 2)]);
    await before;
    await server.query('checkpoint');
    const title = `PostgreSQL, after ${TRANSACTIONS.toLocaleString('en')} transactions`;
    const next = await command(bench, 'backup', 'bench-1/db');
    bench.add(title, 'holdfast', next, await storedSince(bench, 'bench-1/db', known));
    await backUp(title, 'incr');

    const target = join(work, 'restored');
    bench.add(
      'PostgreSQL, restore',
      'holdfast',
      await command(bench, 'restore', 'bench-1/db', '--to', `bench-2:${target}`),
      0,
    );
    await restore('PostgreSQL, restore', false);
    await pgbench(server, ['-c', '1', '-t', '200']);
    await server.query('checkpoint');
    await command(bench, 'backup', 'bench-1/db');
    for (const other of others) await other.backup('incr');
    const delta = await command(bench, 'restore', 'bench-1/db', '--to', `bench-2:${target}`, '--delta');
    bench.add('PostgreSQL, restore --delta', 'holdfast', delta, 0);
    await restore('PostgreSQL, restore --delta', true);
    await endRestored(target).catch(() => undefined);

    const lags = await lagUnderLoad(server);
    const at = (part: number) => lags[Math.floor((lags.length - 1) * part)]!.toFixed(0);
    say(
      `PostgreSQL, commit to stored in the vault under pgbench: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${at(1)} ms (${lags.length} commits)`,
    );
    await holdfast(fleet, ['source', 'rm', 'bench-1/db']);
  } finally {
    await server.remove();
  }
}

async function pgbench(server: PostgresServer, words: readonly string[]): Promise<void> {
  await server.pgbench(words).ended;
}

/** The agent tells the server that a byte is flushed when the vault has it: so the server knows how long it took. Ascending, ms. */
async function lagUnderLoad(server: PostgresServer): Promise<number[]> {
  await server.query('create table if not exists marker (at timestamptz)');
  const load = server.pgbench(['-c', '4', '-T', String(LAG_SECONDS)]);
  const client = await server.connect();
  const open: { readonly lsn: bigint; readonly at: number }[] = [];
  const lags: number[] = [];
  const number = "(flush_lsn - '0/0')::text";
  try {
    for (const end = performance.now() + LAG_SECONDS * 1000; performance.now() < end || open.length > 0;) {
      if (performance.now() < end) {
        await client.query('insert into marker values (now())');
        const { rows } = await client.query<{ lsn: string }>(
          "select (pg_current_wal_flush_lsn() - '0/0')::text as lsn",
        );
        open.push({ lsn: BigInt(rows[0]!.lsn), at: performance.now() });
      }
      const { rows } = await client.query<{ lsn: string | null }>(
        `select max(${number}::numeric)::text as lsn from pg_stat_replication where application_name like 'holdfast\\_%' and state = 'streaming'`,
      );
      const flushed = BigInt(rows[0]?.lsn ?? 0);
      while (open[0] !== undefined && open[0].lsn <= flushed) lags.push(performance.now() - open.shift()!.at);
      await pause(5);
    }
  } finally {
    await client.end();
    await load.stop();
  }
  return lags.toSorted((a, b) => a - b);
}

/** As its users run it: Zstandard, encrypted, bundled, block-incremental. */
function pgbackrest({ work }: Bench, server: PostgresServer, processes: 1 | 2) {
  const repository = server.folder(`pgbackrest-${processes}`);
  const target = server.folder(`pgbackrest-${processes}-restored`);
  chmodSync(target, 0o700);
  const config = join(server.directory, `pgbackrest-${processes}.conf`);
  const lines = [
    '[global]',
    `repo1-path=${repository}`,
    'repo1-cipher-type=aes-256-cbc',
    'repo1-cipher-pass=bench',
    'repo1-bundle=y',
    'repo1-block=y',
    'beta=y',
    'compress-type=zst',
    'compress-level=1',
    `process-max=${processes}`,
    'start-fast=y',
    'archive-check=n',
    `lock-path=${join(server.directory, 'lock')}`,
    'log-level-file=off',
    '[bench]',
    `pg1-path=${server.dataDir}`,
    `pg1-socket-path=${server.directory}`,
    `pg1-port=${server.port}`,
    'pg1-user=postgres',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const as = process.getuid?.() === 0 ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups'] : [];
  const run = (...words: string[]) => [...as, 'pgbackrest', `--config=${config}`, '--stanza=bench', ...words];
  execFileSync(run('stanza-create')[0]!, run('--no-online', 'stanza-create').slice(1), { cwd: work });
  let known = diskBytes(repository);
  return {
    name: processes === 1 ? 'pgbackrest, one process' : 'pgbackrest',
    backup: (type: 'full' | 'incr') => measure(run(`--type=${type}`, 'backup'), [], work),
    restore: (delta: boolean) =>
      measure(run(...(delta ? ['--delta'] : []), '--type=none', `--pg1-path=${target}`, 'restore'), [], work),
    /** Bytes since it was asked last. */
    grown(): number {
      const now = diskBytes(repository);
      const grown = now - known;
      known = now;
      return grown;
    },
  };
}

async function mariadb(bench: Bench): Promise<void> {
  const { work, say } = bench;
  const server = await MariadbServer.start(['--innodb-buffer-pool-size=512M']);
  try {
    say('filling MariaDB …');
    server.sql('CREATE DATABASE shop');
    server.sql(
      `CREATE TABLE shop.orders (id INT PRIMARY KEY, note CHAR(40), pad VARCHAR(255));
      INSERT INTO shop.orders SELECT seq, SHA1(seq), REPEAT(SHA2(seq, 512), 1) FROM seq_1_to_${ROWS};`,
      'shop',
    );
    // A log is followed from the beginning of its newest file: what filled the tables is no part of what is measured.
    server.sql('FLUSH BINARY LOGS');
    await addSource(
      bench,
      'shopdb',
      'mariadb',
      server.dsn,
      '--set',
      'baseEvery=0',
      '--set',
      'method=physical',
      '--no-check',
    );
    const known = new Set<string>();
    const full = await command(bench, 'backup', 'bench-1/shopdb');
    bench.add('MariaDB, full', 'holdfast', full, await storedSince(bench, 'bench-1/shopdb', known));
    const other = installed('mariadb-backup') ? mariadbBackup(bench, server) : undefined;
    if (other !== undefined) bench.add('MariaDB, full', 'mariadb-backup', await other.backup(0), other.size(0));
    server.sql(
      Array.from({ length: UPDATES }, (_, n) => {
        const id = 1 + ((n * 7_919_993) % ROWS);
        return `UPDATE shop.orders SET note = SHA1(${n}) WHERE id = ${id};`;
      }).join('\n'),
    );
    server.sql('SET GLOBAL innodb_max_dirty_pages_pct = 0; SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0');
    await pause(5_000);
    const title = `MariaDB, after ${UPDATES.toLocaleString('en')} updates`;
    const next = await command(bench, 'backup', 'bench-1/shopdb');
    bench.add(title, 'holdfast', next, await storedSince(bench, 'bench-1/shopdb', known));
    if (other !== undefined) bench.add(title, 'mariadb-backup', await other.backup(1), other.size(1));
    await holdfast(bench.fleet, ['source', 'rm', 'bench-1/shopdb']);
  } finally {
    await server.remove();
    rmSync(join(work, 'mariadb-backup'), { recursive: true, force: true });
  }
}

function mariadbBackup({ work }: Bench, server: MariadbServer) {
  const folder = (n: number) => join(work, 'mariadb-backup', String(n));
  return {
    async backup(n: number): Promise<Cost> {
      mkdirSync(folder(n), { recursive: true });
      if (process.getuid?.() === 0) chownSync(folder(n), 0, 0);
      const since = n === 0 ? [] : [`--incremental-basedir=${folder(n - 1)}`];
      const words = [
        '--no-defaults',
        '--backup',
        `--socket=${server.socket}`,
        '--user=root',
        `--target-dir=${folder(n)}`,
      ];
      return measure(['mariadb-backup', ...words, ...since], [], work);
    },
    size: (n: number) => diskBytes(folder(n)),
  };
}
