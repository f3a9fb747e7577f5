// The operator's calls that start work on hosts, and watch it.
//
// Hazard: a restore is a write on somebody's server and a read of somebody's data. So the snapshot and both hosts must be
// in one domain in which the caller may do this, the grant names the one host that restores, and every start is audited.
//
// Tested in fleet/control-hub.db.test.ts and permissions.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import {
  Job as WireJob,
  JobOutcome,
  JobProgress,
  type EngineRestore,
} from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type {
  DeepPartial,
  OperatorServiceImplementation,
  StartJobResponse,
  StartRestoreRequest,
  StartVerifyRequest,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import { chooseSnapshot, type Snapshot } from '../browse/snapshots.ts';
import type { Domain } from '../fleet/domains.ts';
import { findHost, type Host } from '../fleet/hosts.ts';
import { askCancel, findJob, listJobs, queueJob, type Job, type NewJob } from '../fleet/jobs.ts';
import { findSource, sourcesById, type Source } from '../fleet/sources.ts';
import { engineOf, planEngineRestore, type EngineRequest } from './engine-restore.ts';
import { audit } from './operator-accounts.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { requireReachable } from './operator-fleet.ts';
import { fullName, jobToWire } from './operator-wire.ts';
import type { OperatorContext } from './permissions.ts';
import { checkPath } from './source-spec.ts';

type Calls = Pick<
  OperatorServiceImplementation<OperatorContext>,
  'startBackup' | 'startRestore' | 'startVerify' | 'watchJob' | 'cancelJob' | 'listJobs'
>;

/** A job may wait for its host a while, and a large restore takes long. */
const GRANT_TTL_MS = 7 * 86_400_000;
const PATHS_MAX = 10_000;
const LIST_MAX = 1_000;

export function jobCalls(deps: OperatorDeps): Calls {
  const { pool } = deps.catalog;
  return {
    async startBackup(request, context) {
      const domain = context.scope().domain(request.domain);
      const source = await findSource(pool, domain.id, request.source);
      requireReachable(await findHost(pool, domain.id, source.hostName));
      const spec = SourceSpec.decode(source.spec);
      requirePaths(spec, source);
      const backup = { source: spec, fullRead: request.fullRead };
      const jobId = await start(deps, context, source, {
        hostId: source.hostId,
        kind: 'backup',
        request: (id) =>
          WireJob.encode(WireJob.fromPartial({ jobId: id, kind: { $case: 'backup', value: backup } })).finish(),
      });
      return { jobId };
    },
    startRestore: (request, context) => startRestore(deps, request, context),
    startVerify: (request, context) => startVerify(deps, request, context),
    async *watchJob(request, context) {
      await visibleJob(deps, request.jobId, context);
      for await (const news of deps.news.watch(request.jobId, context.signal)) {
        if (news.kind === 'progress') {
          yield { kind: { $case: 'progress', value: JobProgress.decode(news.progress) } };
        } else {
          yield { kind: { $case: 'state', value: jobToWire(news.job) } };
          const outcome = outcomeOf(news.job);
          if (outcome !== undefined) yield { kind: { $case: 'outcome', value: outcome } };
        }
      }
    },
    async cancelJob(request, context) {
      const job = await visibleJob(deps, request.jobId, context);
      await deps.catalog.transaction(async (client) => {
        await askCancel(client, job.id);
        await audit(client, context, job.domainId, 'job.cancel', `${job.kind} ${job.sourceName} ${job.id}`);
        await deps.events.tell(client, { kind: 'jobs', hostId: job.hostId });
        await deps.events.tell(client, { kind: 'job', jobId: job.id });
      });
      return {};
    },
    async listJobs(request, context) {
      const domain = context.scope().domain(request.domain);
      const source =
        request.source === '' ? undefined : await findSource(pool, domain.id, request.source, { removed: true });
      const limit = Math.min(request.limit === 0 ? 50 : request.limit, LIST_MAX);
      const filter = { domainId: domain.id, limit, ...(source === undefined ? {} : { sourceId: source.id }) };
      return { jobs: (await listJobs(pool, filter)).map(jobToWire) };
    },
  };
}

/** Only a source that a rebuild brought back may lack them. */
function requirePaths({ type }: SourceSpec, source: Source): void {
  if (type?.$case !== 'files' || type.value.paths.length > 0) return;
  throw new HoldfastError('FAILED_PRECONDITION', `${fullName(source)} has lost its paths with the catalog`, {
    hint: 'Remove the source and add it again with its paths. Its snapshots stay.',
  });
}

async function startRestore(
  deps: OperatorDeps,
  request: StartRestoreRequest,
  context: OperatorContext,
): Promise<DeepPartial<StartJobResponse>> {
  const domain = context.scope().domain(request.domain);
  checkPath(request.target, 'target');
  checkPaths(request.paths);
  const { source, host, snapshot, engine } = await chooseFor(deps, domain, request, request.toHost);
  const grant = await deps.vault.grant({ hostId: host.id, domainId: domain.id }, snapshot.id, GRANT_TTL_MS);
  const restore = {
    grant,
    target: request.target,
    paths: request.paths,
    delta: request.delta,
    dryRun: request.dryRun,
    intoNonEmpty: request.intoNonEmpty,
    setuid: request.setuid,
    deleteExtra: request.deleteExtra,
    limitBytesPerSecond: request.limitBytesPerSecond,
    ...(engine === undefined ? {} : { engine }),
  };
  const jobId = await start(deps, context, source, {
    hostId: host.id,
    kind: 'restore',
    snapshotId: snapshot.id,
    request: (id) =>
      WireJob.encode(WireJob.fromPartial({ jobId: id, kind: { $case: 'restore', value: restore } })).finish(),
  });
  return { jobId, snapshotId: snapshot.id };
}

async function startVerify(
  deps: OperatorDeps,
  request: StartVerifyRequest,
  context: OperatorContext,
): Promise<DeepPartial<StartJobResponse>> {
  const domain = context.scope().domain(request.domain);
  checkPaths(request.paths);
  if (request.all && request.paths.length > 0)
    throw new HoldfastError('INVALID_ARGUMENT', 'name paths of one snapshot, or check all snapshots');
  const asRestore = { ...request, start: request.restoreTest, port: 0, options: [] };
  const { source, host, snapshot, engine } = await chooseFor(
    deps,
    domain,
    asRestore,
    request.onHost,
    request.restoreTest,
  );
  if (request.restoreTest && engine === undefined) {
    throw new HoldfastError('INVALID_ARGUMENT', `${fullName(source)} is a file tree: there is nothing to start`, {
      hint: 'Leave out --restore-test: verify reads and checks every file.',
    });
  }
  const grant = await deps.vault.grant({ hostId: host.id, domainId: domain.id }, snapshot.id, GRANT_TTL_MS);
  const verify = { grant, paths: request.paths, ...(engine === undefined ? {} : { restoreTest: engine }) };
  const jobId = await start(deps, context, source, {
    hostId: host.id,
    kind: 'verify',
    // Without one snapshot, the controller reads the packs of all (verify-outcome.ts); the agent opens the newest.
    ...(request.all ? {} : { snapshotId: snapshot.id }),
    request: (id) =>
      WireJob.encode(WireJob.fromPartial({ jobId: id, kind: { $case: 'verify', value: verify } })).finish(),
  });
  return { jobId, snapshotId: snapshot.id };
}

function checkPaths(paths: readonly Uint8Array[]): void {
  if (paths.length > PATHS_MAX) throw new HoldfastError('INVALID_ARGUMENT', `at most ${PATHS_MAX} paths`);
}

async function choose(
  deps: OperatorDeps,
  domain: Domain,
  request: { source: string; snapshotId: Buffer; atMs: bigint },
): Promise<{ source: Source; snapshot: Snapshot }> {
  const { pool } = deps.catalog;
  const named =
    request.source === '' ? undefined : await findSource(pool, domain.id, request.source, { removed: true });
  const snapshot = await chooseSnapshot(pool, {
    domainId: domain.id,
    sourceId: named?.id,
    id: request.snapshotId,
    atMs: Number(request.atMs),
  });
  const source = named ?? (await sourcesById(pool, [snapshot.sourceId])).get(snapshot.sourceId);
  if (source === undefined) throw new HoldfastError('NOT_FOUND', 'the snapshot’s source is not known any more');
  return { source, snapshot };
}

interface Chosen {
  readonly source: Source;
  readonly host: Host;
  readonly snapshot: Snapshot;
  /** Undefined for a file tree. */
  readonly engine: DeepPartial<EngineRestore> | undefined;
}

/** What is restored, and by whom: of an engine's source the base that reaches the point, with what it needs of the log. */
async function chooseFor(
  deps: OperatorDeps,
  domain: Domain,
  request: EngineRequest & { readonly source: string; readonly snapshotId: Buffer },
  hostName: string,
  brings = true,
): Promise<Chosen> {
  const { pool } = deps.catalog;
  const named =
    request.source === ''
      ? (await choose(deps, domain, request)).source
      : await findSource(pool, domain.id, request.source, { removed: true });
  const host = await findHost(pool, domain.id, hostName === '' ? named.hostName : hostName);
  const engine = engineOf(named);
  if (engine === undefined && (request.point?.kind !== undefined || request.options.length > 0)) {
    throw new HoldfastError('INVALID_ARGUMENT', `${fullName(named)} is a file tree: it keeps no log`, {
      hint: 'Choose one of its snapshots with --snapshot or --at.',
    });
  }
  requireReachable(host);
  if (engine === undefined || !brings) return { ...(await choose(deps, domain, request)), host, engine: undefined };
  const to = { hostId: host.id, domainId: domain.id };
  const planned = await planEngineRestore(deps, named, engine, request, to, GRANT_TTL_MS);
  return { source: named, host, ...planned };
}

async function start(
  deps: OperatorDeps,
  context: OperatorContext,
  source: Source,
  job: Omit<NewJob, 'domainId' | 'sourceId' | 'requestedBy'>,
): Promise<string> {
  const requestedBy = `operator ${context.scope().caller.name}`;
  return await deps.catalog.transaction(async (client) => {
    const id = await queueJob(client, { ...job, domainId: source.domainId, sourceId: source.id, requestedBy });
    await audit(client, context, source.domainId, `job.${job.kind}`, `${fullName(source)} ${id}`);
    await deps.events.tell(client, { kind: 'jobs', hostId: job.hostId });
    return id;
  });
}

const JOB_ID = /^[0-9a-f-]{36}$/;

/** A job of another domain looks exactly like one that does not exist. */
async function visibleJob(deps: OperatorDeps, jobId: string, context: OperatorContext): Promise<Job> {
  const job = JOB_ID.test(jobId) ? await findJob(deps.catalog.pool, jobId) : undefined;
  if (job === undefined || !context.scope().reaches(job.domainId)) {
    throw new HoldfastError('NOT_FOUND', `there is no job ${jobId.slice(0, 40)}`);
  }
  return job;
}

/** What a watcher gets last; undefined while the job goes on. */
function outcomeOf(job: Job): JobOutcome | undefined {
  if (job.state === 'queued' || job.state === 'running') return undefined;
  if (job.outcome !== null) return JobOutcome.decode(job.outcome);
  // It ended without its agent: cancelled in the queue, or its host was lost.
  return JobOutcome.fromPartial({
    result: job.state,
    errorCode: job.state === 'cancelled' ? 'CANCELLED' : 'UNREACHABLE',
    errorMessage: job.errorMessage === '' ? `the job was ${job.state} before its host reported` : job.errorMessage,
  });
}
