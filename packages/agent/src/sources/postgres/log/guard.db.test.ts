import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Client } from 'pg';
import { DONE } from '../../../testing/job-deps.ts';
import { PostgresServer } from '../../../testing/postgres-server.ts';
import { runBase } from '../base/base.ts';
import { fileStart, walFileName } from './lsn.ts';
import { accessTo, LogFixture, until } from './testing/log-fixture.ts';

const FILE = 16 * 1024 * 1024;
const SETTINGS = { max_wal_size: '4GB', wal_keep_size: '4GB' };

describe('guard over a log', () => {
  let server: PostgresServer;
  let fixture: LogFixture;

  before(async () => {
    server = await PostgresServer.start({ settings: SETTINGS });
    server.fillPgbench(2);
  });
  after(async () => server.remove());
  beforeEach(() => {
    fixture = new LogFixture(server);
  });
  afterEach(async () => {
    await fixture.remove();
    await dropSlots();
  });

  const dropSlots = async (): Promise<void> => {
    // The server takes a moment to notice that nobody reads any more.
    await until(async () => {
      await server.query('select pg_terminate_backend(active_pid) from pg_replication_slots where active');
      await server.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active');
      return (await server.query('select 1 from pg_replication_slots')).length === 0;
    });
  };

  /** And lets the server remove what it needs no longer, after each. */
  const writeFiles = async (files: number): Promise<void> => {
    for (let i = 0; i < files; i++) {
      await server.query("select pg_logical_emit_message(false, 'fill', repeat('x', 12000000))");
      await server.query('select pg_switch_wal()');
      await server.query('checkpoint');
    }
  };

  /** The stored bytes are those of the server's own files. */
  const expectServersBytes = (timeline = 1): void => {
    const { start, end, bytes } = fixture.stored(timeline);
    expect(start % BigInt(FILE), 'a run begins with a file').to.equal(0n);
    for (let at = start; at < end; at += BigInt(FILE)) {
      const file = readFileSync(join(server.dataDir, 'pg_wal', walFileName(timeline, at, FILE)));
      const length = Math.min(FILE, Number(end - at));
      const offset = Number(at - start);
      expect(
        file.subarray(0, length).equals(bytes.subarray(offset, offset + length)),
        walFileName(timeline, at, FILE),
      ).to.equal(true);
    }
  };

  it('R1 stores the log byte for byte while the server is under load, and asks for a first base', async () => {
    fixture.start();
    const load = server.pgbench(['-c', '4', '-T', '2']);
    await load.ended;
    await fixture.caughtUp();
    expectServersBytes();
    expect(fixture.backups).to.have.length(1);
    await until(() => fixture.last?.log?.lagBytes === 0);
    expect(fixture.last?.log).to.deep.include({ state: 'following', note: '' });
  });

  it('takes no base of its own beside or after one that somebody else has asked for', async () => {
    fixture.start();
    const job = { kind: 'backup', jobId: 'a', source: fixture.source, fullRead: false } as const;
    await runBase(job, fixture.deps, new AbortController().signal, () => undefined);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(fixture.last?.log?.state).to.equal('following');
    expect(fixture.backups).to.have.length(0);
  });

  it('R1 has the server keep the file before a boundary, in which a record begins that is read again after a stop there', async () => {
    fixture.start();
    await fixture.caughtUp();
    await server.query("select pg_logical_emit_message(false, 'fill', 'x')");
    await server.query('select pg_switch_wal()');
    await until(() => fixture.pieces().length > 0 && fixture.stored().end % BigInt(FILE) === 0n);
    const { end } = fixture.stored();
    const restart = async (): Promise<bigint> => {
      const text = "select (restart_lsn - '0/0'::pg_lsn)::text as lsn from pg_replication_slots";
      return BigInt((await server.query<{ lsn: string }>(text))[0]!.lsn);
    };
    await until(async () => (await restart()) === end - 1n);
    await fixture.stop();
    fixture.start();
    await server.query("select pg_logical_emit_message(true, 'after', 'x')");
    await fixture.caughtUp();
    expectServersBytes();
    // A piece ends wherever the server paused: the commit may be in one behind the boundary's first.
    const behind = fixture.pieces().filter(({ range }) => range.start.order >= end);
    expect(behind.some(({ range }) => range.lastCommitAtMs !== undefined)).to.equal(true);
  });

  it('R1 goes on without a gap when the agent was killed under load', async () => {
    fixture.start();
    const load = server.pgbench(['-c', '4', '-T', '4']);
    await until(() => fixture.pieces().length > 4);
    await fixture.stop();
    const before = fixture.stored().end;
    await until(async () => (await fixture.flushed()) > before + 3_000_000n);
    fixture.start();
    await load.ended;
    await fixture.caughtUp();
    expectServersBytes();
    expect(fixture.memory.gaps).to.deep.equal([]);
    expect(fixture.backups, 'one base, not one for each start').to.have.length(1);
  });

  it('R1 G1 goes on when the server was killed under load, and when the vault ended the session', async () => {
    fixture.start();
    const load = server.pgbench(['-c', '4', '-T', '60']);
    await until(() => fixture.pieces().length > 4);
    await server.kill();
    await load.ended;
    await server.run();
    const after = server.pgbench(['-c', '2', '-T', '2']);
    await until(() => fixture.last?.log?.state === 'following');
    fixture.memory.disconnect();
    await after.ended;
    await fixture.caughtUp();
    expectServersBytes();
    expect(fixture.memory.gaps).to.deep.equal([]);
  });

  it('R2 R3 holds a bounded part while the vault is slow, keeps the server waiting for no answer, and catches up', async () => {
    server.configure({ wal_sender_timeout: '2s' });
    await server.reload();
    const opened = Promise.withResolvers<void>();
    fixture.memory.beforeStore = () => opened.promise;
    fixture.start();
    const load = server.pgbench(['-c', '4', '-T', '6']);
    await load.ended;
    for (let i = 0; i < 4; i++)
      await server.query("select pg_logical_emit_message(false, 'fill', repeat('x', 16000000))");
    const written = await fixture.flushed();
    const rows = await server.query<{ flushed: boolean; sent: string }>(
      `select coalesce(r.flush_lsn <= s.restart_lsn, true) as flushed, (r.sent_lsn - s.restart_lsn)::text as sent
         from pg_stat_replication r, pg_replication_slots s where s.slot_name = '${fixture.slotName}'`,
    );
    expect(rows, 'the connection outlived wal_sender_timeout').to.have.length(1);
    expect(rows[0]?.flushed, 'nothing is acknowledged').to.equal(true);
    expect(Number(rows[0]?.sent), 'what is held, and what sockets hold').to.be.lessThan(24 * 1024 * 1024);
    expect(written > 64_000_000n).to.equal(true);
    opened.resolve();
    await fixture.caughtUp();
    expectServersBytes();
    expect(server.log).not.to.contain('terminating walsender process due to replication timeout');
    server.configure({ wal_sender_timeout: '60s' });
    await server.reload();
  });

  it('G3 a slot that was lost is a gap and a new base, never a silence', async () => {
    server.configure({
      max_slot_wal_keep_size: '16MB',
      max_wal_size: '32MB',
      min_wal_size: '32MB',
      wal_keep_size: '0',
    });
    await server.reload();
    fixture.start();
    await fixture.caughtUp();
    await until(() => fixture.backups.length === 1);
    await fixture.stop();
    const end = fixture.stored().end;
    await writeFiles(6);
    const [slot] = await server.query<{ wal_status: string }>(
      `select wal_status from pg_replication_slots where slot_name = '${fixture.slotName}'`,
    );
    expect(slot?.wal_status).to.equal('lost');
    const taken = Promise.withResolvers<typeof DONE>();
    fixture.outcome = () => taken.promise;
    fixture.start();
    await until(() => fixture.memory.gaps.length === 1);
    await fixture.caughtUp();
    const gap = fixture.memory.gaps[0]!;
    expect(gap.start.order).to.equal(end);
    expect(gap.end.order % BigInt(FILE)).to.equal(0n);
    expect(fixture.pieces().find(({ range }) => range.end.order > end)?.range.start.order).to.equal(gap.end.order);
    await until(() => fixture.backups.length === 2);
    await until(() => fixture.last?.note.includes('a part of the log is missing') === true);
    taken.resolve(DONE);
    await until(() => fixture.last?.note === '');
    server.configure({ max_slot_wal_keep_size: '-1', max_wal_size: '4GB', wal_keep_size: '4GB' });
    await server.reload();
  });

  it('G3 what is gone is asked for once, also of a server that was restarted and forgot what it removed', async () => {
    server.configure({ max_wal_size: '32MB', min_wal_size: '32MB', wal_keep_size: '0' });
    await server.reload();
    fixture.start();
    await fixture.caughtUp();
    await fixture.stop();
    await dropSlots();
    await writeFiles(6);
    await server.stop();
    await server.run();
    fixture.start();
    await until(() => fixture.memory.gaps.length === 1);
    await fixture.caughtUp();
    expect(fixture.memory.gaps).to.have.length(1);
    server.configure({ max_wal_size: '4GB', min_wal_size: '80MB', wal_keep_size: '4GB' });
    await server.reload();
  });

  it('G3 a slot whose files were deleted by hand is made anew', async () => {
    fixture.start();
    await server.query('select pg_switch_wal()');
    await fixture.caughtUp();
    await fixture.stop();
    const { end } = fixture.stored();
    await writeFiles(2);
    await server.stop();
    for (const back of [0n, 1n]) {
      rmSync(join(server.dataDir, 'pg_wal', walFileName(1, fileStart(end - back, FILE), FILE)), { force: true });
    }
    await server.run();
    fixture.start();
    await until(() => fixture.memory.gaps.length === 1);
    await fixture.caughtUp();
    expect(fixture.memory.gaps[0]!.start.order).to.equal(end);
  });

  it('G2 past walKeep the slot is dropped while the vault is away, and a gap recorded when it is back', async () => {
    fixture.settings = { ...fixture.settings, walKeepBytes: 8 * 1024 * 1024 };
    fixture.start();
    await fixture.caughtUp();
    await until(() => fixture.backups.length === 1);
    const end = fixture.stored().end;
    fixture.away = true;
    fixture.memory.disconnect();
    await until(() => fixture.last?.log?.state === 'waiting');
    await server.query("select pg_logical_emit_message(false, 'fill', repeat('x', 30000000))");
    await until(async () => {
      const rows = await server.query(`select 1 from pg_replication_slots where slot_name = '${fixture.slotName}'`);
      return rows.length === 0;
    });
    await server.query('select pg_switch_wal()');
    await server.query('checkpoint');
    fixture.away = false;
    await until(() => fixture.memory.gaps.length === 1);
    const gap = fixture.memory.gaps[0]!;
    expect(gap.reason).to.match(/the slot was dropped: [\d.]+ MiB of log were kept for it, and walKeep is 8.0 MiB/);
    expect(gap.start.order >= end).to.equal(true);
    await fixture.caughtUp();
    await until(() => fixture.backups.length === 2);
  });

  it('tells up to when the log of a quiet database is complete, and stores it', async () => {
    fixture.start();
    await server.query('create table quiet as select 1 as a');
    await fixture.caughtUp();
    const [row] = await server.query<{ now: Date }>('select clock_timestamp() as now');
    const later = row!.now.getTime();
    await until(() => (fixture.last?.log?.completeToMs ?? 0) >= later);
    const end = fixture.stored().end;
    await until(() =>
      fixture.pieces().some(({ range }) => range.start.order === range.end.order && range.completeToMs > 0),
    );
    expect(fixture.stored().end).to.equal(end);
    expect(fixture.last?.log).to.deep.include({ lagBytes: 0, lagMs: 0, state: 'following' });
    await server.query('drop table quiet');
  });

  it('keeps its slot over a stop of the agent, and takes it back when the source is taken away', async () => {
    const slots = async (): Promise<number> => (await server.query('select 1 from pg_replication_slots')).length;
    fixture.start();
    await fixture.caughtUp();
    await fixture.stop();
    expect(await slots()).to.equal(1);
    fixture.start();
    await until(() => fixture.last?.log?.slot?.state === 'active');
    await fixture.leave();
    expect(await slots()).to.equal(0);
  });

  it('keeps no server waiting that is to stop while the vault stores nothing', async () => {
    fixture.memory.beforeStore = () => new Promise(() => undefined);
    fixture.start();
    await until(() => fixture.last?.log?.slot?.state === 'active');
    await server.query('create table late (a int)');
    await server.stop();
    expect(server.log).to.contain('database system is shut down');
    await fixture.stop();
    await server.run();
  });

  it('G5 tells that its slot is not watched, while the log streams and other connections are refused', async () => {
    const access = accessTo(server);
    const ordinary: Client[] = [];
    let isRefused = false;
    fixture.access = {
      ...access,
      async connect(kind) {
        if (kind === 'ordinary' && isRefused) throw new HoldfastError('UNAUTHENTICATED', 'no entry for the host');
        const client = await access.connect(kind);
        if (kind === 'ordinary') ordinary.push(client);
        return client;
      },
    };
    fixture.start();
    await fixture.caughtUp();
    await until(() => fixture.last?.log?.state === 'following' && fixture.last.note === '');
    isRefused = true;
    for (const client of ordinary) await client.end();
    await until(() => fixture.last?.note.includes('no entry for the host') === true);
    expect(fixture.last?.log?.state).to.equal('following');
    isRefused = false;
    await until(() => fixture.last?.note === '');
  });

  it('does not follow a server whose commits would wait for it', async () => {
    server.configure({ synchronous_standby_names: 'ANY 1 ("Holdfast", other)', synchronous_commit: 'local' });
    await server.reload();
    fixture.start();
    await until(() => fixture.last?.note.includes('every commit would wait for the vault') === true);
    expect(fixture.pieces()).to.deep.equal([]);
    server.configure({ synchronous_standby_names: '', synchronous_commit: 'on' });
    await server.reload();
  });

  it('finds named restore points, and stores a complete file of many pieces as one', async () => {
    fixture.start();
    await fixture.caughtUp();
    for (let i = 0; i < 12; i++) {
      await server.query("select pg_logical_emit_message(false, 'fill', repeat('x', 100000))");
      await fixture.caughtUp();
    }
    await server.query("select pg_create_restore_point('before the é change')");
    await fixture.caughtUp();
    await server.query('select pg_switch_wal()');
    await until(() => fixture.pieces().some(({ range }) => range.merged));
    const merged = fixture.pieces().find(({ range }) => range.merged);
    expect(merged?.range.marks).to.deep.equal(['name=before the é change']);
    await fixture.caughtUp();
    expectServersBytes();
  });
});

describe('guard over the log of a server that was brought back to an earlier state', () => {
  let server: PostgresServer;
  let back: PostgresServer;
  let fixture: LogFixture;

  before(async () => {
    server = await PostgresServer.start({ settings: SETTINGS, port: 5514 });
    fixture = new LogFixture(server);
  });
  after(async () => {
    await fixture?.remove();
    await back?.remove();
    await server?.remove();
  });

  it('R5 does not go on in another history of the same timeline: a gap, and a new base', async () => {
    fixture.start();
    await server.query('create table one as select 1 as a');
    await fixture.caughtUp();
    await server.stop();
    const copy = server.folderOf('copy');
    expect(spawnSync('cp', ['-a', server.dataDir, copy]).status).to.equal(0);
    await server.run();
    await server.query("select pg_logical_emit_message(true, 'fill', repeat('x', 300000))");
    await fixture.caughtUp();
    await fixture.stop();
    const { end } = fixture.stored();
    await server.stop();

    back = await PostgresServer.prepare({ dataDir: copy, port: 5515 });
    await back.run();
    await back.query("select pg_logical_emit_message(true, 'fill', repeat('y', 900000))");
    expect((await fixture.flushed(back)) > end).to.equal(true);
    const bases = fixture.backups.length;
    fixture.start(back);
    await until(() => fixture.last?.note.includes('pg_switch_wal()') === true);
    expect(fixture.stored().end, 'nothing of it is stored').to.equal(end);
    await fixture.stop();
    await back.query('select pg_switch_wal()');
    const going = async (table: string): Promise<void> => {
      await back.query(`create table ${table} as select 2 as a`);
      const flushed = await fixture.flushed(back);
      fixture.start(back);
      await until(() => fixture.pieces().some(({ range }) => range.end.order >= flushed));
    };
    await going('two');
    const gap = fixture.memory.gaps[0]!;
    expect(gap.start.order).to.equal(end);
    expect(gap.end.order).to.equal(fileStart(end, FILE) + BigInt(FILE));
    await until(() => fixture.backups.length > bases);
    await fixture.stop();
    await going('three');
    expect(fixture.memory.gaps, 'once').to.have.length(1);
  });
});

describe('guard over a log that changes its timeline', () => {
  let primary: PostgresServer;
  let standby: PostgresServer;
  let fixture: LogFixture;

  before(async () => {
    primary = await PostgresServer.start({ settings: SETTINGS, port: 5511 });
    primary.fillPgbench(1);
    const directory = primary.folder('standby');
    chmodSync(directory, 0o700);
    const made = primary.tool('pg_basebackup', ['-D', directory, '-R', '-X', 'stream', '-c', 'fast']);
    expect(made.stderr).to.equal('');
    standby = await PostgresServer.prepare({ dataDir: directory, port: 5512 });
    await standby.run();
  });
  after(async () => {
    await standby.remove();
    await primary.remove();
  });
  beforeEach(() => {
    fixture = new LogFixture(standby);
  });
  afterEach(async () => fixture.remove());

  it('R4 follows a standby through its promotion: the old timeline to its end, the history, the new one from its first file', async () => {
    fixture.start();
    const load = primary.pgbench(['-c', '2', '-T', '3']);
    await load.ended;
    await until(() => fixture.last?.log?.state === 'following' && fixture.pieces().length > 2);
    await until(() => (fixture.last?.log?.completeToMs ?? 0) > 0);
    await primary.kill();
    await standby.query('select pg_promote()');
    await standby.query('create table promoted as select 1 as a');
    await fixture.caughtUp(2);
    const history = fixture.memory.segments.find(({ range }) => range.file === '00000002.history');
    const fork = history?.range.ancestors?.[0];
    expect(fork?.parent.timeline).to.equal(1);
    const old = fixture.stored(1);
    expect(old.end).to.equal(fork?.position.order);
    const grown = fixture.stored(2);
    expect(grown.start).to.equal(old.end - (old.end % BigInt(FILE)));
    const shared = Number(old.end - grown.start);
    const tail = old.bytes.subarray(old.bytes.length - shared);
    expect(grown.bytes.subarray(0, shared).equals(tail), 'what both have in common').to.equal(true);
    const file = readFileSync(join(standby.dataDir, 'pg_wal', walFileName(2, grown.start, FILE)));
    // How much was written before differs: it may have gone on in the next file.
    const length = Math.min(FILE, grown.bytes.length);
    expect(file.subarray(0, length).equals(grown.bytes.subarray(0, length))).to.equal(true);
    expect(fixture.memory.gaps).to.deep.equal([]);
  });

  it('begins anew, with a base, on another cluster', async () => {
    fixture.start();
    await fixture.caughtUp(2);
    await fixture.stop();
    const bases = fixture.backups.length;
    const other = await PostgresServer.start({ port: 5513 });
    try {
      const taken = Promise.withResolvers<typeof DONE>();
      fixture.outcome = () => taken.promise;
      fixture.start(other);
      await until(() => fixture.last?.note.includes('another system identifier') === true);
      taken.resolve(DONE);
      await until(() => fixture.backups.length > bases);
      const identifiers = new Set(fixture.pieces().map(({ range }) => range.stream.systemIdentifier));
      expect(identifiers.size).to.equal(2);
    } finally {
      await fixture.stop();
      await other.remove();
    }
  });
});
