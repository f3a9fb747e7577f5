// Restore and verify: from a grant to files in place, or to the names of those that could not be brought back.
//
// Hazards: a restore that writes outside its target; one that leaves half a file looking whole; one that says "done"
// before the disk has it; one that grows with the snapshot. What answers each: target/ (paths, and files that take their
// name last), restore-run.ts (order and bounds), `finish` (durable before it returns).
//
// Damage does not end a restore: every file that can be brought back is, each that cannot is named, and the report then
// carries a failure with the code DAMAGED. A job that is cancelled, or ends by an error, leaves the files that were
// finished; the target's root keeps mode 0700 until everything is in place, and the error says that it is incomplete.
//
// Elsewhere on purpose: reconnecting (link/vault-read-session.ts); the bandwidth limit's arithmetic (jobs/).

import { availableParallelism } from 'node:os';
import { displayPath } from '@holdfast/shared/base/byte-string';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import type {
  JobDeps,
  JobFailure,
  JobPhase,
  JobReport,
  ProgressListener,
  RestoreJob,
  RunRestore,
  VerifyJob,
} from '../jobs/job.ts';
import type { ReadSession } from '../link/vault-port.ts';
import { reuseFreedMemory } from '../os/memory.ts';
import { ByteWindow } from './byte-window.ts';
import type { ContentCheck, ContentCheckOf } from './content-check.ts';
import { ChunkFetcher } from './chunk-fetcher.ts';
import { KeptPaths } from './kept-paths.ts';
import { KeyRing, requireDomainSecret } from './key-ring.ts';
import { requireNamedPath } from './named-paths.ts';
import { NodeFetcher } from './node-fetcher.ts';
import { openSnapshot, type OpenedSnapshot } from './open-snapshot.ts';
import { DIRECTORY_THREAD, RestoreRun, WINDOW_BYTES } from './restore-run.ts';
import { RestoreTally } from './restore-tally.ts';
import type { RestoreAnswer, RestoreMode, RestoreTask, RestoreThreadData } from './restore-task.ts';
import { Selection } from './selection.ts';
import { prepareTarget } from './prepare-target.ts';
import { WorkerPool } from './worker-pool.ts';
import { WorkInFlight } from './work-in-flight.ts';
import { WriteBack } from './write-back.ts';

/** More threads would hold more opened chunks than the agent's memory allows, and the disk is the limit before. */
const MAX_THREADS = 4;
const THREAD_HEAP_MB = 256;

/**
 * Restores into `job.target`, which is created when it is missing. Throws FAILED_PRECONDITION (the target is not empty, or the
 * domain's secret is missing), INVALID_ARGUMENT, PATH_ESCAPES and DAMAGED (a manifest that lies), STORAGE_FULL, CANCELLED,
 * UNREACHABLE.
 */
export const runRestore = (async (job, deps, signal, onProgress) => {
  const mode: RestoreMode = job.dryRun ? 'dry-run' : job.delta || job.intoNonEmpty ? 'delta' : 'write';
  return runPipeline(job, mode, deps, signal, onProgress);
}) satisfies RunRestore;

/** Reads and checks everything that a restore would read, and writes nothing. @param contentCheckOf what else to hold against it */
export async function runVerify(
  job: VerifyJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
  contentCheckOf?: ContentCheckOf,
): Promise<JobReport> {
  return runPipeline(job, 'verify', deps, signal, onProgress, contentCheckOf);
}

interface Context {
  readonly job: RestoreJob | VerifyJob;
  readonly mode: RestoreMode;
  readonly deps: JobDeps;
  readonly signal: AbortSignal;
  readonly onProgress: ProgressListener;
  readonly selection: Selection;
  readonly tally: RestoreTally;
}

async function runPipeline(
  job: RestoreJob | VerifyJob,
  mode: RestoreMode,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
  contentCheckOf?: ContentCheckOf,
): Promise<JobReport> {
  const startedMs = deps.clock.monotonicMs();
  const { domainId } = deps.identity;
  const domainSecret = requireDomainSecret(deps.identity);
  const tally = new RestoreTally();
  const selection = new Selection(job.paths);
  const context: Context = { job, mode, deps, signal, onProgress, selection, tally };
  const session = await deps.vault.openRead(job.grant, { signal });
  try {
    const keys = new KeyRing(domainSecret, domainId);
    const snapshot = await openSnapshot(session, keys, deps.identity);
    await requireNamedPath(new NodeFetcher(session, keys, () => Promise.resolve()), snapshot.root, context.selection);
    const target = job.kind === 'restore' ? prepareTarget(job) : undefined;
    const content = selection.everything ? await contentCheckOf?.(snapshot.record.sourceType) : undefined;
    const data = { domainId, domainSecret, mode, checksums: content !== undefined, target };
    await writeAll(context, session, snapshot, keys, data, content);
    const named = new Set(tally.warnings.kept.map(({ path }) => path));
    for (const { path, message } of (await content?.end()) ?? []) {
      if (!named.has(path)) tally.warn('damaged', path, message);
    }
    return report(context, snapshot, deps.clock.monotonicMs() - startedMs);
  } catch (thrown) {
    throw endOf(context, toHoldfastError(thrown));
  } finally {
    session.close();
  }
}

async function writeAll(
  context: Context,
  session: ReadSession,
  snapshot: OpenedSnapshot,
  keys: KeyRing,
  data: RestoreThreadData,
  content: ContentCheck | undefined,
): Promise<void> {
  const { job, mode, deps, signal, tally, selection, onProgress } = context;
  const window = new ByteWindow(WINDOW_BYTES);
  const work = new WorkInFlight((error) => window.close(error));
  const cancel = (): void => work.fail(new HoldfastError('CANCELLED', 'the job was cancelled'));
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  const received = async (bytes: number): Promise<void> => {
    tally.bytesFetched += bytes;
    await deps.limiter.take(bytes, signal);
  };
  const { files: filesTotal, bytesTotal } = selection.everything ? snapshot.record.statistics : NOTHING_KNOWN;
  const phase: JobPhase = mode === 'verify' ? 'verify' : 'restore';
  const endReuse = reuseFreedMemory();
  const pool = new WorkerPool<RestoreTask, RestoreAnswer>({
    count: Math.max(1, Math.min(MAX_THREADS, availableParallelism())),
    module: siblingModule(import.meta.url, './restore-worker'),
    workerData: data,
    maxHeapMb: THREAD_HEAP_MB,
  });
  const writeBack =
    data.target !== undefined && (mode === 'write' || mode === 'delta') ? new WriteBack(data.target.path) : undefined;
  try {
    const run = new RestoreRun({
      snapshot,
      selection,
      mode,
      keepRoot: data.target?.keepRoot === true,
      deleteExtra: job.kind === 'restore' && job.deleteExtra && (mode === 'delta' || mode === 'dry-run'),
      inPlace: job.kind === 'restore' && job.inPlace === true,
      kept: new KeptPaths(job.kind === 'restore' ? (job.kept ?? []) : []),
      nodes: new NodeFetcher(session, keys, received),
      chunks: new ChunkFetcher(session, received),
      pool,
      window,
      work,
      tally,
      ...(content === undefined ? {} : { content }),
      onAnswer: () => {
        writeBack?.wrote(tally.bytes);
        onProgress(tally.progress(phase, filesTotal, bytesTotal));
      },
    });
    await run.run();
    if (mode === 'write' || mode === 'delta') await finish(pool, tally);
  } catch (thrown) {
    // The reads that others still wait for must end before the threads do.
    work.fail(toHoldfastError(thrown));
    session.close();
    throw thrown;
  } finally {
    signal.removeEventListener('abort', cancel);
    await work.settle();
    await writeBack?.close();
    await closeThreads(pool);
    endReuse();
  }
}

/** Each thread has inode flags that had to wait; the directories come after them, and all of it is durable when this returns. */
async function finish(pool: WorkerPool<RestoreTask, RestoreAnswer>, tally: RestoreTally): Promise<void> {
  const threads = Array.from({ length: pool.size }, (_, thread) => thread).filter(
    (thread) => thread !== DIRECTORY_THREAD,
  );
  const runAll = (which: readonly number[], kind: 'settle' | 'sync'): Promise<RestoreAnswer[]> =>
    Promise.all(which.map((thread) => pool.run(thread, { kind }, 0)));
  const flags = await runAll(threads, 'settle');
  const directories = await runAll([DIRECTORY_THREAD], 'settle');
  const durable = await runAll([...threads, DIRECTORY_THREAD], 'sync');
  for (const answer of [...flags, ...directories, ...durable]) tally.add(answer);
}

/** Each gives up the files it has open, so that nothing half-written keeps a name. */
async function closeThreads(pool: WorkerPool<RestoreTask, RestoreAnswer>): Promise<void> {
  const closing = Array.from({ length: pool.size }, (_, thread) => pool.run(thread, { kind: 'close' }, 0));
  await Promise.allSettled(closing);
  await pool.close();
}

function report(context: Context, snapshot: OpenedSnapshot, durationMs: number): JobReport {
  const { tally, mode, selection } = context;
  if (!selection.everything && tally.warnings.count('not-in-snapshot') === selection.roots.length) {
    throw new HoldfastError('NOT_FOUND', `the snapshot has nothing at ${displayPath(selection.roots[0] ?? '')}`, {
      hint: 'See what is in it with `holdfast snapshot browse`.',
    });
  }
  const dry = mode === 'dry-run';
  const summary = {
    snapshotId: snapshot.id,
    entries: tally.entries,
    files: tally.files,
    filesChanged: dry ? tally.planned.created + tally.planned.changed : tally.filesWritten,
    bytesTotal: tally.bytes,
    bytesRead: tally.bytesFetched,
    bytesNew: dry ? tally.planned.bytesFetched : 0,
    bytesStored: 0,
    durationMs,
    partial: false,
  };
  const failure = damageOf(context);
  return {
    summary,
    warnings: tally.warnings.kept,
    warningsTotal: tally.warnings.total,
    ...(dry || mode === 'delta' ? { planned: { ...tally.planned, dryRun: dry } } : {}),
    ...(failure === undefined ? {} : { failure }),
  };
}

function damageOf({ tally, mode, job }: Context): JobFailure | undefined {
  if (tally.warnings.count('damaged') === 0) return undefined;
  const rest = mode === 'verify' || job.kind === 'verify' ? '' : '; everything else was restored';
  return {
    code: 'DAMAGED',
    message: `${tally.damageSentence()}${rest}`,
    hint: 'The warnings name every file. Restore these from another snapshot or copy.',
  };
}

/** An error that ended the job, and what it leaves behind. */
function endOf({ job, mode, tally, signal }: Context, error: HoldfastError): HoldfastError {
  const code = signal.aborted ? 'CANCELLED' : error.code;
  if (job.kind === 'verify' || mode === 'dry-run' || tally.entries === 0) {
    return code === error.code ? error : new HoldfastError(code, 'the job was cancelled', { cause: error });
  }
  const left = `${displayPath(job.target)} is incomplete: ${tally.entries} entries were restored`;
  return new HoldfastError(code, `${code === 'CANCELLED' ? 'the job was cancelled' : error.message}; ${left}`, {
    hint: error.hint === '' ? 'Run it again with --delta: what is there already is kept.' : error.hint,
    details: { ...error.details, entriesRestored: tally.entries },
    cause: error,
  });
}

const NOTHING_KNOWN = { files: 0, bytesTotal: 0 };
