// An agent's memory while it backs up far more than it could hold: real processes, a database of 2 GB, and a controller that stands still
// for a while. What the agent may not do is gather what the controller doesn't take: it stops reading instead.

import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PostgresServer } from '@holdfast/agent/testing/postgres-server';
import { expect } from 'chai';
import { fleetDown, fleetStatus, fleetUp, holdfast } from '../fleet/fleet.ts';

const ROWS = 6_600_000;
const DATABASE_BYTES = 2e9;
const OWN_MIB = 250;
/** A base gets several times as far in that time when nothing holds it back. */
const LOOK_MS = 1_500;
/** What may be on its way is bounded as it is sealed, some 24 MiB; these rows shrink to a twelfth. */
const ON_ITS_WAY_BYTES = DATABASE_BYTES / 4;

/** Peak of what a process takes for itself, in MiB: the pages of its program and libraries are the kernel's to drop, and shared. */
function ownPeakMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)![1]);
  return (kib('VmHWM') - kib('RssFile')) / 1024;
}

describe('an agent that backs up 2 GB', function memory() {
  this.timeout(300_000);
  let dir: string;
  let server: PostgresServer;
  let pids: Map<string, number>;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-agent-memory-'));
    chmodSync(dir, 0o711);
    const settings = { max_wal_size: '8GB' };
    server = await PostgresServer.start({ settings });
    await server.query(
      `create table filler as select n, repeat(md5(n::text), 8) as text from generate_series(1, ${ROWS}) as n`,
    );
    await server.query('checkpoint');
    await fleetUp({ dir, hosts: ['web-1'] });
    pids = new Map((await fleetStatus(dir)).flatMap(({ name, pid }) => (pid === undefined ? [] : [[name, pid]])));
    const words = ['--host', 'web-1', '--type', 'postgres', '--dsn', server.dsn, '--set', 'baseEvery=off'];
    const added = await holdfast(dir, ['source', 'add', 'db', ...words, '--no-check']);
    expect(added.code, added.stderr).to.equal(0);
  });
  after(async () => {
    await fleetDown(dir).catch(() => []);
    await server?.remove();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Bytes that the server has given to the base so far. */
  async function streamed(): Promise<number> {
    const [row] = await server.query<{ bytes: string }>(
      'select backup_streamed::text as bytes from pg_stat_progress_basebackup',
    );
    return Number(row?.bytes ?? 0);
  }

  async function streamedAfter(ms: number): Promise<number> {
    await sleep(ms);
    return await streamed();
  }

  it('reads no further while the controller stands still, and takes less than 250 MiB for all of it', async () => {
    const backup = holdfast(dir, ['backup', 'web-1/db', '--json']);
    while ((await streamed()) < DATABASE_BYTES / 4) await sleep(20);
    const controller = pids.get('controller')!;
    process.kill(controller, 'SIGSTOP');
    try {
      const stopped = await streamed();
      let before = stopped;
      let now = await streamedAfter(LOOK_MS);
      for (; now !== before; now = await streamedAfter(LOOK_MS)) before = now;
      expect(now).to.be.within(stopped, stopped + ON_ITS_WAY_BYTES);
    } finally {
      process.kill(controller, 'SIGCONT');
    }

    const { code, stdout, stderr } = await backup;
    expect(code, stderr).to.equal(0);
    const summary = JSON.parse(stdout.trim().split('\n').at(-1)!) as { bytesTotal: number; partial: boolean };
    expect(summary.partial).to.equal(false);
    expect(summary.bytesTotal).to.be.above(DATABASE_BYTES);
    expect(ownPeakMiB(pids.get('web-1')!)).to.be.below(OWN_MIB);
  });
});
