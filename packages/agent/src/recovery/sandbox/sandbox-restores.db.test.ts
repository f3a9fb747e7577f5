import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import type { RestoreJob } from '../../jobs/job.ts';
import { postgresEngine } from '../../sources/postgres/engine.ts';
import { ProtectedServer } from '../../sources/postgres/restore/testing/protected-server.ts';
import { restoreJob } from '../../testing/job-deps.ts';
import { PostgresServer } from '../../testing/postgres-server.ts';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { planRestores } from '../warm/plan-restores.ts';
import type { Sandboxes } from './sandbox.ts';
import { missingForSandbox } from './sandbox-process.ts';
import { newSandboxes } from './sandboxes.ts';

describe('a drill’s restore of PostgreSQL', function drillRestore() {
  this.timeout(120_000);
  let server: PostgresServer;
  let source: ProtectedServer;
  let sandboxes: Sandboxes;
  let stateDir: string;

  before(async function needsNamespaces() {
    const missing = missingForSandbox();
    if (missing !== undefined && process.env['HOLDFAST_CI'] === '1') throw new Error(missing);
    if (missing !== undefined) this.skip();
    server = await PostgresServer.start();
    await server.query('create table orders (id int primary key)');
    await server.query('insert into orders select generate_series(1, 500)');
    source = new ProtectedServer(server);
    await source.firstBase();
    await server.query('insert into orders values (1000)');
    await source.caughtUp();
    stateDir = scratchDirectory();
    sandboxes = newSandboxes({ clock: systemClock, log: silentLog, stateDir });
  });
  after(async () => {
    await sandboxes?.stop();
    await source?.close();
    await server?.remove();
    removeScratchDirectories();
  });

  it('runs in the sandbox on what is in the sandbox, leaves production’s directory alone, and is gone with it', async () => {
    // As the standby has it: a directory of its own at that place, which production uses.
    const target = join(source.root, 'production');
    mkdirSync(target);
    writeFileSync(join(target, 'live'), 'not the drill’s');
    const sandbox = await sandboxes.open({ name: 'drill-1', application: 'shop', ttlMs: 600_000, addresses: [] });
    const engine = source.bench.engineRestore(source.engine({ kind: 'latest' }, { start: true, port: 5502 }));
    const job: RestoreJob = restoreJob(target, {
      grant: source.snapshot,
      engine,
      sandbox: 'drill-1',
      intoNonEmpty: true,
    });
    const pipeline = planRestores(async () => postgresEngine.restore.bind(postgresEngine), {
      stateDir,
      sandboxes,
      database: () => expect.fail('no warm copy in a drill'),
    });
    const signal = new AbortController().signal;
    const run = await pipeline(job);
    const report = await run(job, source.bench.deps(), signal, () => undefined);
    expect(report.failure).to.equal(undefined);
    expect(report.reached).to.include({ running: true, connect: `host=${target} port=5502` });

    const psql = ['/usr/bin/psql', '-h', target, '-p', '5502', '-U', 'postgres', '-Atc', 'select count(*) from orders'];
    const asked = await sandbox.run({ command: psql, timeoutMs: 20_000, environment: {} }, signal);
    expect(asked.output.trim()).to.equal('501');
    expect(readdirSync(target), 'outside').to.deep.equal(['live']);
    const pid = postmasters(target);
    expect(pid.length).to.equal(1);
    expect(await sandboxes.close('drill-1')).to.deep.equal({ left: [] });
    expect(existsSync(`/proc/${pid[0]}/cwd`)).to.equal(false);
    expect(readdirSync(join(stateDir, 'drills'))).to.deep.equal([]);
  });
});

/** Servers on that directory, as they name it. */
function postmasters(target: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
      return words[0]?.endsWith('/postgres') === true && words.includes(target);
    } catch {
      return false;
    }
  });
}
