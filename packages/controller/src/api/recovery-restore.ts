// A restore step as a job: from the run's pinned point, onto the host of the step, by the same planning as an operator's restore.
//
// Hazard: `delete extra` at the root of a file system. A source of several directories is restored below `/`, and there nothing is removed
// that the snapshot does not have.
//
// Tested in recovery/runs/engine.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { ResolvedData } from '@holdfast/shared/recovery/host-step';
import type { Plan } from '@holdfast/shared/recovery/plan';
import { Job as WireJob, type RestoreJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { SourceSpec, type Setting } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import { latestSnapshots, snapshotsById } from '../browse/snapshots.ts';
import type { NewJob } from '../fleet/jobs.ts';
import { sourcesById, sourcesOfHost, type Source } from '../fleet/sources.ts';
import type { PinnedSource } from '../recovery/runs/recovery-choice.ts';
import type { RunView, StepRow } from '../recovery/runs/run-view.ts';
import { substituteStep, variablesFor } from '../recovery/runs/substitute.ts';
import { wasPrimary } from '../recovery/warm/warm-rows.ts';
import type { Vault } from '../vault/contract.ts';
import { dataPlaceOf, type DataDirectoryDeps } from './data-directory.ts';
import { engineOf, planEngineRestore } from './engine-restore.ts';
import { checkPath } from './source-spec.ts';

export interface RestoreDeps extends DataDirectoryDeps {
  readonly vault: Pick<Vault, 'grant' | 'grantLog'>;
}

const GRANT_TTL_MS = 7 * 86_400_000;

/** Throws NOT_FOUND when there is nothing to restore, FAILED_PRECONDITION when nobody said where to. */
export async function restoreJob(deps: RestoreDeps, view: RunView, step: StepRow): Promise<NewJob> {
  const { run, plan } = view;
  const { pool } = deps.catalog;
  const variables = variablesFor(
    plan,
    { host: step.hostName, primary: run.fromName, standby: run.toName },
    run.point.atMs,
  );
  const spec = substituteStep(step.spec, variables);
  if (!('target' in spec || 'options' in spec) || step.hostId === null) {
    throw new HoldfastError('INTERNAL', 'not a restore');
  }
  const pinned = run.point.sources.find((one) => one.source === spec.source);
  if (pinned === undefined) {
    throw new HoldfastError('NOT_FOUND', `the run’s recovery point has nothing of ${spec.source}`, {
      hint: 'Back it up, abort this run, and start another.',
    });
  }
  const source = (await sourcesById(pool, [pinned.sourceId])).get(pinned.sourceId);
  if (source === undefined) throw new HoldfastError('NOT_FOUND', `there is no source ${spec.source} any more`);
  const to = { hostId: step.hostId, domainId: run.domainId };
  const { snapshotId, engine } = await choose(deps, source, pinned, spec, to);
  const place = await targetOf(deps, source, spec.target);
  const warm = run.mode !== 'drill' && keptWarm(plan, source, spec.target);
  const value: DeepPartial<RestoreJob> = {
    grant: await deps.vault.grant(to, snapshotId, GRANT_TTL_MS),
    target: place.target,
    paths: pathsBelow(source, place.target),
    // What an earlier attempt left, or the cluster of a host that served before, is brought to the point; MariaDB can't do that.
    delta: canDelta(engine),
    intoNonEmpty: true,
    setuid: true,
    keepIdentity: true,
    deleteExtra: engine === undefined && place.whole,
    sandbox: run.mode === 'drill' ? run.id : '',
    ...(engine === undefined ? {} : { engine }),
    ...(warm ? { warm: { application: run.planId, sourceId: source.id, action: 'finish', snapshotId } } : {}),
  };
  return {
    domainId: run.domainId,
    hostId: step.hostId,
    sourceId: source.id,
    kind: 'restore',
    snapshotId,
    requestedBy: `run ${run.id}`,
    request: (jobId) => WireJob.encode(WireJob.fromPartial({ jobId, kind: { $case: 'restore', value } })).finish(),
  };
}

function canDelta(engine: DeepPartial<RestoreJob['engine']>): boolean {
  return engine === undefined || engine.source?.type === 'postgres';
}

/** Without a word, a database goes where it is on the primary: both hosts are alike. */
async function targetOf(
  deps: DataDirectoryDeps,
  source: Source,
  asked: string | undefined,
): Promise<{ target: string; whole: boolean }> {
  return placeOf(source, asked ?? (await dataPlaceOf(deps, source))?.directory);
}

/**
 * Whatever the point: its host knows what it keeps. File trees that are the copy already are left as they are; a standby that stands behind the point
 * can't go back, is ended, and its directory is brought to the point. Nobody keeps a copy of a database whose place the plan does not name.
 */
function keptWarm({ placement }: Pick<Plan, 'placement'>, source: Source, asked: string | undefined): boolean {
  const engine = engineOf(source);
  return placement.mode === 'warm' && (engine === undefined || (engine.type === 'postgres' && asked !== undefined));
}

/** What a host needs to know to look at where a restore would go. Throws NOT_FOUND, FAILED_PRECONDITION when nothing is stored yet. */
export async function restoreLookOf(
  deps: DataDirectoryDeps,
  { run, plan }: Pick<RunView, 'run' | 'plan'>,
  { spec, hostName, hostId }: Pick<StepRow, 'spec' | 'hostName' | 'hostId'>,
): Promise<NonNullable<ResolvedData['restore']>> {
  const { pool } = deps.catalog;
  const names = { host: hostName, primary: run.fromName, standby: run.toName };
  const placed = substituteStep(spec, variablesFor(plan, names, run.point.atMs));
  if (!('options' in placed) || hostId === null) throw new HoldfastError('INTERNAL', 'not a restore');
  const source = (await sourcesOfHost(pool, run.fromHost)).find(({ name }) => name === placed.source);
  if (source === undefined) {
    throw new HoldfastError('NOT_FOUND', `${run.fromName} has no source ${placed.source}`, {
      hint: `holdfast source add ${placed.source} --host ${run.fromName} …`,
    });
  }
  const newest = (await latestSnapshots(pool, [source.id])).get(source.id)?.latest;
  if (newest === undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', `nothing of ${run.fromName}/${source.name} is stored yet`, {
      hint: `holdfast backup ${run.fromName}/${source.name}`,
    });
  }
  const { target } = await targetOf(deps, source, placed.target);
  const below = pathsBelow(source, target).map((path) => `/${path.toString('utf8')}`);
  return {
    application: run.planId,
    sourceId: source.id,
    places: below.length > 0 ? below : [target],
    bytes: newest.bytesTotal,
    warm: keptWarm(plan, source, placed.target),
    takeOver: await wasPrimary(pool, run.planId, hostId),
  };
}

interface RestoreSpec {
  readonly unit?: string | undefined;
  readonly port?: number | undefined;
  readonly options: Readonly<Record<string, string>>;
}

async function choose(
  deps: RestoreDeps,
  source: Source,
  pinned: PinnedSource,
  spec: RestoreSpec,
  to: { readonly hostId: string; readonly domainId: string },
): Promise<{ snapshotId: Buffer; engine: DeepPartial<RestoreJob['engine']> }> {
  const engine = engineOf(source);
  const id = Buffer.from(pinned.snapshotId, 'hex');
  if (engine === undefined) {
    const [there] = await snapshotsById(deps.catalog.pool, source.domainId, [id]);
    if (there === undefined)
      throw new HoldfastError('NOT_FOUND', `the snapshot of ${source.name} was deleted meanwhile`);
    return { snapshotId: id, engine: undefined };
  }
  const request = {
    snapshotId: pinned.target === null ? id : Buffer.alloc(0),
    atMs: pinned.target?.kind === 'time' ? BigInt(Math.round(pinned.target.atMs)) : 0n,
    point: undefined,
    start: spec.unit === undefined,
    port: spec.port ?? 0,
    options: Object.entries(spec.options).map(([name, value]) => ({ name, value })),
  };
  const planned = await planEngineRestore(deps, source, engine, request, to, GRANT_TTL_MS);
  return { snapshotId: planned.snapshot.id, engine: planned.engine };
}

/** Where it goes. `whole`: the target holds nothing but the source. */
export function placeOf(source: Source, asked: string | undefined): { target: string; whole: boolean } {
  const { type } = SourceSpec.decode(source.spec);
  if (type?.$case === 'files') {
    const [only, second] = type.value.paths;
    if (only !== undefined && second === undefined) {
      const target = asked ?? only;
      checkPath(target, 'target');
      return { target, whole: target !== '/' };
    }
    return { target: asked ?? '/', whole: false };
  }
  if (asked === undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', `the plan does not say where ${source.name} is restored to`, {
      hint: 'Give the restore step a target: the data directory on the standby.',
    });
  }
  checkPath(asked, 'target');
  return { target: asked, whole: true };
}

/** Several directories of one source go where they were, below /: each by itself, so that nothing beside them is touched. */
export function pathsBelow(source: Source, target: string): Buffer[] {
  const { type } = SourceSpec.decode(source.spec);
  if (target !== '/' || type?.$case !== 'files') return [];
  return type.value.paths.map((path) => Buffer.from(path.replace(/^\/+|\/+$/g, '')));
}

/** The settings of a server that was restored to another port: in its address, where it has one. */
export function withPort(settings: readonly Setting[], port: number | undefined): Setting[] {
  if (port === undefined) return [...settings];
  return settings.map(({ name, value }) => {
    if (name === 'port') return { name, value: String(port) };
    return { name, value: name === 'dsn' ? dsnWithPort(value, port) : value };
  });
}

/** libpq's connection strings, in words or as a URI; a URI without a host (a socket's directory is a parameter) has the port there, too. */
function dsnWithPort(dsn: string, port: number): string {
  if (/\bport=\d+/.test(dsn)) return dsn.replace(/\bport=\d+/, `port=${port}`);
  if (!/^postgres(ql)?:\/\//.test(dsn)) return `${dsn} port=${port}`;
  const host = /^(\w+:\/\/(?:[^/?@]*@)?(?:\[[^\]]*\]|[^/?:@]+))(?::\d+)?(?=[/?]|$)/;
  if (host.test(dsn)) return dsn.replace(host, `$1:${port}`);
  return `${dsn}${dsn.includes('?') ? '&' : '?'}port=${port}`;
}
