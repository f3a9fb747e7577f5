// How long a failover to a warm standby takes, at two sizes ten times apart: files and PostgreSQL, through a controller and two agents.
//
//   pnpm bench recovery
//
// All of it runs in this process, but for the database servers. What is measured is the run's own: from its start to its last step.

import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Agent } from '@holdfast/agent/agent';
import { PostgresServer } from '@holdfast/agent/testing/postgres-server';
import { startTestController } from '@holdfast/controller/testing/test-controller';
import { createRpcClient } from '@holdfast/shared/rpc/channel';
import { RecoveryDefinition, type StepInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import pg from 'pg';
import { outcomeOf, startEnrolledAgent } from '../fleet/in-process-agent.ts';

const DOMAIN = 'default';
const FILE_BYTES = 32 * 1024;
const FILES_IN_DIRECTORY = 500;
const PORT = 5511;
const LOOK_MS = 25;

export interface WarmFigures {
  readonly files: number;
  readonly megabytes: number;
  readonly runMs: number;
  /** Of each restore step, as its host took it. */
  readonly stepMs: Readonly<Record<string, number>>;
}

/** @param scale pgbench's; one is some 15 MB */
async function failover(dir: string, files: number, scale: number, say: (line: string) => void): Promise<WarmFigures> {
  mkdirSync(dir, { recursive: true });
  chmodSync(dir, 0o755);
  const shop = join(dir, 'shop');
  const standby = join(dir, 'standby');
  writeTree(shop, files);
  const server = await PostgresServer.start({ parent: dir, settings: { max_wal_size: '4GB' } });
  const test = await startTestController();
  const agents: Agent[] = [];
  const catalog = new pg.Client(test.database);
  try {
    server.fillPgbench(scale);
    await server.query('checkpoint');
    await catalog.connect();
    const channel = test.track({ address: test.address, caCertificatePem: test.caPem });
    const recovery = createRpcClient(RecoveryDefinition, channel, { bearerToken: test.ownerToken });
    for (const host of ['web-1', 'web-2']) agents.push(await startEnrolledAgent(test, { dir, host }));
    const settings = [{ name: 'dsn', value: server.dsn }];
    const database = { name: 'db', type: { $case: 'engine' as const, value: { type: 'postgres', settings } } };
    const tree = { name: 'files', type: { $case: 'files' as const, value: { paths: [shop] } } };
    await test.owner.addSource({ domain: DOMAIN, host: 'web-1', spec: database });
    await test.owner.addSource({ domain: DOMAIN, host: 'web-1', spec: tree });
    const backUp = async (): Promise<void> => {
      const { jobId } = await test.owner.startBackup({ domain: DOMAIN, source: 'web-1/files' });
      await outcomeOf(test, jobId);
    };
    await backUp();
    const state = async () => (await test.owner.getSource({ domain: DOMAIN, source: 'web-1/db' })).source?.state;
    while ((await state()) !== 'protected') await pause(LOOK_MS);
    await recovery.applyPlan({ domain: DOMAIN, document: planOf(join(dir, 'copy'), standby) });
    say(`${files.toLocaleString('en')} files, pgbench scale ${scale}: making the warm copies …`);
    await untilWarm(catalog, server);
    await server.pgbench(['-c', '2', '-t', '500']).ended;
    writeFileSync(join(shop, '0', '0'), seededBytes('changed', FILE_BYTES));
    await backUp();
    await untilWarm(catalog, server);
    const [size] = await server.query<{ bytes: string }>("select pg_database_size('postgres')::text as bytes");
    await server.stop();

    const began = performance.now();
    const { run } = await recovery.startRun({ domain: DOMAIN, plan: 'shop', mode: 'unplanned', fenceConfirmed: true });
    for (;;) {
      const { run: info, steps } = await recovery.getRun({ domain: DOMAIN, run });
      if (info?.state === 'awaiting-commit') {
        const megabytes = Math.round((files * FILE_BYTES + Number(size?.bytes)) / 1e6);
        return { files, megabytes, runMs: performance.now() - began, stepMs: timesOf(steps) };
      }
      if (info?.state === 'paused' || info?.state === 'failed') {
        throw new Error(`the run is ${info.state}: ${steps.map(({ id, message }) => `${id}: ${message}`).join('; ')}`);
      }
      await pause(LOOK_MS);
    }
  } finally {
    await Promise.all(agents.map((agent) => agent.stop()));
    await catalog.end();
    await test.close();
    await server.remove();
    await endServer(standby);
  }
}

function writeTree(root: string, files: number): void {
  for (let index = 0; index < files; index++) {
    const directory = join(root, String(Math.floor(index / FILES_IN_DIRECTORY)));
    if (index % FILES_IN_DIRECTORY === 0) mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, String(index)), seededBytes(`file ${index}`, FILE_BYTES));
  }
}

function planOf(copy: string, standby: string): string {
  return `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 1d}
placement: {hosts: [web-1, web-2], mode: warm}
sources: [files, db]
recoveryPoint: {default: latest}
steps:
  - {id: fence, type: fence, in: [planned, unplanned]}
  - {id: files, type: restore.files, source: files, target: ${copy}, needs: [fence]}
  - {id: db, type: restore.postgres, source: db, target: ${standby}, port: ${PORT}, needs: [fence]}
`;
}

/** The standby has the newest snapshot, and has replayed what the server has written. */
async function untilWarm(catalog: pg.Client, server: PostgresServer): Promise<void> {
  const [row] = await server.query<{ lsn: string }>("select (pg_current_wal_flush_lsn() - '0/0')::text as lsn");
  for (;;) {
    const { rows } = await catalog.query<{ warm: boolean }>(
      `select count(*) = 2 as warm from warm_copy w where job_id is null and case kind
         when 'postgres' then state = 'replaying' and replayed >= $1
         else applied = (select id from snapshot s where s.source_id = w.source_id order by sequence desc limit 1) end`,
      [row?.lsn],
    );
    if (rows[0]?.warm === true) return;
    await pause(LOOK_MS);
  }
}

function timesOf(steps: readonly StepInfo[]): Record<string, number> {
  const timed = steps.filter(({ type }) => type.startsWith('restore.'));
  return Object.fromEntries(timed.map((step) => [step.type, Number(step.finishedAtMs - step.startedAtMs)]));
}

async function endServer(dataDir: string): Promise<void> {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  process.kill(pid, 'SIGQUIT');
  while (existsSync(`/proc/${pid}/cwd`)) await pause(LOOK_MS);
}

const SIZES = [
  { files: 1_000, scale: 4 },
  { files: 10_000, scale: 40 },
];

/** The same failover at both sizes, as Markdown. @param rounds at each size; the median is shown */
export async function benchWarm(work: string, rounds: number, say: (line: string) => void): Promise<string> {
  const lines = ['| files | MB | run, s | restore.files, s | restore.postgres, s |', '|---:|---:|---:|---:|---:|'];
  const medians: number[] = [];
  for (const { files, scale } of SIZES) {
    const found: WarmFigures[] = [];
    for (let round = 0; round < rounds; round++) {
      found.push(await failover(join(work, `warm-${files}-${round}`), files, scale, say));
    }
    const middle = found.toSorted((a, b) => a.runMs - b.runMs)[Math.floor(rounds / 2)];
    if (middle === undefined) continue;
    medians.push(middle.runMs);
    const seconds = [middle.runMs, middle.stepMs['restore.files'] ?? 0, middle.stepMs['restore.postgres'] ?? 0];
    lines.push(`| ${files} | ${middle.megabytes} | ${seconds.map((ms) => (ms / 1000).toFixed(2)).join(' | ')} |`);
    say(lines.at(-1) ?? '');
  }
  const [small = 0, large = 0] = medians;
  return `${lines.join('\n')}\n\nTen times the data: ${(large / small).toFixed(2)} × the time.\n`;
}
