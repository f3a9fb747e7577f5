// A fleet in a catalog, and a plan for it: what tests of runs start from. The catalog is real; hosts and who serves are scripted.

import { randomBytes, randomUUID } from 'node:crypto';

import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { systemClock } from '@holdfast/shared/runtime/clock';

import { jobsFor } from '../api/recovery-jobs.ts';
import { readOutcome } from '../api/recovery-wire.ts';
import { connectCatalog, type Catalog } from '../catalog/catalog.ts';
import { openFleetEvents, type FleetEvents } from '../fleet/fleet-events.ts';
import type { Notification } from '../recovery/contract.ts';
import { applyPlan } from '../recovery/plans/apply.ts';
import { appliedPlan } from '../recovery/plans/plan-store.ts';
import type { Action } from '../recovery/runs/actions.ts';
import type { Engine } from '../recovery/runs/engine-contract.ts';
import { openEngine, type EngineDeps } from '../recovery/runs/engine.ts';
import type { Mode } from '@holdfast/shared/recovery/step-types';
import { actOnRun } from '../recovery/runs/run-desk.ts';
import { insertRun } from '../recovery/runs/start-run.ts';
import { loadView } from '../recovery/runs/run-store.ts';
import { AT_ONCE } from '../recovery/runs/turn.ts';
import type { RunView } from '../recovery/runs/run-view.ts';
import { MemoryFailover } from './memory-failover.ts';
import { ScriptedHosts } from './scripted-hosts.ts';
import { openTestCatalog } from './test-catalog.ts';

const HOSTS = ['web-1', 'web-2', 'mon-1', 'api-1'] as const;

export interface Replica {
  readonly name: string;
  readonly engine: Engine;
  readonly failover: MemoryFailover;
  /** Hears nothing any more. */
  deafen(): void;
}

export interface RecoveryFixture {
  readonly catalog: Awaited<ReturnType<typeof openTestCatalog>>;
  readonly events: FleetEvents;
  readonly hosts: ScriptedHosts;
  readonly hostIds: ReadonlyMap<string, string>;
  readonly domainId: string;
  readonly told: Notification[];
  apply(document: string): Promise<string>;
  /** Another controller on the same catalog. `own`: its way to the catalog; `change`: what is different from usual. */
  replica(name: string, own?: Catalog, change?: Partial<EngineDeps>): Replica;
  /** The run's id. */
  start(
    planId: string,
    mode: Mode,
    more?: { approvalsNeeded?: number; fenceConfirmed?: boolean; untold?: boolean },
  ): Promise<string>;
  /** What a person does to it. Throws as actOnRun. */
  act(runId: string, action: Action, step?: string, reason?: string): Promise<void>;
  view(runId: string): Promise<RunView>;
  /** Waits until the run is in one of these states. */
  until(runId: string, states: readonly string[], withinMs?: number): Promise<RunView>;
  close(): Promise<void>;
}

export async function openRecoveryFixture(): Promise<RecoveryFixture> {
  const catalog = await openTestCatalog();
  const events = await openFleetEvents(catalog);
  const domainId = randomUUID();
  await catalog.pool.query(`insert into domain (id, name, managed) values ($1, 'default', false)`, [domainId]);
  const hostIds = new Map<string, string>();
  for (const name of HOSTS) {
    const id = randomUUID();
    hostIds.set(name, id);
    await catalog.pool.query(
      `insert into host (id, domain_id, name, state, last_seen_at, connection_id) values ($1, $2, $3, 'enrolled', now() + interval '1 hour', 'x')`,
      [id, domainId, name],
    );
  }
  await addSource(catalog, hostIds.get('web-1') ?? '', domainId, 'files');
  const names = new Map([...hostIds].map(([name, id]) => [id, name]));
  const hosts = new ScriptedHosts(catalog, events, names);
  const told: Notification[] = [];
  const replicas: Replica[] = [];
  const mortals: Catalog[] = [];
  const unsubscribes: (() => void)[] = [];

  const fixture: RecoveryFixture = {
    catalog,
    events,
    hosts,
    hostIds,
    domainId,
    told,
    async apply(document) {
      const deps = { catalog, events, replica: 'nobody' };
      return (await applyPlan(deps, domainId, document, 'operator test')).planId;
    },
    replica(name, own = catalog, change = {}) {
      const failover = new MemoryFailover(catalog, name);
      const vault = { grant: async () => Buffer.from('grant'), grantLog: () => Buffer.from('log') };
      const engine = openEngine({
        catalog: own,
        events,
        replica: name,
        failover,
        notifier: { notify: async (message) => void told.push(message) },
        clock: systemClock,
        atOnce: AT_ONCE.default,
        log: () => undefined,
        readOutcome,
        jobsFor: (view, order, numbers) => jobsFor({ catalog: own, vault, fileContent: noFiles }, view, order, numbers),
        reprotect: async () => undefined,
        ...change,
      });
      const subscribed = [
        failover.subscribe((news) => {
          if (news.kind === 'driving') void engine.drive(news.planId, news.term);
        }),
        events.subscribe((event) => void hear(catalog, engine, event)),
      ];
      unsubscribes.push(...subscribed);
      const deafen = (): void => {
        for (const unsubscribe of subscribed) unsubscribe();
      };
      const replica = { name, engine, failover, deafen };
      // What was killed waits for ever.
      if (own === catalog) replicas.push(replica);
      else mortals.push(own);
      return replica;
    },
    async start(planId, mode, { approvalsNeeded = 0, fenceConfirmed = false, untold = false } = {}) {
      const applied = await appliedPlan(catalog.pool, planId);
      const files = await newestFiles(catalog);
      const point = { atMs: 1_700_000_000_000, sources: [files], findings: [] };
      const writer = { kind: 'person', actor: 'operator test' } as const;
      return await catalog.transaction(async (client) => {
        const start = { applied, mode, approvalsNeeded, fenceConfirmed, signs: undefined, point, writer };
        const runId = await insertRun(client, start);
        if (!untold) await events.tell(client, { kind: 'run', runId, planId, version: 0 });
        return runId;
      });
    },
    async act(runId, action, step = '', reason = '') {
      await actOnRun({ catalog, events, readOutcome }, runId, { action, step, reason, actor: 'operator ann' });
    },
    view: (runId) => loadView(catalog.pool, runId, readOutcome),
    async until(runId, states, withinMs = 20_000) {
      const deadline = performance.now() + withinMs;
      for (;;) {
        const view = await fixture.view(runId);
        if (states.includes(view.run.state)) return view;
        if (performance.now() > deadline) {
          const { rows } = await catalog.pool.query('select step_id, message from run_event where run_id = $1', [
            runId,
          ]);
          throw new Error(`the run is ${view.run.state}, not ${states.join(' or ')}: ${JSON.stringify(rows)}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    async close() {
      for (const unsubscribe of unsubscribes) unsubscribe();
      await Promise.all(replicas.map((replica) => replica.engine.stop()));
      await Promise.all(mortals.map((mortal) => mortal.close()));
      await hosts.stop();
      await events.close();
      await catalog.close();
    },
  };
  return fixture;
}

/** As the wiring of the controller does. */
async function hear(
  catalog: Catalog,
  engine: Engine,
  event: { kind: string; runId?: string; jobId?: string },
): Promise<void> {
  if (event.kind === 'run') void engine.pump(event.runId ?? '');
  if (event.kind !== 'job') return;
  const { rows } = await catalog.pool
    .query<{ run: string }>('select run_id as run from run_job where job_id = $1', [event.jobId])
    .catch(() => ({ rows: [] }));
  if (rows[0] !== undefined) void engine.pump(rows[0].run);
}

async function* noFiles(): AsyncGenerator<Buffer> {
  yield Buffer.from('{}');
}

/** With one snapshot. */
export async function addSource(catalog: Catalog, hostId: string, domainId: string, name: string): Promise<string> {
  const id = randomUUID();
  const spec = SourceSpec.fromPartial({
    sourceId: id,
    name,
    type: { $case: 'files', value: { paths: ['/srv/shop'] } },
  });
  await catalog.pool.query('insert into source (id, host_id, name, spec) values ($1, $2, $3, $4)', [
    id,
    hostId,
    name,
    Buffer.from(SourceSpec.encode(spec).finish()),
  ]);
  await catalog.pool.query(
    `insert into snapshot (domain_id, id, host_id, source_id, sequence, commit_record_id, committed_at, started_at_ms, entries, files,
       bytes_total, bytes_read, bytes_new, bytes_stored, duration_ms, partial, warnings_total, highest_pack_sequence)
     values ($1, $2, $3, $4, 1, $2, now(), 0, 1, 1, 1, 1, 1, 1, 1, false, 0, 1)`,
    [domainId, randomBytes(32), hostId, id],
  );
  return id;
}

async function newestFiles(catalog: Catalog): Promise<RunView['run']['point']['sources'][number]> {
  const { rows } = await catalog.pool.query<{ id: Buffer; sourceId: string }>(
    'select id, source_id as "sourceId" from snapshot order by committed_at desc limit 1',
  );
  const [row] = rows;
  const sourceId = row?.sourceId ?? '';
  return {
    source: 'files',
    sourceId,
    kind: 'files',
    snapshotId: row?.id.toString('hex') ?? '',
    target: null,
    atMs: 1_700_000_000_000,
  };
}

/** A catalog that answers no more from the moment that `dead` is set: a process that was killed writes nothing. */
export async function mortalCatalog(
  connection: Parameters<typeof connectCatalog>[0],
): Promise<Catalog & { kill(after: number, when: 'before' | 'behind'): void; readonly dead: Promise<void> }> {
  const catalog = await connectCatalog(connection);
  let left = Infinity;
  let moment: 'before' | 'behind' = 'before';
  let isDead = false;
  let died: () => void = () => undefined;
  const dead = new Promise<void>((resolve) => (died = resolve));
  const never = <T>(): Promise<T> => new Promise<T>(() => undefined);
  const pool = new Proxy(catalog.pool, {
    get: (target, key) => {
      if (key === 'query' && isDead) return never;
      const held: unknown = Reflect.get(target, key);
      return typeof held === 'function' ? held.bind(target) : held;
    },
  });
  return {
    ...catalog,
    pool,
    dead,
    kill(after, when) {
      left = after;
      moment = when;
    },
    async transaction(work) {
      if (isDead) return await never();
      const dies = --left < 0;
      if (!dies) return await catalog.transaction(work);
      isDead = true;
      if (moment === 'behind') await catalog.transaction(work).catch(() => undefined);
      died();
      return await never();
    },
  };
}
