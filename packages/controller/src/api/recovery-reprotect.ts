// Protection after a failover: the new primary is backed up from the switch on, and after the commit what the old one held is kept before
// anything may overwrite it.
//
// Hazard: the writes that only the old primary has. So a snapshot of its sources is taken and locked first; while it can't be reached, or one
// of them can't be taken, the run stays in `reprotecting`, and a person may give it up by name.
//
// Invariants (recovery/runs/reprotect.db.test.ts):
//   RP1 from the switch on every source of the plan is there on the new primary, made once, whoever drives;
//   RP2 a run ends only when each source of the old primary is kept, or a person gave it up; what is kept is locked.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import { latestSnapshots } from '../browse/snapshots.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { appendAudit } from '../fleet/audit.ts';
import type { FleetEvents } from '../fleet/fleet-events.ts';
import { OFFLINE_AFTER_MS } from '../fleet/hosts.ts';
import { findJob, queueJob } from '../fleet/jobs.ts';
import { insertSource, removedSource, sourcesOfHost, type Source } from '../fleet/sources.ts';
import { hasFence } from '../recovery/runs/run-machine.ts';
import type { Decision, DivergedSnapshot, RunView } from '../recovery/runs/run-view.ts';
import { isSettled } from '../recovery/runs/run-states.ts';
import { isRestore } from '../recovery/runs/step-policy.ts';
import { backupJob } from './recovery-jobs.ts';
import { withPort } from './recovery-restore.ts';

export interface ReprotectDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
}

const AFTER_SWITCH = new Set(['running', 'paused', 'verifying', 'awaiting-commit', 'committed', 'reprotecting']);

/** What is due of it now; undefined: nothing. */
export async function reprotect(deps: ReprotectDeps, view: RunView): Promise<Decision[] | undefined> {
  const { run, serving } = view;
  if (run.mode === 'drill' || !hasFence(view) || !AFTER_SWITCH.has(run.state)) return undefined;
  if (serving.primary !== run.toHost || serving.epoch < run.epoch) return undefined;
  const switched = view.steps.every(({ spec, state }) => spec.type !== 'traffic' || isSettled(state));
  if (run.protectedAt === null && switched) {
    await protect(deps, view);
    return [{ kind: 'protected' }];
  }
  return run.state === 'reprotecting' ? await keepDiverged(deps, view) : undefined;
}

/** RP1. */
async function protect({ catalog, events }: ReprotectDeps, { run, plan }: RunView): Promise<void> {
  const there = await sourcesOfHost(catalog.pool, run.toHost);
  const before = await sourcesOfHost(catalog.pool, run.fromHost);
  for (const name of plan.sources) {
    const source = before.find((one) => one.name === name);
    if (source === undefined || there.some((one) => one.name === name)) continue;
    const id = (await removedSource(catalog.pool, run.toHost, name)) ?? randomUUID();
    const spec = { ...movedSpec(SourceSpec.decode(source.spec), plan), sourceId: id };
    await catalog.transaction(async (client) => {
      await insertSource(client, { id, hostId: run.toHost, name, spec: Buffer.from(SourceSpec.encode(spec).finish()) });
      const subject = `${run.toName}/${name} (as ${run.fromName}/${name})`;
      await appendAudit(client, { domainId: run.domainId, actor: 'controller', action: 'source.add', subject });
      await events.tell(client, { kind: 'sources', hostId: run.toHost });
    });
  }
  for (const source of await sourcesOfHost(catalog.pool, run.toHost)) {
    if (plan.sources.includes(source.name)) await backUp({ catalog, events }, source, `run ${run.id}`);
  }
}

/** Where the plan restored it to. */
function movedSpec(spec: SourceSpec, plan: Plan): SourceSpec {
  const restore = plan.steps.find((step) => isRestore(step.type) && 'source' in step && step.source === spec.name);
  if (restore === undefined || !('options' in restore)) return spec;
  const { type } = spec;
  if (type?.$case === 'files') {
    const isOne = type.value.paths.length === 1 && restore.target !== undefined;
    const paths = isOne && restore.target !== undefined ? [restore.target] : type.value.paths;
    return { ...spec, type: { $case: 'files', value: { ...type.value, paths } } };
  }
  if (type?.$case !== 'engine' || restore.port === undefined) return spec;
  const settings = withPort(type.value.settings, restore.port);
  return { ...spec, type: { $case: 'engine', value: { ...type.value, settings } } };
}

/** Undefined: one is under way already, or too many wait. */
async function backUp(
  { catalog, events }: ReprotectDeps,
  source: Source,
  requestedBy: string,
): Promise<string | undefined> {
  try {
    return await catalog.transaction(async (client) => {
      const id = await queueJob(client, backupJob(source, requestedBy));
      await events.tell(client, { kind: 'jobs', hostId: source.hostId });
      return id;
    });
  } catch (error) {
    if (error instanceof HoldfastError && (error.code === 'BUSY' || error.code === 'LIMIT_EXCEEDED')) return undefined;
    throw error;
  }
}

/** RP2. One thing at a time: the view that it is decided on must be the newest. */
async function keepDiverged(deps: ReprotectDeps, view: RunView): Promise<Decision[] | undefined> {
  const { run, plan } = view;
  const sources = await sourcesOfHost(deps.catalog.pool, run.fromHost);
  const wanted = sources.filter((source) => plan.sources.includes(source.name));
  for (const source of wanted) {
    const known = run.diverged[source.name];
    if (known?.state === 'taken' || known?.state === 'skipped') continue;
    if (known?.state === 'asked') {
      const decided = await divergedAfter(deps, view, source, known);
      if (decided !== undefined) return [decided];
      continue;
    }
    // What failed waits for a person; without a message it is to be tried again.
    if (known !== undefined && known.message !== '') continue;
    if (!(await isOnline(deps, run.fromHost))) continue;
    const jobId = await backUp(deps, source, `run ${run.id}`);
    if (jobId === undefined) continue;
    const snapshot = { state: 'asked', jobId, snapshotId: '', message: '' } as const;
    return [{ kind: 'diverged', source: source.name, snapshot }];
  }
  const open = wanted.filter(({ name }) => !['taken', 'skipped'].includes(run.diverged[name]?.state ?? ''));
  return open.length === 0 ? [{ kind: 'run', event: 'finish' }] : undefined;
}

async function divergedAfter(
  deps: ReprotectDeps,
  { run }: RunView,
  source: Source,
  known: DivergedSnapshot,
): Promise<Decision | undefined> {
  const { pool } = deps.catalog;
  const job = await findJob(pool, known.jobId);
  if (job?.state === 'queued' || job?.state === 'running') return undefined;
  const isTaken = job?.state === 'done' || job?.state === 'warnings';
  const latest = isTaken ? (await latestSnapshots(pool, [source.id])).get(source.id)?.latest : undefined;
  if (latest === undefined) {
    const message = job?.errorMessage || 'the backup failed';
    return { kind: 'diverged', source: source.name, snapshot: { ...known, state: 'failed', message } };
  }
  await pool.query(
    `insert into snapshot_lock (domain_id, snapshot_id, name, run_id) values ($1, $2, 'diverged', $3) on conflict do nothing`,
    [run.domainId, latest.id, run.id],
  );
  const snapshot = { ...known, state: 'taken', snapshotId: latest.id.toString('hex'), message: '' } as const;
  return { kind: 'diverged', source: source.name, snapshot };
}

async function isOnline({ catalog }: ReprotectDeps, hostId: string): Promise<boolean> {
  const { rowCount } = await catalog.pool.query(
    `select 1 from host where id = $1 and connection_id <> '' and last_seen_at > now() - interval '${OFFLINE_AFTER_MS} ms'`,
    [hostId],
  );
  return rowCount === 1;
}
