// A warm standby through a real controller and two agents: files and a PostgreSQL server are kept on the other host as they change, and a
// failover finishes both.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Agent } from '@holdfast/agent/agent';
import { PostgresServer } from '@holdfast/agent/testing/postgres-server';
import { startTestController, type TestController } from '@holdfast/controller/testing/test-controller';
import { createRpcClient } from '@holdfast/shared/rpc/channel';
import { RecoveryDefinition, type RecoveryClient, type RunInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { expect } from 'chai';
import pg from 'pg';
import { outcomeOf, startEnrolledAgent } from '../fleet/in-process-agent.ts';

const DOMAIN = 'default';
const PORT = 5507;

describe('a warm standby', function warmStandby() {
  this.timeout(120_000);
  let dir: string;
  let server: PostgresServer;
  let test: TestController;
  let recovery: RecoveryClient;
  let database: pg.Client;
  const agents: Agent[] = [];
  const shop = (): string => join(dir, 'shop');
  const copy = (): string => join(dir, 'copy');
  const standby = (): string => join(dir, 'standby');

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-e2e-warm-'));
    chmodSync(dir, 0o755);
    server = await PostgresServer.start();
    await server.query('create table orders (id int primary key)');
    await server.query('insert into orders select generate_series(1, 1000)');
    test = await startTestController();
    database = new pg.Client(test.database);
    await database.connect();
    recovery = createRpcClient(
      RecoveryDefinition,
      test.track({ address: test.address, caCertificatePem: test.caPem }),
      {
        bearerToken: test.ownerToken,
      },
    );
    for (const host of ['web-1', 'web-2']) agents.push(await startEnrolledAgent(test, { dir, host }));
    mkdirSync(shop());
    writeFileSync(join(shop(), 'page'), 'first');
    writeFileSync(join(shop(), 'old'), 'goes');
    const settings = [{ name: 'dsn', value: server.dsn }];
    await test.owner.addSource({
      domain: DOMAIN,
      host: 'web-1',
      spec: { name: 'db', type: { $case: 'engine', value: { type: 'postgres', settings } } },
    });
    await test.owner.addSource({
      domain: DOMAIN,
      host: 'web-1',
      spec: { name: 'files', type: { $case: 'files', value: { paths: [shop()] } } },
    });
    await backUp();
    while ((await test.owner.getSource({ domain: DOMAIN, source: 'web-1/db' })).source?.state !== 'protected')
      await delay(100);
    await recovery.applyPlan({ domain: DOMAIN, document: planDocument() });
  });
  after(async () => {
    await Promise.all(agents.map((agent) => agent.stop()));
    await database?.end();
    await test?.close();
    await server?.remove();
    const pidFile = join(standby(), 'postmaster.pid');
    if (existsSync(pidFile)) {
      const pid = Number(readFileSync(pidFile, 'utf8').split('\n')[0]);
      process.kill(pid, 'SIGQUIT');
      while (existsSync(`/proc/${pid}/cwd`)) await delay(20);
    }
    rmSync(dir, { recursive: true, force: true });
  });

  const planDocument = (): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 1d}
placement: {hosts: [web-1, web-2], mode: warm}
sources: [files, db]
recoveryPoint: {default: latest}
steps:
  - {id: fence, type: fence, in: [planned, unplanned]}
  - {id: files, type: restore.files, source: files, target: ${copy()}, needs: [fence]}
  - {id: db, type: restore.postgres, source: db, target: ${standby()}, port: ${PORT}, needs: [fence]}
`;
  const backUp = async (): Promise<void> => {
    const { jobId } = await test.owner.startBackup({ domain: DOMAIN, source: 'web-1/files' });
    expect((await outcomeOf(test, jobId)).result).to.equal('done');
  };
  interface Row {
    readonly kind: string;
    readonly state: string;
    readonly error: string;
    readonly note: string;
    readonly replayed: string | null;
  }
  const rows = async (): Promise<Row[]> =>
    (
      await database.query<Row>(
        'select kind, state, error, note, replayed::text as replayed from warm_copy order by kind',
      )
    ).rows;
  const until = async (condition: () => Promise<boolean> | boolean): Promise<void> => {
    for (let tries = 0; !(await condition()); tries++) {
      if (tries > 600) throw new Error(`it did not come to that: ${JSON.stringify(await rows())}`);
      await delay(100);
    }
  };
  const replayed = async (): Promise<void> => {
    const [row] = await server.query<{ lsn: string }>("select (pg_current_wal_flush_lsn() - '0/0')::text as lsn");
    await until(async () =>
      (await rows()).some(({ kind, replayed: at }) => kind === 'postgres' && BigInt(at ?? 0) >= BigInt(row!.lsn)),
    );
  };

  it('gets what its primary stores, soon after', async () => {
    await until(() => existsSync(join(copy(), 'page')));
    await replayed();
    writeFileSync(join(shop(), 'page'), 'second');
    rmSync(join(shop(), 'old'));
    await backUp();
    await until(() => readFileSync(join(copy(), 'page'), 'utf8') === 'second' && !existsSync(join(copy(), 'old')));
    await server.query('insert into orders select generate_series(1001, 1500)');
    await replayed();
    expect((await rows()).map(({ error, note }) => error + note)).to.deep.equal(['', '']);
  });

  it('takes over with everything that is stored', async () => {
    await server.query('insert into orders values (2000)');
    await replayed();
    await server.stop();
    const { run } = await recovery.startRun({ domain: DOMAIN, plan: 'shop', mode: 'unplanned', fenceConfirmed: true });
    let info: RunInfo | undefined;
    await until(async () => {
      info = (await recovery.getRun({ domain: DOMAIN, run })).run;
      return ['awaiting-commit', 'paused', 'failed'].includes(info?.state ?? '');
    });
    const { steps } = await recovery.getRun({ domain: DOMAIN, run });
    expect(info?.state, JSON.stringify(steps.map(({ id, state, message }) => ({ id, state, message })))).to.equal(
      'awaiting-commit',
    );
    const client = new pg.Client({ host: standby(), port: PORT, user: 'postgres', database: 'postgres' });
    await client.connect();
    try {
      expect((await client.query<{ n: string }>('select count(*) as n from orders')).rows[0]!.n).to.equal('1501');
      await client.query('insert into orders values (3000)');
    } finally {
      await client.end();
    }
    expect(readFileSync(join(copy(), 'page'), 'utf8')).to.equal('second');
    expect(readFileSync(join(standby(), 'holdfast_recovery.log'), 'utf8')).to.contain('received promote request');
  });
});
