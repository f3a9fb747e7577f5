// What the old primary still held when another one took over: a snapshot of each of its sources, locked, before anything may overwrite it.
//
// Hazard: the writes that only the old primary has. While it can't be reached, or one of them can't be taken, the run stays in `reprotecting`,
// so nothing is brought back there; a person may give it up by name. A fenced database answers nobody and must not be started: then its
// directory is taken as it lies there, as files, under a source of its own that no schedule knows.
//
// Invariant (recovery/runs/reprotect.db.test.ts): RP2 a run ends only when each source of the old primary is kept, or a person gave it up; what
// is kept is locked.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import { latestSnapshots } from '../browse/snapshots.ts';
import { appendAudit } from '../fleet/audit.ts';
import type { FleetEvents } from '../fleet/fleet-events.ts';
import { OFFLINE_AFTER_MS } from '../fleet/hosts.ts';
import { findJob, queueJob } from '../fleet/jobs.ts';
import { insertSource, removedSource, removeSource, sourcesOfHost, type Source } from '../fleet/sources.ts';
import type { Decision, DivergedSnapshot, RunView } from '../recovery/runs/run-view.ts';
import { isRestore } from '../recovery/runs/step-policy.ts';
import { substituteStep, variablesFor } from '../recovery/runs/substitute.ts';
import { dataPlaceOf, type DataDirectoryDeps } from './data-directory.ts';
import { engineOf } from './engine-restore.ts';
import { backupJob } from './recovery-jobs.ts';

export interface DivergedDeps extends DataDirectoryDeps {
  readonly events: FleetEvents;
}

/** RP2. One thing at a time: the view that it is decided on must be the newest. */
export async function keepDiverged(deps: DivergedDeps, view: RunView): Promise<Decision[] | undefined> {
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
  deps: DivergedDeps,
  view: RunView,
  source: Source,
  known: DivergedSnapshot,
): Promise<Decision | undefined> {
  const { run } = view;
  const { pool } = deps.catalog;
  const job = await findJob(pool, known.jobId);
  if (job?.state === 'queued' || job?.state === 'running') return undefined;
  const sourceId = job?.sourceId ?? source.id;
  if (sourceId !== source.id) await deps.catalog.transaction((client) => removeSource(client, sourceId));
  const isTaken = job?.state === 'done' || job?.state === 'warnings';
  const latest = isTaken ? (await latestSnapshots(pool, [sourceId])).get(sourceId)?.latest : undefined;
  if (latest === undefined) {
    const message = job?.errorMessage || 'the backup failed';
    const asFiles = sourceId === source.id ? await keepAsFiles(deps, view, source, message) : undefined;
    const snapshot = asFiles ?? { ...known, state: 'failed', message };
    return { kind: 'diverged', source: source.name, snapshot };
  }
  await pool.query(
    `insert into snapshot_lock (domain_id, snapshot_id, name, run_id) values ($1, $2, 'diverged', $3) on conflict do nothing`,
    [run.domainId, latest.id, run.id],
  );
  const message = sourceId === source.id ? '' : `as files, in ${job?.sourceName ?? ''}`;
  const snapshot = { ...known, state: 'taken', snapshotId: latest.id.toString('hex'), message } as const;
  return { kind: 'diverged', source: source.name, snapshot };
}

/** Engines whose data is a directory of files, whole as it lies there when their server was stopped, or fell. */
const KEPT_AS_FILES = new Set(['postgres', 'mariadb', 'redis']);

/** Undefined: it is no such database, nobody knows where it lies, or its host has too much to do. */
async function keepAsFiles(
  deps: DivergedDeps,
  view: RunView,
  source: Source,
  why: string,
): Promise<DivergedSnapshot | undefined> {
  if (!KEPT_AS_FILES.has(engineOf(source)?.type ?? '')) return undefined;
  const place = await dataPlaceOf(deps, source);
  const asked = place?.directory ?? plannedTarget(view, source);
  if (asked === undefined) return undefined;
  const jobId = await backUpFiles(deps, view, source, [asked, ...(place?.further ?? [])]);
  if (jobId === undefined) return undefined;
  return { state: 'asked', jobId, snapshotId: '', message: `as files, because of: ${why}` };
}

/** Where a way back would put it, which is what must not get lost. */
function plannedTarget({ run, plan }: RunView, source: Source): string | undefined {
  const restore = plan.steps.find((step) => isRestore(step.type) && 'source' in step && step.source === source.name);
  if (restore === undefined) return undefined;
  // There, on the way back, both have changed their parts.
  const names = { host: run.fromName, primary: run.toName, standby: run.fromName };
  const spec = substituteStep(restore, variablesFor(plan, names, run.point.atMs));
  return 'target' in spec ? spec.target : undefined;
}

const SUFFIX = '.diverged';
const NAME_MAX = 63;

/** Under a source that is removed as soon as this one backup is over: kept and found by its name, and backed up by nobody ever after. */
async function backUpFiles(
  deps: DivergedDeps,
  { run }: RunView,
  source: Source,
  paths: readonly string[],
): Promise<string | undefined> {
  const { pool } = deps.catalog;
  const name = `${source.name.slice(0, NAME_MAX - SUFFIX.length)}${SUFFIX}`;
  const id = (await removedSource(pool, run.fromHost, name)) ?? randomUUID();
  const type = { $case: 'files' as const, value: { paths: [...new Set(paths)] } };
  const { limitBytesPerSecond, compression } = SourceSpec.decode(source.spec);
  const wire = SourceSpec.fromPartial({
    sourceId: id,
    name,
    type,
    limitBytesPerSecond,
    ...(compression === undefined ? {} : { compression }),
  });
  const spec = Buffer.from(SourceSpec.encode(wire).finish());
  return await unlessBusy(async () =>
    deps.catalog.transaction(async (client) => {
      // Removed again when its one backup is over (divergedAfter): the vault takes nothing for a removed source.
      await insertSource(client, { id, hostId: run.fromHost, name, spec });
      const subject = `${run.fromName}/${name}: ${paths.join(', ')}`;
      await appendAudit(client, { domainId: run.domainId, actor: 'controller', action: 'run.keep-diverged', subject });
      const jobId = await queueJob(client, backupJob({ ...source, id, name, spec }, `run ${run.id}`));
      await deps.events.tell(client, { kind: 'jobs', hostId: run.fromHost });
      return jobId;
    }),
  );
}

/** Undefined: one is under way already, or too many wait. */
export async function backUp(
  { catalog, events }: Pick<DivergedDeps, 'catalog' | 'events'>,
  source: Source,
  requestedBy: string,
): Promise<string | undefined> {
  return await unlessBusy(async () =>
    catalog.transaction(async (client) => {
      const id = await queueJob(client, backupJob(source, requestedBy));
      await events.tell(client, { kind: 'jobs', hostId: source.hostId });
      return id;
    }),
  );
}

async function unlessBusy(work: () => Promise<string>): Promise<string | undefined> {
  try {
    return await work();
  } catch (error) {
    const waits = error instanceof HoldfastError && ['BUSY', 'LIMIT_EXCEEDED', 'ALREADY_EXISTS'].includes(error.code);
    if (waits) return undefined;
    throw error;
  }
}

async function isOnline({ catalog }: Pick<DivergedDeps, 'catalog'>, hostId: string): Promise<boolean> {
  const { rowCount } = await catalog.pool.query(
    `select 1 from host where id = $1 and connection_id <> '' and last_seen_at > now() - interval '${OFFLINE_AFTER_MS} ms'`,
    [hostId],
  );
  return rowCount === 1;
}
