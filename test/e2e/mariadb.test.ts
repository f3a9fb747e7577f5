// A MariaDB server through a real controller: protected on one host, followed, brought back on another to a moment between two
// commits, to a GTID, to the latest; tested there; and what cannot be reached refused.

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Agent } from '@holdfast/agent/agent';
import { MariadbServer, mariadbInstalled } from '@holdfast/agent/testing/mariadb-server';
import { startTestController, type TestController } from '@holdfast/controller/testing/test-controller';
import type { RecoveryTarget } from '@holdfast/shared/rpc/gen/holdfast/v1/log';
import type { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { SourceInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { expect } from 'chai';
import { outcomeOf, startEnrolledAgent } from '../fleet/in-process-agent.ts';

const DOMAIN = 'default';
const SOURCE = 'web-1/shopdb';

describe('a MariaDB server', function mariadb() {
  this.timeout(120_000);
  let dir: string;
  let server: MariadbServer;
  let test: TestController;
  const agents: Agent[] = [];

  before(async function prepare() {
    if (!mariadbInstalled) this.skip();
    dir = mkdtempSync(join(tmpdir(), 'holdfast-e2e-mariadb-'));
    // The restored server's account passes through.
    chmodSync(dir, 0o711);
    server = await MariadbServer.start();
    server.sql('CREATE DATABASE shop; CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(64))');
    test = await startTestController();
    for (const host of ['web-1', 'web-2']) agents.push(await startEnrolledAgent(test, { dir, host }));
    const settings = [{ name: 'dsn', value: server.dsn }];
    const spec = { name: 'shopdb', type: { $case: 'engine' as const, value: { type: 'mariadb', settings } } };
    await test.owner.addSource({ domain: DOMAIN, host: 'web-1', spec });
  });
  after(async () => {
    for (const agent of agents) await agent.stop();
    await test?.close();
    await server?.remove();
    if (dir !== undefined) rmSync(dir, { recursive: true });
  });

  const info = async (): Promise<SourceInfo> =>
    (await test.owner.getSource({ domain: DOMAIN, source: SOURCE })).source!;

  /** Waits until the vault has everything that was committed, and knows that it is everything up to `atMs`. */
  async function protectedUpTo(atMs: number): Promise<void> {
    const until = performance.now() + 60_000;
    for (;;) {
      const { recoverable, log } = await info();
      if (Number(recoverable?.toMs ?? 0) >= atMs) return;
      if (performance.now() > until)
        throw new Error(
          `still not there: ${JSON.stringify({ recoverable, log }, (_, v) => (typeof v === 'bigint' ? String(v) : (v as unknown)))}`,
        );
      await delay(100);
    }
  }

  async function restore(name: string, point?: RecoveryTarget): Promise<{ outcome: JobOutcome; target: string }> {
    const target = join(dir, name);
    const request = { domain: DOMAIN, source: SOURCE, toHost: 'web-2', target, start: true };
    const { jobId } = await test.owner.startRestore({ ...request, ...(point === undefined ? {} : { point }) });
    return { outcome: await outcomeOf(test, jobId), target };
  }

  /** What the restored server holds; then it is ended. */
  function notesOf({ outcome, target }: { outcome: JobOutcome; target: string }): string[] {
    expect(outcome.result, outcome.errorMessage).to.equal('done');
    expect(outcome.reached?.running).to.equal(true);
    const socket = /socket=(\S+)/.exec(outcome.reached?.connect ?? '')?.[1] ?? '';
    const args = ['--no-defaults', `--socket=${socket}`, '--user=root', '--batch', '--skip-column-names'];
    try {
      const asked = spawnSync('mariadb', args, { input: 'SELECT note FROM shop.orders ORDER BY id', encoding: 'utf8' });
      expect(asked.stderr).to.equal('');
      return asked.stdout.trim().split('\n');
    } finally {
      process.kill(Number(readFileSync(join(target, 'holdfast.pid'), 'utf8')), 'SIGKILL');
    }
  }

  it('comes back on another host: to a moment between two commits, to a GTID, to the latest; and is tested there', async () => {
    await protectedUpTo(1);
    const order = (note: string): void => void server.sql(`INSERT INTO orders (note) VALUES ('${note}')`, 'shop');
    order('first');
    const gtid = server.sql('SELECT @@gtid_binlog_pos');
    await delay(1100);
    const between = Date.now();
    await delay(1100);
    server.sql('FLUSH BINARY LOGS');
    order('second');
    await protectedUpTo(Date.now());
    expect((await info()).state).to.equal('protected');

    expect(notesOf(await restore('latest'))).to.deep.equal(['first', 'second']);
    expect(notesOf(await restore('time', { kind: { $case: 'atMs', value: BigInt(between) } }))).to.deep.equal([
      'first',
    ]);
    expect(notesOf(await restore('gtid', { kind: { $case: 'gtid', value: gtid } }))).to.deep.equal(['first']);
    const early = await restore('early', { kind: { $case: 'atMs', value: 1000n } }).catch(String);
    expect(early).to.match(/base|before|reach/);

    const verify = await test.owner.startVerify({ domain: DOMAIN, source: SOURCE, onHost: 'web-2', restoreTest: true });
    const tested = await outcomeOf(test, verify.jobId);
    expect(tested.result, tested.errorMessage).to.equal('done');
    expect(tested.reached?.facts.find(({ name }) => name === 'rows')?.value).to.equal('2');
  });
});
