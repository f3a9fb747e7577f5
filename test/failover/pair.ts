// Two hosts of one application, a witness and a controller, each in a network namespace of its own, joined by a bridge; agents are real
// processes, the controller stands in this one, whose thread stays inside the middle namespace.
//
// Hazard: processes and devices that stay behind. Namespaces end with the processes that hold them; every process is ended by its pid.

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  joinNamespaces,
  openNamespace,
  type NetworkNamespace,
} from '@holdfast/agent/recovery/failover/testing/network-namespace';
import type { StoredRecord } from '@holdfast/agent/recovery/failover/record-file';
import { catalogIdentity } from '@holdfast/controller/catalog/catalog-identity';
import { startController, type Controller } from '@holdfast/controller/controller';
import { readLease } from '@holdfast/controller/recovery/failover/lease-rows';
import { connectCatalog, type Catalog } from '@holdfast/controller/catalog/catalog';
import { settingsSchema } from '@holdfast/controller/settings';
import { createTestDatabase } from '@holdfast/controller/testing/test-catalog';
import { FAILOVER_TIMING, safetySlackMs, type FailoverTiming } from '@holdfast/shared/failover/timing';
import type { LeaseRow } from '@holdfast/shared/failover/lease-row';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import { createRpcClient, openChannel } from '@holdfast/shared/rpc/channel';
import { OperatorDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { RecoveryDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { silentLog } from '@holdfast/shared/runtime/log';

export const TIMING: FailoverTiming = {
  ...FAILOVER_TIMING,
  renewMs: 500,
  // An agent that is started anew from its sources needs two seconds of it on a busy machine.
  leaseMs: 4000,
  marginMs: 1500,
  suspectAfterMs: 1500,
  witnessMs: 800,
  outOfReachMs: 6000,
  bootAskMs: 3000,
  controllerLeaseMs: 2000,
  resendMs: 250,
};
if (safetySlackMs(TIMING) <= 0) throw new Error('the durations of the test are not safe');

const PORT = 8080;
const MIDDLE = '10.99.0.1';
const ADDRESSES = { 'web-1': '10.99.0.11', 'web-2': '10.99.0.12', 'mon-1': '10.99.0.13' } as const;
export type HostName = keyof typeof ADDRESSES;
const SERVICE_IP = '10.99.0.100/24';
const AGENT = fileURLToPath(import.meta.resolve('@holdfast/agent/main'));
const SERVICE = fileURLToPath(new URL('service.mjs', import.meta.url));

export interface Pair {
  readonly controller: () => Controller;
  readonly planId: string;
  readonly ids: Readonly<Record<HostName, string>>;
  row(): Promise<LeaseRow>;
  /** The catalog is one that was restored: its row is of another one. */
  restoreCatalog(): Promise<void>;
  /** What the port answers within 500 ms, as the middle sees it. */
  answer(host: HostName): Promise<string | undefined>;
  /** Starts or stops the service as a step of a run would. */
  service(host: HostName, verb: 'start' | 'stop'): void;
  startAgent(host: HostName): Promise<void>;
  signalAgent(host: HostName, signal: NodeJS.Signals): Promise<void>;
  /** Everything in the host, at once; its kernel's state is gone with it. */
  killHost(host: HostName): Promise<void>;
  /** Between a host and the controller alone. */
  cutFromController(host: HostName, cut: boolean): void;
  /** The host from everybody. */
  unplug(host: HostName): void;
  plug(host: HostName): void;
  startController(): Promise<void>;
  stopController(): Promise<void>;
  /** A first backup of the primary, whose agent runs: plans are looked at twice a minute, and one that is not ready is disarmed. */
  backup(): Promise<void>;
  /** Controller and standby would both promote: each has shaken hands with the primary, and the witness can be asked. */
  armed(): Promise<void>;
  /** The plan in another mode: a new revision. */
  apply(mode: 'manual' | 'approve' | 'automatic'): Promise<void>;
  /** A person says that the failover's run stands: until then the plan is not ready for another one. */
  commitRun(): Promise<void>;
  /** nftables and addresses of a host, for failures. */
  show(host: HostName): string;
  logs(host: HostName): string;
  close(): Promise<void>;
}

export async function openPair(middle: NetworkNamespace, mode: 'manual' | 'approve' | 'automatic'): Promise<Pair> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-pair-'));
  const names = Object.keys(ADDRESSES) as HostName[];
  const spaces = new Map<HostName, NetworkNamespace>();
  const agents = new Map<HostName, ChildProcess>();
  middle.run('ip', 'link', 'add', 'br0', 'type', 'bridge');
  middle.run('ip', 'address', 'add', `${MIDDLE}/24`, 'dev', 'br0');
  middle.run('ip', 'link', 'set', 'br0', 'up');
  const connectHost = async (name: HostName): Promise<void> => {
    const namespace = await openNamespace();
    spaces.set(name, namespace);
    joinNamespaces(
      { namespace: middle, device: `to-${name}`, address: '' },
      { namespace, device: 'eth0', address: `${ADDRESSES[name]}/24` },
    );
    middle.run('ip', 'link', 'set', `to-${name}`, 'master', 'br0');
  };
  for (const name of names) await connectHost(name);

  const database = await createTestDatabase();
  const { user, password, host, port, database: databaseName } = database;
  const databaseUrl = `postgresql://${user}:${String(password)}@localhost:${port}/${databaseName}?host=${encodeURIComponent(host ?? '')}`;
  const masterKey = randomBytes(32);
  let controller: Controller | undefined;
  const bringController = async (): Promise<void> => {
    controller = await startController({
      settings: settingsSchema.parse({
        data: join(directory, 'controller'),
        listen: `${MIDDLE}:7400`,
        metrics: `${MIDDLE}:0`,
      }),
      databaseUrl,
      masterKey,
      log: silentLog,
      failoverTiming: TIMING,
    });
  };
  await bringController();
  const catalog = await connectCatalog(database);
  const ids = await asOwner(directory, ({ operator }) => enrolAll(operator, directory, names, spaces));

  const planId = randomUUID();
  await addPlan(catalog, planId, ids, checked(documentOf(directory, mode)));
  const isOnline = async (name: HostName): Promise<boolean> => {
    const { rowCount } = await catalog.pool.query(`select from host where id = $1 and connection_id <> ''`, [
      ids[name],
    ]);
    return rowCount === 1;
  };
  const space = (name: HostName): NetworkNamespace => spaces.get(name)!;
  const pair: Pair = {
    controller: () => controller!,
    planId,
    ids,
    row: async () => (await readLease(catalog, planId))!.row,
    restoreCatalog: async () =>
      void (await catalog.pool.query(`update application set identity = 'before/1' where plan_id = $1`, [planId])),
    answer: (name) => answerOf(`http://${ADDRESSES[name]}:${PORT}/`),
    service: (name, verb) => {
      space(name).run(process.execPath, SERVICE, verb, join(directory, name), String(PORT));
    },
    async startAgent(name) {
      if (agents.has(name)) throw new Error(`the agent of ${name} runs already`);
      const log = openSync(join(directory, `${name}.log`), 'a');
      const [program = '', ...words] = space(name).enter(
        process.execPath,
        '--conditions=holdfast-source',
        AGENT,
        'run',
        '--config',
        join(directory, name, 'agent.yaml'),
      );
      const child = spawn(program, words, { stdio: ['ignore', log, log], env: { ...process.env, NODE_OPTIONS: '' } });
      closeSync(log);
      agents.set(name, child);
      await eventually(`${name} is online`, async () => controller === undefined || (await isOnline(name)));
    },
    async signalAgent(name, signal) {
      const child = agents.get(name)!;
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill(signal);
      if (signal === 'SIGKILL' || signal === 'SIGTERM') {
        await ended;
        agents.delete(name);
      }
    },
    async killHost(name) {
      await pair.signalAgent(name, 'SIGKILL');
      endService(join(directory, name));
      space(name).close();
      await eventually(
        'its link is gone',
        async () => await Promise.resolve(!middle.run('ip', '-o', 'link').includes(`to-${name}@`)),
      );
      await connectHost(name);
    },
    cutFromController(name, cut) {
      middle.run('nft', cut ? 'add' : 'delete', 'table', 'inet', 'cut');
      if (!cut) return;
      // By the port: this process is the client as well.
      for (const [hook, side, end] of [
        ['input', 'saddr', 'dport'],
        ['output', 'daddr', 'sport'],
      ] as const) {
        const rule = `ip ${side} ${ADDRESSES[name]} tcp ${end} 7400 drop`;
        middle.run(
          'nft',
          `add chain inet cut ${hook} { type filter hook ${hook} priority 0; }; add rule inet cut ${hook} ${rule}`,
        );
      }
    },
    unplug: (name) => void middle.run('ip', 'link', 'set', `to-${name}`, 'down'),
    plug: (name) => void middle.run('ip', 'link', 'set', `to-${name}`, 'up'),
    startController: bringController,
    async stopController() {
      const running = controller;
      controller = undefined;
      await running?.stop();
    },
    armed: () =>
      eventually('the leases are armed', async () => {
        const row = await pair.row();
        const standby = names.find((name) => ids[name] === row.standby)!;
        const file = join(directory, standby, 'failover', planId, 'record.json');
        if (row.disarmed !== 0 || !existsSync(file) || !(await isOnline('mon-1'))) return false;
        const { body } = JSON.parse(readFileSync(file, 'utf8')) as { body: string };
        return !(JSON.parse(body) as StoredRecord).record.disarmed;
      }),
    apply: (newMode) => revise(catalog, planId, checked(documentOf(directory, newMode))),
    async backup() {
      await asOwner(directory, ({ operator }) => operator.startBackup({ source: 'web-1/files' }));
      await eventually('the backup is stored', async () => {
        const { rowCount } = await catalog.pool.query('select from snapshot limit 1');
        return rowCount === 1;
      });
    },
    commitRun: () =>
      asOwner(directory, ({ recovery }) =>
        eventually('the run waits for a word, and has it', async () => {
          const { runs } = await recovery.listRuns({ domain: 'default', plan: 'shop', limit: 1 });
          const run = runs.find(({ state }) => state === 'awaiting-commit')?.id;
          if (run !== undefined)
            await recovery.actOnRun({ domain: 'default', run, action: 'commit', step: '', reason: '' });
          return run !== undefined;
        }),
      ),
    show: (name) => `${space(name).run('nft', 'list', 'ruleset')}${space(name).run('ip', '-o', 'address')}`,
    logs: (name) => readFileSync(join(directory, `${name}.log`), 'utf8'),
    async close() {
      for (const child of agents.values()) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
        child.kill('SIGKILL');
        await ended;
      }
      for (const name of names) endService(join(directory, name));
      for (const namespace of spaces.values()) namespace.close();
      await pair.stopController();
      await catalog.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return pair;
}

/** A link that has healed may be back as late as 30 s afterwards (docs/architecture.md, Limits by design), on a machine that does nothing else. */
const PATIENCE_MS = 60_000;

/** Throws with what was waited for when it does not come. */
export async function eventually(what: string, isSo: () => Promise<boolean>, withinMs = PATIENCE_MS): Promise<void> {
  const untilMs = performance.now() + withinMs;
  for (;;) {
    if (await isSo()) return;
    if (performance.now() > untilMs) throw new Error(`it did not come: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** What a person with every right does, by the API. */
async function asOwner<T>(directory: string, act: (owner: ReturnType<typeof ownerOn>) => Promise<T>): Promise<T> {
  const caCertificatePem = readFileSync(join(directory, 'controller', 'ca.pem'), 'utf8');
  const bearerToken = readFileSync(join(directory, 'controller', 'admin-token'), 'utf8').trim();
  const channel = openChannel({ address: `${MIDDLE}:7400`, caCertificatePem });
  try {
    return await act(ownerOn(channel, bearerToken));
  } finally {
    channel.close();
  }
}

function ownerOn(channel: ReturnType<typeof openChannel>, bearerToken: string) {
  return {
    operator: createRpcClient(OperatorDefinition, channel, { bearerToken }),
    recovery: createRpcClient(RecoveryDefinition, channel, { bearerToken }),
  };
}

async function enrolAll(
  owner: ReturnType<typeof ownerOn>['operator'],
  directory: string,
  names: readonly HostName[],
  spaces: ReadonlyMap<HostName, NetworkNamespace>,
): Promise<Record<HostName, string>> {
  for (const name of names) {
    const { token } = await owner.addHost({ domain: 'default', name, replace: false });
    const state = join(directory, name);
    mkdirSync(state, { mode: 0o700 });
    const config = join(state, 'agent.yaml');
    writeFileSync(config, `controller: ${MIDDLE}:7400\nstate: ${state}\npeer: ${ADDRESSES[name]}:7402\n`);
    const namespace = spaces.get(name)!;
    await runIn(namespace, [
      process.execPath,
      '--conditions=holdfast-source',
      AGENT,
      'enrol',
      token,
      '--config',
      config,
    ]);
  }
  const files = join(directory, 'files');
  mkdirSync(files);
  writeFileSync(join(files, 'index.html'), 'the shop');
  await owner.addSource({
    host: 'web-1',
    spec: { name: 'files', type: { $case: 'files', value: { paths: [files] } } },
  });
  const { hosts } = await owner.listHosts({});
  return Object.fromEntries(hosts.map((host) => [host.name, host.id])) as Record<HostName, string>;
}

/** Not synchronously: the controller that it talks to is in this process. */
async function runIn(namespace: NetworkNamespace, command: readonly string[]): Promise<void> {
  const [program = '', ...words] = namespace.enter(...command);
  const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`${command.slice(3).join(' ')}: ${said}`);
}

function documentOf(directory: string, mode: string): string {
  // The directory differs between the hosts: the service finds it by its host's address.
  const at = `${directory}/$(ip -o -4 address show dev eth0 | grep -q ${ADDRESSES['web-1']}/ && echo web-1 || echo web-2)`;
  const shell = (verb: string): string =>
    JSON.stringify(['/bin/sh', '-c', `exec ${process.execPath} ${SERVICE} ${verb} ${at} ${PORT}`]);
  return `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@example.org}
objectives: {rto: 15m, rpo: 5m}
placement:
  hosts: [web-1, web-2]
  vars:
    web-1: {bind: ${ADDRESSES['web-1']}}
    web-2: {bind: ${ADDRESSES['web-2']}}
services:
  shop: {start: ${shell('start')}, stop: ${shell('stop')}, status: ${shell('status')}}
ports: [${PORT}]
sources: [files]
detect:
  mode: ${mode}
  suspectAfter: ${TIMING.suspectAfterMs}ms
  witnesses: {hosts: [mon-1], agree: 1, probe: "http://\${primary.bind}:${PORT}/"}
  holdoff: 1ms
steps:
  - {id: fence, type: fence, in: [unplanned, planned], host: primary}
  - {id: start, type: service.start, host: standby, units: [shop], needs: [fence]}
  - {id: switch, type: traffic, in: [unplanned, planned], via: [{address: {ip: ${SERVICE_IP}, dev: eth0}}], needs: [start]}
`;
}

async function addPlan(
  catalog: Catalog,
  planId: string,
  ids: Record<HostName, string>,
  document: string,
): Promise<void> {
  const { pool } = catalog;
  await pool.query(
    `insert into plan (id, domain_id, name, revision, verified_at) select $1, domain_id, 'shop', 1, now() from host where id = $2`,
    [planId, ids['web-1']],
  );
  await pool.query(`insert into plan_revision (plan_id, revision, document, applied_by) values ($1, 1, $2, 'test')`, [
    planId,
    document,
  ]);
  await pool.query(
    `insert into application (plan_id, identity, phase, primary_host, standby_host, epoch, next_epoch, grant_seq, attempt, serial,
       disarmed, order_serial, confirmed, automatic, driver, term, beat)
     values ($1, $2, 'open', $3, $4, 1, 2, 0, 0, 1, 1, 0, false, false, '', 1, 0)`,
    [planId, await catalogIdentity(pool), ids['web-1'], ids['web-2']],
  );
  await pool.query(`select pg_notify('holdfast_fleet', '{"kind":"plans"}')`);
}

/** A plan that the controller can't read would be left alone in silence. */
function checked(document: string): string {
  const { findings } = checkPlan(document);
  if (findings.length > 0) throw new Error(JSON.stringify(findings));
  return document;
}

async function revise({ pool }: Catalog, planId: string, document: string): Promise<void> {
  await pool.query(
    `with newer as (update plan set revision = revision + 1 where id = $1 returning revision)
     insert into plan_revision (plan_id, revision, document, applied_by) select $1, revision, $2, 'test' from newer`,
    [planId, document],
  );
  await pool.query(`select pg_notify('holdfast_fleet', '{"kind":"plans"}')`);
}

function endService(directory: string): void {
  const file = join(directory, 'service.pid');
  if (existsSync(file)) execFileSync(process.execPath, [SERVICE, 'stop', directory, String(PORT)]);
}

function answerOf(url: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(500) }, (response) => {
      let text = '';
      response.on('data', (data: Buffer) => (text += data.toString()));
      response.on('end', () => resolve(text));
      response.on('error', () => resolve(undefined));
    });
    request.on('error', () => resolve(undefined));
  });
}
