// A PostgreSQL source by the command line alone, as people script it: added, backed up, followed, restored to each kind of
// target on another host, tested. And its log goes on without a gap when the controller or the agent was away under load.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PostgresServer, queryAt } from '@holdfast/agent/testing/postgres-server';
import { expect } from 'chai';
import { endRestored } from '../demo/database.ts';
import { fleetDown, fleetKill, fleetStart, fleetUp, holdfast } from '../fleet/fleet.ts';

const STORED_MS = 60_000;

interface Shown {
  readonly state: string;
  readonly recoverable: { readonly from: string | null; readonly to: string | null; readonly gaps: unknown[] };
  readonly log: { readonly position: string; readonly lagBytes: number; readonly lagSeconds: number };
  readonly slot: { readonly state: string };
}
interface Summary {
  readonly result: string;
  readonly snapshot: string;
  readonly reached?: { readonly position: string; readonly running: boolean; readonly facts: object };
  readonly error?: { readonly message: string };
}

describe('a database on the fleet, by the command line', function databases() {
  this.timeout(240_000);
  let dir: string;
  let fleet: string;
  let server: PostgresServer;
  let port = 5510;
  let beforeDeletion: { at: string; lsn: string };
  const restored: string[] = [];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-databases-'));
    chmodSync(dir, 0o711);
    fleet = join(dir, 'fleet');
    server = await PostgresServer.start({ parent: dir });
    await server.query('CREATE ROLE holdfast LOGIN REPLICATION');
    await server.query('GRANT pg_monitor TO holdfast');
    await server.query('CREATE TABLE seen (n bigserial PRIMARY KEY)');
    await fleetUp({ dir: fleet, hosts: ['web-1', 'web-2'] });
  });
  after(async () => {
    for (const path of restored) await endRestored(path);
    await fleetDown(fleet).catch(() => []);
    await server?.remove();
    rmSync(dir, { recursive: true, force: true });
  });

  const show = async (): Promise<Shown> =>
    JSON.parse((await holdfast(fleet, ['source', 'show', 'web-1/db', '--json'])).stdout) as Shown;
  const summaryOf = async (args: readonly string[]): Promise<Summary> => {
    const { stdout, stderr } = await holdfast(fleet, [...args, '--json']);
    const last = stdout.trim().split('\n').at(-1);
    if (last === undefined || last === '') throw new Error(stderr);
    return JSON.parse(last) as Summary;
  };
  const add = async (rows: number): Promise<void> =>
    void (await server.query('INSERT INTO seen SELECT FROM generate_series(1, $1::int)', [rows]));
  const flushed = async (): Promise<string> =>
    (await server.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn'))[0]!.lsn;
  const covered = async (stored: string, wanted: string): Promise<boolean> =>
    (await server.query<{ ok: boolean }>('SELECT $1::pg_lsn >= $2::pg_lsn AS ok', [stored, wanted]))[0]!.ok;
  const untilStored = async (wanted: string): Promise<void> => {
    const end = performance.now() + STORED_MS;
    for (;;) {
      const { log } = await show();
      if (log.position !== '' && (await covered(log.position, wanted))) return;
      if (performance.now() > end) throw new Error(`the log up to ${wanted} is not stored: ${JSON.stringify(log)}`);
      await pause(200);
    }
  };
  /** After a controller was away, agents come back one by one: they spread their attempts. */
  const untilOnline = async (host: string): Promise<void> => {
    const end = performance.now() + STORED_MS;
    for (;;) {
      const { stdout } = await holdfast(fleet, ['host', 'ls', '--json']);
      const { hosts } = JSON.parse(stdout) as { hosts: { name: string; state: string }[] };
      if (hosts.some(({ name, state }) => name === host && state === 'online')) return;
      if (performance.now() > end) throw new Error(`${host} does not come back: ${stdout}`);
      await pause(200);
    }
  };
  const countOf = async (host: string, at: number): Promise<number> =>
    (await queryAt<{ count: number }>(host, at, 'SELECT count(*)::int AS count FROM seen'))[0]!.count;
  /** Restores, counts the rows, ends the server again. */
  const rowsAt = async (target: readonly string[]): Promise<number> => {
    const path = join(server.folder(`again-${++port}`), 'db');
    restored.push(path);
    const words = ['restore', 'web-1/db', '--to', `web-2:${path}`, ...target, '--start', '--port', String(port)];
    const summary = await summaryOf(words);
    expect(summary, JSON.stringify(summary)).to.have.nested.property('reached.running', true);
    const rows = await countOf(path, port);
    await endRestored(path);
    return rows;
  };

  it('is added, backed up, and shown with its window, lag and slot', async () => {
    await add(100);
    const dsn = `host=${server.directory} port=${server.port} user=holdfast dbname=postgres`;
    const words = ['source', 'add', 'db', '--host', 'web-1', '--type', 'postgres', '--dsn', dsn];
    expect(await holdfast(fleet, words)).to.include({ code: 0 });
    expect(await summaryOf(['backup', 'web-1/db'])).to.include({ result: 'done' });
    await untilStored(await flushed());
    // Lag and slot are of the agent's last report, which may be older than what is stored by now.
    const end = performance.now() + STORED_MS;
    let shown = await show();
    while ((shown.log.lagBytes > 0 || shown.slot.state !== 'active') && performance.now() < end) {
      await pause(200);
      shown = await show();
    }
    expect(shown).to.include({ state: 'protected' });
    expect(shown.recoverable.from).to.be.a('string');
    expect(shown.recoverable.gaps).to.deep.equal([]);
    expect(shown.log).to.include({ lagBytes: 0 });
    expect(shown.slot).to.include({ state: 'active' });
  });

  it('comes back at a time, an LSN, a name, a snapshot and as it is now, each with its own rows', async () => {
    await add(10);
    await server.query("SELECT pg_create_restore_point('named')");
    await pause(50);
    await add(5);
    const lsn = await flushed();
    await pause(1_100);
    beforeDeletion = { at: new Date().toISOString(), lsn };
    await pause(100);
    await server.query('DELETE FROM seen');
    await add(3);
    await untilStored(await flushed());
    const { snapshots } = JSON.parse((await holdfast(fleet, ['snapshot', 'ls', 'web-1/db', '--json'])).stdout) as {
      snapshots: { id: string; sequence: number }[];
    };
    const first = snapshots.find(({ sequence }) => sequence === 1)!;
    expect(await rowsAt(['--at', beforeDeletion.at])).to.equal(115);
    expect(await rowsAt(['--lsn', lsn])).to.equal(115);
    expect(await rowsAt(['--name', 'named'])).to.equal(110);
    expect(await rowsAt(['--snapshot', first.id])).to.equal(100);
    expect(await rowsAt([])).to.equal(3);
  });

  it('is restored by a test on the other host, which leaves nothing running', async () => {
    const tested = await summaryOf(['verify', 'web-1/db', '--restore-test', '--host', 'web-2']);
    expect(tested).to.include({ result: 'done' });
    expect(tested.reached).to.include({ running: false });
  });

  for (const [who, away] of [
    ['controller', 30_000],
    ['web-1', 1_000],
  ] as const) {
    it(`goes on without a gap when ${who} was killed under load and comes again`, async () => {
      const [{ count: had }] = (await server.query<{ count: number }>('SELECT count(*)::int AS count FROM seen')) as [
        { count: number },
      ];
      const end = performance.now() + away;
      await fleetKill(fleet, who);
      let added = 0;
      while (performance.now() < end) {
        await add(100);
        added += 100;
        await pause(50);
      }
      await fleetStart(fleet, who);
      await add(1);
      await untilStored(await flushed());
      expect((await show()).recoverable.gaps).to.deep.equal([]);
      await untilOnline('web-2');
      expect(await rowsAt([])).to.equal(had + added + 1);
    });
  }
});
