// A snapshot, from the job to its commit: the main thread's part, whatever makes the content (the scan of a file tree, or an
// engine's producer). It starts the threads, carries what they made to the vault, commits, and keeps the base for the next one.
//
//     producer ── pieces of shared slabs ──▶ seal threads ── envelopes ──▶ uploader ──▶ vault
//         ▲                                      │ ids
//         └──────────────────────────────────────┘        nodes ──▶ uploader
//
// Hazard: a snapshot that names what the vault doesn't have. The order is: content, nodes, record, commit; each waits for the
// one before to be durable, and the controller checks it all again.
//
// Invariants (run-snapshot.test.ts, ../backup.test.ts, test/e2e):
//   I5 an interrupted backup leaves no snapshot, and what it uploaded is reused;
//   B1 the base for the next backup is replaced only after the commit was acknowledged;
//   B2 whatever ends the backup, every thread is ended; an engine's thread is asked first, so that it can end what it began.

import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import type { SealOptions } from '@holdfast/shared/format/seal';
import type { BackupJob, Compression, JobDeps, JobReport, ProgressListener } from '../../jobs/job.ts';
import { earliestStart, type Base, forgetBase, saveBase } from '../base.ts';
import { commit, type CommitWork } from '../commit.ts';
import type { ScanProgressMessage } from '../messages.ts';
import { isCacheMiss } from '../node-cache.ts';
import { cacheDirectory, NODES_FILE, openSession } from '../open-session.ts';
import { Pressure } from '../pressure.ts';
import { BackupThreads } from '../threads.ts';
import { Uploader } from '../uploader.ts';

/** Who makes the content of a snapshot: a module that runs in a thread of its own, and what the main thread adds. */
export interface SnapshotProducer<R = unknown> {
  /** URL of a worker module that calls `runProducer` (run-producer.ts); find it with `siblingModule`. */
  readonly module: URL;
  /** What the module is given: structured-cloneable. No secrets that need not be there. */
  readonly data: unknown;
  /** files, postgres, …: stands in the snapshot record. */
  readonly sourceType: string;
  /** How long the thread may take to end by itself once cancelled (to end child processes, say); default 5 s, 0 for none. */
  readonly graceMs?: number;
  /** What the module's `context.tell` said, while it runs. */
  onMessage?(message: unknown): void;
  /**
   * Called with what the module returned, once all content is durable and before the snapshot is committed; an error, or the
   * signal, leaves no snapshot. The answer stands in the commit.
   */
  beforeCommit?(result: R, signal: AbortSignal): Promise<DatabasePoint | undefined>;
}

/**
 * Makes a snapshot of what `producer` writes: session, threads, upload, record, commit. Throws CANCELLED once `signal` is
 * aborted, and whatever the producer's module threw. When the agent's copy of the base is damaged the producer runs again, once.
 */
export async function runSnapshot<R = unknown>(
  job: BackupJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
  producer: SnapshotProducer<R>,
): Promise<JobReport> {
  const nowMs = deps.clock.wallMs();
  const startedAtMs = Math.min(nowMs, job.changesUpToMs ?? nowMs);
  const startedAt = deps.clock.monotonicMs();
  const { identity } = deps;
  const { domainSecret } = identity;
  if (domainSecret === undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', "this host doesn't have its domain's secret", {
      hint: 'The domain is sealed. Give the host the secret of its other hosts: holdfast-agent secret set FILE',
    });
  }
  const keys = deriveDomainKeys(domainSecret, identity.domainId, identity.keyEpoch);
  const directory = cacheDirectory(deps.stateDir, job.source.sourceId);
  const attempt = async (): Promise<JobReport> => {
    const { session, base } = await openSession(job, deps, domainSecret, directory, signal);
    try {
      const { sourceType } = producer;
      const behindMs = Math.round(nowMs - startedAtMs);
      const work: Work = { job, deps, keys, session, base, directory, sourceType, startedAtMs, startedAt, behindMs };
      return await backUp(work, producer, signal, onProgress);
    } finally {
      session.close();
    }
  };
  try {
    return await attempt();
  } catch (error) {
    if (!isCacheMiss(error)) throw error;
    // The agent's copy of the base is damaged. Without it the base is read from the vault, once.
    deps.log.warn('backup.cache-damaged', { sourceId: job.source.sourceId });
    forgetBase(directory);
    return attempt();
  }
}

interface Work extends CommitWork {
  readonly base: Base | undefined;
  readonly directory: string;
}

type SeenSoFar = Omit<ScanProgressMessage, 'kind'>;

const REPORT_MS = 500;
const GRACE_MS = 5_000;

async function backUp<R>(
  work: Work,
  producer: SnapshotProducer<R>,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const { job, deps, keys, session, base, directory } = work;
  const pressure = new Pressure();
  const uploader = new Uploader(session, deps.limiter, pressure);
  let seen: SeenSoFar = { filesDone: 0, bytesDone: 0, currentPath: '' };
  const report = () =>
    onProgress({
      phase: 'read',
      filesDone: seen.filesDone,
      filesTotal: seen.filesTotal ?? base?.files ?? 0,
      bytesDone: seen.bytesDone,
      bytesTotal: seen.bytesTotal ?? base?.totalBytes ?? 0,
      bytesNew: uploader.newPlainBytes,
      bytesStored: session.newBytes,
      currentPath: seen.currentPath,
    });
  const threads = new BackupThreads({
    keys,
    producer: {
      module: producer.module,
      settings: producer.data,
      graceMs: producer.graceMs ?? GRACE_MS,
      onMessage: (message) => producer.onMessage?.(message),
    },
    compression: sealOptionsOf(job.source.compression),
    // A base that lost objects is built on no more: everything is read, and what the vault lacks is stored again.
    base: session.baseDamaged ? undefined : base,
    cacheFile: join(directory, NODES_FILE),
    directory,
    pressure,
    onChunk: (chunk) => uploader.offerChunk(chunk),
    onNode: (node) => uploader.offerNode(node),
    onProgress: (scanned) => {
      seen = scanned;
      report();
    },
  });
  // Also while one large file is read, or the network is slow: what is stored grows then, and somebody is watching.
  const reporting = setInterval(report, REPORT_MS);
  const cancelled = Promise.withResolvers<never>();
  cancelled.promise.catch(() => undefined);
  const onAbort = () => {
    pressure.cancel();
    cancelled.reject(new HoldfastError('CANCELLED', 'the backup was cancelled'));
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal.aborted) onAbort();
    const scanned = await Promise.race([threads.finished(), failedUpload(uploader), cancelled.promise]);
    await Promise.race([uploader.finish(), cancelled.promise]);
    const point = await Promise.race([producer.beforeCommit?.(scanned.result as R, signal), cancelled.promise]);
    const { committed, summary } = await commit(work, scanned, uploader.newPlainBytes, point);
    saveBase(directory, {
      snapshotId: committed.snapshotId,
      root: scanned.root,
      entries: scanned.root.entries,
      totalBytes: scanned.root.totalBytes,
      files: scanned.files,
      startedAtMs: earliestStart(work.startedAtMs, deps.clock.wallMs(), deps.clock.monotonicMs() - work.startedAt),
      dead: scanned.dead,
    });
    return { summary, warnings: scanned.warnings, warningsTotal: scanned.warningsTotal };
  } finally {
    clearInterval(reporting);
    signal.removeEventListener('abort', onAbort);
    pressure.cancel();
    await threads.end();
  }
}

/** Only ever rejects: an upload that has ended well says nothing about the scan. */
async function failedUpload(uploader: Uploader): Promise<never> {
  await uploader.failed();
  return new Promise(() => undefined);
}

function sealOptionsOf({ codec, level }: Compression): SealOptions {
  return { codec: codec === 'none' ? 'stored' : codec, ...(level === 0 ? {} : { level }) };
}
