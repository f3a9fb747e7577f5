// A PostgreSQL server's log through a real controller: followed without a gap while the agent is ended and started, and while the
// controller can't be reached; what is stored is the server's own log.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startAgent, type Agent } from '@holdfast/agent/agent';
import { engineRegistry } from '@holdfast/agent/sources/registry';
import { PostgresServer } from '@holdfast/agent/testing/postgres-server';
import { openRelay, type Relay } from '@holdfast/agent/testing/relay';
import { startTestController, type TestController } from '@holdfast/controller/testing/test-controller';
import type { SourceInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import { expect } from 'chai';
import { startEnrolledAgent } from '../fleet/in-process-agent.ts';

const DOMAIN = 'default';

describe('the log of a PostgreSQL server', function postgresLog() {
  this.timeout(120_000);
  let dir: string;
  let server: PostgresServer;
  let test: TestController;
  let relay: Relay;
  let agent: Agent;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-e2e-postgres-log-'));
    server = await PostgresServer.start({ settings: { max_wal_size: '4GB' } });
    server.fillPgbench(1);
    test = await startTestController();
    relay = await openRelay(Number(test.address.split(':')[1]));
    await (await startEnrolledAgent(test, { dir, host: 'web-1' })).stop();
    agent = startThroughRelay();
    const settings = [{ name: 'dsn', value: server.dsn }];
    const spec = { name: 'db', type: { $case: 'engine' as const, value: { type: 'postgres', settings } } };
    await test.owner.addSource({ domain: DOMAIN, host: 'web-1', spec });
  });
  after(async () => {
    await agent?.stop();
    await relay?.close();
    await test?.close();
    await server?.remove();
    rmSync(dir, { recursive: true, force: true });
  });

  const startThroughRelay = (): Agent =>
    startAgent({
      stateDir: join(dir, 'web-1'),
      controllerAddress: relay.address,
      engines: engineRegistry(100),
      clock: systemClock,
      random: Math.random,
      log: silentLog,
    });

  const info = async (): Promise<SourceInfo> =>
    (await test.owner.getSource({ domain: DOMAIN, source: 'web-1/db' })).source!;

  async function until(condition: (source: SourceInfo) => boolean): Promise<SourceInfo> {
    for (;;) {
      const source = await info();
      if (condition(source)) return source;
      await delay(100);
    }
  }

  async function flushed(): Promise<bigint> {
    const [row] = await server.query<{ lsn: string }>("select (pg_current_wal_flush_lsn() - '0/0')::text as lsn");
    return BigInt(row!.lsn);
  }

  it('is protected by a first base that nobody asked for', async () => {
    const source = await until(
      ({ state, log, snapshots }) =>
        state === 'protected' && log?.state === 'following' && log.slot?.state === 'active' && snapshots > 0n,
    );
    expect(Number(source.snapshots)).to.equal(1);
    expect(source.recoverable?.gaps).to.deep.equal([]);
    expect(source.log?.slot?.state).to.equal('active');
  });

  it('has no gap after the agent was away, and the controller, under load', async () => {
    const load = server.pgbench(['-c', '2', '-T', '8']);
    await delay(1500);
    await agent.stop();
    await delay(1500);
    agent = startThroughRelay();
    await until(({ log }) => log?.state === 'following');
    relay.lose('both');
    relay.cut();
    await delay(2000);
    relay.heal();
    relay.cut();
    await load.ended;
    const [row] = await server.query<{ now: Date }>('select clock_timestamp() as now');
    const end = await flushed();
    const source = await until(
      ({ log, recoverable }) =>
        (log?.stored?.order ?? 0n) >= end && Number(recoverable?.toMs ?? 0) >= row!.now.getTime(),
    );
    expect(source.recoverable?.gaps).to.deep.equal([]);
    expect(source.state).to.equal('protected');
    expect(source.log?.note).to.equal('');
    expect(Number(source.snapshots)).to.equal(1);
  });
});
