// The warm copies that plans wish for, and the jobs that keep them: the same planning as a restore's, with a grant that reaches on.
//
// Hazard: a log grant without an end. It reaches one source's newest history from where a replay begins, for one host, and for GRANT_TTL_MS;
// what lies behind a fork stays out of reach until a new one is asked for.
//
// Tested in recovery/warm/warm-keeper.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { Job as WireJob, type RestoreJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import { latestSnapshots } from '../browse/snapshots.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { NewJob } from '../fleet/jobs.ts';
import { sourcesById, sourcesOfHost, type Source } from '../fleet/sources.ts';
import type { AppliedPlan } from '../recovery/contract.ts';
import { substituteStep, variablesFor } from '../recovery/runs/substitute.ts';
import type { WarmCopy, WarmWish } from '../recovery/warm/due.ts';
import { warmFact, type WarmFact } from '../recovery/warm/warm-facts.ts';
import type { PlannedKeep } from '../recovery/warm/warm-keeper.ts';
import { warmCopies } from '../recovery/warm/warm-rows.ts';
import type { Vault } from '../vault/contract.ts';
import { headsOf, loadRuns } from '../vault/log-rows.ts';
import { engineOf, planEngineRestore } from './engine-restore.ts';
import { pathsBelow, placeOf } from './recovery-restore.ts';

export interface WarmJobDeps {
  readonly catalog: Catalog;
  readonly vault: Pick<Vault, 'grant' | 'grantLog'>;
}

const GRANT_TTL_MS = 7 * 86_400_000;

/** Of a plan whose standby is warm: its sources that a standby can keep. A step that can't be placed wishes for nothing: the run says why. */
export async function wishesOf(
  { catalog }: Pick<WarmJobDeps, 'catalog'>,
  applied: AppliedPlan,
  serving: { readonly primary: string; readonly standby: string },
): Promise<WarmWish[]> {
  const { plan } = applied;
  if (plan.placement.mode !== 'warm') return [];
  const nameOf = (id: string): string => [...applied.hostIds].find(([, known]) => known === id)?.[0] ?? '';
  const names = { primary: nameOf(serving.primary), standby: nameOf(serving.standby) };
  const sources = await sourcesOfHost(catalog.pool, serving.primary);
  const newest = await latestSnapshots(
    catalog.pool,
    sources.map(({ id }) => id),
  );
  const wishes: WarmWish[] = [];
  for (const step of plan.steps) {
    if (step.type !== 'restore.files' && step.type !== 'restore.postgres') continue;
    if (step.in.every((mode) => mode === 'drill') || (step.host !== 'standby' && step.host !== names.standby)) continue;
    const source = sources.find(({ name }) => name === step.source);
    if (source === undefined || wishes.some(({ sourceId }) => sourceId === source.id)) continue;
    try {
      const spec = substituteStep(step, variablesFor(plan, { ...names, host: names.standby }, 0));
      if (!('options' in spec)) continue;
      wishes.push({
        planId: applied.id,
        domainId: applied.domainId,
        sourceId: source.id,
        hostId: serving.standby,
        kind: step.type === 'restore.files' ? 'files' : 'postgres',
        target: placeOf(source, spec.target).target,
        newest: newest.get(source.id)?.latest.id.toString('hex') ?? '',
        timeline: step.type === 'restore.files' ? 0 : await timelineOf(catalog, source.id),
        port: spec.port ?? 0,
        options: spec.options,
      });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
  return wishes;
}

/** How warm the standby is, source by source; nothing for a plan whose standby is cold. */
export async function warmFactsOf(
  deps: Pick<WarmJobDeps, 'catalog'>,
  applied: AppliedPlan,
  serving: { readonly primary: string; readonly standby: string },
): Promise<WarmFact[]> {
  const { pool } = deps.catalog;
  const wishes = await wishesOf(deps, applied, serving);
  const copies = await warmCopies(pool, applied.id);
  const sources = await sourcesById(
    pool,
    wishes.map(({ sourceId }) => sourceId),
  );
  const { rows } = await pool.query<{ now: Date }>('select now() as now');
  return wishes.map((wish) => {
    const source = sources.get(wish.sourceId);
    const copy = copies.find(({ sourceId }) => sourceId === wish.sourceId);
    return warmFact(wish, copy, `${source?.hostName}/${source?.name}`, rows[0]?.now.getTime() ?? 0);
  });
}

async function timelineOf({ pool }: Catalog, sourceId: string): Promise<number> {
  return headsOf(await loadRuns(pool, sourceId))[0]?.stream.timeline ?? 0;
}

/** Throws what a restore's planning throws. */
export async function planKeep(deps: WarmJobDeps, wish: WarmWish, takeOver: boolean): Promise<PlannedKeep> {
  const source = await sourceOf(deps, wish.sourceId);
  const to = { hostId: wish.hostId, domainId: wish.domainId };
  const until = new Date(Date.now() + GRANT_TTL_MS);
  const warm = { application: wish.planId, sourceId: wish.sourceId, action: 'keep', takeOver };
  if (wish.kind === 'files') {
    const snapshotId = Buffer.from(wish.newest, 'hex');
    const grant = await deps.vault.grant(to, snapshotId, GRANT_TTL_MS);
    const value = { grant, target: wish.target, paths: pathsBelow(source, wish.target), setuid: true, warm };
    return { job: jobOf(source, wish.hostId, value, snapshotId), snapshotId, timeline: 0, grantUntil: until };
  }
  const engine = engineOf(source);
  if (engine === undefined) throw new HoldfastError('FAILED_PRECONDITION', `${source.name} is no database`);
  const options = Object.entries(wish.options).map(([name, value]) => ({ name, value }));
  const request = {
    snapshotId: Buffer.alloc(0),
    atMs: 0n,
    point: undefined,
    start: true,
    port: wish.port,
    options,
    follow: true,
  };
  const planned = await planEngineRestore(deps, source, engine, request, to, GRANT_TTL_MS);
  const { id } = planned.snapshot;
  const grant = await deps.vault.grant(to, id, GRANT_TTL_MS);
  const value = { grant, target: wish.target, engine: planned.engine, warm };
  const timeline = planned.engine.stream?.timeline ?? 0;
  return { job: jobOf(source, wish.hostId, value, id), snapshotId: id, timeline, grantUntil: until };
}

/** What is there stays; it is the plan's no longer. The host goes by what it keeps: nothing of the source is needed, which may be gone. */
export async function planRelease({ catalog }: Pick<WarmJobDeps, 'catalog'>, copy: WarmCopy): Promise<NewJob> {
  const { rows } = await catalog.pool.query<{ domainId: string }>(
    'select domain_id as "domainId" from host where id = $1',
    [copy.hostId],
  );
  const warm = { application: copy.planId, sourceId: copy.sourceId, action: 'release', takeOver: false };
  const value: DeepPartial<RestoreJob> = {
    target: copy.target,
    warm,
  };
  return jobOf({ id: copy.sourceId, domainId: rows[0]?.domainId ?? '' }, copy.hostId, value, undefined);
}

async function sourceOf({ catalog }: WarmJobDeps, sourceId: string): Promise<Source> {
  const source = (await sourcesById(catalog.pool, [sourceId])).get(sourceId);
  if (source === undefined) throw new HoldfastError('NOT_FOUND', 'there is no such source any more');
  return source;
}

function jobOf(
  source: Pick<Source, 'id' | 'domainId'>,
  hostId: string,
  value: DeepPartial<RestoreJob>,
  snapshotId: Uint8Array | undefined,
): NewJob {
  return {
    domainId: source.domainId,
    hostId,
    sourceId: source.id,
    kind: 'restore',
    ...(snapshotId === undefined ? {} : { snapshotId }),
    requestedBy: 'warm standby',
    request: (jobId) => WireJob.encode(WireJob.fromPartial({ jobId, kind: { $case: 'restore', value } })).finish(),
  };
}
