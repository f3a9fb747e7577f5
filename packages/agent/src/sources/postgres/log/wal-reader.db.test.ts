import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { embeddedPostgres, PostgresServer } from '../../../testing/postgres-server.ts';
import { formatLsn, parseLsn, walFileName } from './lsn.ts';
import { WalReader, type WalEvent } from './wal-reader.ts';

const FILE = 16 * 1024 * 1024;
const PAGE = 8192n;
/** The first file of a new cluster. */
const FIRST = BigInt(FILE);

interface Commit {
  readonly xid: number;
  readonly atMs: number;
}

/** The log from the cluster's first file on, as the server wrote it. */
async function logOf(server: PostgresServer): Promise<Buffer> {
  const [row] = await server.query<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
  const end = parseLsn(row!.lsn);
  const files: Buffer[] = [];
  for (let at = FIRST; at < end; at += BigInt(FILE)) {
    files.push(readFileSync(join(server.dataDir, 'pg_wal', walFileName(1, at, FILE))));
  }
  return Buffer.concat(files).subarray(0, Number(end - FIRST));
}

async function work(server: PostgresServer): Promise<void> {
  server.fillPgbench(1);
  await server.pgbench(['-c', '4', '-t', '500']).ended;
  await server.query("select pg_create_restore_point('before lunch')");
  await server.query('create table prepared (a int)');
  const client = await server.connect();
  await client.query('begin');
  await client.query('insert into prepared values (1)');
  await client.query("prepare transaction 'later'");
  await client.query("commit prepared 'later'");
  await client.end();
  await server.query('select pg_switch_wal()');
  await server.query('insert into prepared values (2)');
  await server.query('checkpoint');
}

function commitsIn(events: readonly WalEvent[]): Commit[] {
  return events.flatMap((event) => (event.kind === 'commit' ? [{ xid: event.xid, atMs: event.atMs }] : []));
}

/** Where a record shorter than a page ends: a page that it reaches into begins with a header of 24 bytes, a file's first page with one of 40. */
function endOf(start: bigint, length: bigint): bigint {
  const nextPage = (start / PAGE + 1n) * PAGE;
  if (start + length <= nextPage) return start + length;
  return start + length + (nextPage % BigInt(FILE) === 0n ? 40n : 24n);
}

const settings = {
  max_prepared_transactions: '4',
  max_wal_size: '2GB',
  wal_keep_size: '1GB',
  track_commit_timestamp: 'on',
};

describe('reading the log of PostgreSQL 15', () => {
  let server: PostgresServer;
  let log: Buffer;
  let events: WalEvent[];

  before(async () => {
    server = await PostgresServer.start({ settings });
    await work(server);
    log = await logOf(server);
    events = new WalReader(FIRST, false, FILE).feed(log);
  });
  after(async () => server.remove());

  it('W3 finds the commits that pg_waldump finds, with their times', () => {
    const files = readdirSync(join(server.dataDir, 'pg_wal')).filter((name) => /^[0-9A-F]{24}$/.test(name));
    expect(files.length).to.be.at.least(2);
    const end = formatLsn(FIRST + BigInt(log.length));
    const words = ['-p', join(server.dataDir, 'pg_wal'), '-s', '0/1000028', '-e', end, '-t', '1', '-r', 'Transaction'];
    const { stdout } = server.tool('pg_waldump', words);
    const line = /tx: +(\d+),.*desc: COMMIT(?:_PREPARED \d+:)? (\S+ \d\d:\d\d:\d\d)\.(\d{6}) (\S+)/;
    const theirs = stdout.split('\n').flatMap((text): Commit[] => {
      const match = line.exec(text);
      if (match === null) return [];
      const seconds = Date.parse(`${match[2]?.replace(' ', 'T')}${match[4] === 'UTC' ? 'Z' : ''}`);
      return [{ xid: Number(match[1]), atMs: seconds + Number(match[3]) / 1000 }];
    });
    expect(theirs.length).to.be.greaterThan(2000);
    const rounded = (commits: Commit[]): string[] => commits.map(({ xid, atMs }) => `${xid} ${atMs.toFixed(3)}`);
    expect(rounded(commitsIn(events))).to.deep.equal(rounded(theirs));
  });

  it('finds restore points, and where each record ends', async () => {
    const point = events.find((event) => event.kind === 'restore-point');
    expect(point).to.deep.include({ kind: 'restore-point', name: 'before lunch' });
    const words = ['-p', join(server.dataDir, 'pg_wal'), '-s', '0/1000028', '-r', 'XLOG', '-t', '1'];
    const { stdout } = server.tool('pg_waldump', [...words, '-e', formatLsn(FIRST + BigInt(log.length))]);
    const match = /len \(rec\/tot\): +\d+\/ +(\d+),.*lsn: (\S+),.*RESTORE_POINT before lunch/.exec(stdout);
    expect(point?.end).to.equal(endOf(parseLsn(match![2]!), BigInt(match![1]!)));
  });

  it('W1 finds the same however the bytes are cut up', () => {
    const part = log.subarray(0, 3 * 1024 * 1024);
    const whole = new WalReader(FIRST, false, FILE).feed(part);
    expect(whole.length).to.be.greaterThan(10);
    const size = fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 200_000 }));
    fc.assert(
      fc.property(fc.array(size, { minLength: 1, maxLength: 50 }), (sizes) => {
        const reader = new WalReader(FIRST, false, FILE);
        const found: WalEvent[] = [];
        for (let at = 0, turn = 0; at < part.length; turn++) {
          const next = at + sizes[turn % sizes.length]! * (sizes.length < 5 ? 100 : 1);
          found.push(...reader.feed(part.subarray(at, next)));
          at = next;
        }
        expect(found).to.deep.equal(whole);
      }),
      { numRuns: 20 },
    );
  });

  it('W2 finds from any start what begins after the next page header', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: log.length - 1 }), (from) => {
        const found = new WalReader(FIRST + BigInt(from), false, FILE).feed(log.subarray(from));
        const tail = events.slice(events.length - found.length);
        expect(found).to.deep.equal(tail);
        // A record is at most a few pages long here, so little is missed.
        const missed = events.filter(({ end }) => end > FIRST + BigInt(from)).length - found.length;
        expect(missed).to.be.at.most(200);
      }),
      { numRuns: 30 },
    );
  });

  it('waits for a page that it knows when what it is fed is no log', () => {
    const reader = new WalReader(FIRST, false, FILE);
    expect(reader.feed(Buffer.alloc(65_536, 0xa5))).to.deep.equal([]);
    expect(reader.version).to.equal(undefined);
    expect(reader.feed(log.subarray(65_536)).length).to.be.greaterThan(1000);
    expect(reader.version).to.equal(15);
  });
});

describe('reading the log of PostgreSQL 18', () => {
  let server: PostgresServer;

  before(async () => {
    server = await PostgresServer.start({ bin: embeddedPostgres(), settings: { ...settings, autovacuum: 'off' } });
  });
  after(async () => server.remove());

  it('W3 finds the commits that the server remembers, with their times', async () => {
    await server.query('create table t (a int)');
    for (let i = 0; i < 40; i++) await server.query('insert into t values ($1)', [i]);
    await server.query("select pg_create_restore_point('eighteen')");
    // A restore point is flushed with the next commit.
    await server.query('create table u (a int)');
    const reader = new WalReader(FIRST, false, FILE);
    const events = reader.feed(await logOf(server));
    expect(reader.version).to.equal(18);
    expect(events.some((event) => event.kind === 'restore-point' && event.name === 'eighteen')).to.equal(true);
    const rows = await server.query<{ xid: string; ms: string }>(
      'select xmin::text as xid, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000)::text as ms from t',
    );
    expect(rows).to.have.length(40);
    const found = new Map(commitsIn(events).map(({ xid, atMs }) => [xid, atMs.toFixed(3)]));
    for (const { xid, ms } of rows) expect(found.get(Number(xid))).to.equal(Number(ms).toFixed(3));
  });
});
