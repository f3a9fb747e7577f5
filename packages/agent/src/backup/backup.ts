// A backup, from the job to the committed snapshot: the main thread's part. It starts the threads, carries what they made to
// the vault, signs the snapshot record, commits, and keeps the base for the next one.
//
//     scan thread ── pieces of shared slabs ──▶ seal threads ── envelopes ──▶ uploader ──▶ vault
//         ▲                                         │ ids
//         └─────────────────────────────────────────┘        nodes ──▶ uploader
//
// Hazard: a snapshot that names what the vault doesn't have. The order is: content, nodes, record, commit; each waits for the
// one before to be durable, and the controller checks it all again.
//
// Invariants (backup.test.ts, test/e2e):
//   I5 an interrupted backup leaves no snapshot, and what it uploaded is reused;
//   B1 the base for the next backup is replaced only after the commit was acknowledged;
//   B2 whatever ends the backup, every thread is ended.

import { createPrivateKey } from 'node:crypto';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys, type DomainKeys } from '@holdfast/shared/format/keys';
import { seal, type SealOptions } from '@holdfast/shared/format/seal';
import { encodeSnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import type {
  BackupJob,
  Compression,
  FilesSpec,
  JobDeps,
  JobReport,
  JobSummary,
  ProgressListener,
} from '../jobs/job.ts';
import type { BackupSession, CommittedSnapshot } from '../link/vault-port.ts';
import { type Base, forgetBase, loadBase, saveBase } from './base.ts';
import { fetchBase } from './base-fetch.ts';
import type { ScanDoneMessage } from './messages.ts';
import { isCacheMiss } from './node-cache.ts';
import { Pressure } from './pressure.ts';
import { BackupThreads } from './threads.ts';
import { Uploader } from './uploader.ts';

export async function runBackup(
  job: BackupJob<FilesSpec>,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<JobReport> {
  const startedAtMs = deps.clock.wallMs();
  const startedAt = deps.clock.monotonicMs();
  const { identity } = deps;
  const { domainSecret } = identity;
  if (domainSecret === undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', "this host doesn't have its domain's secret", {
      hint: 'The domain is sealed: hand the secret over with `holdfast-agent secret`.',
    });
  }
  const keys = deriveDomainKeys(domainSecret, identity.domainId, identity.keyEpoch);
  const directory = cacheDirectory(deps.stateDir, job.source.sourceId);
  const attempt = async (): Promise<JobReport> => {
    const { session, base } = await openSession(job, deps, domainSecret, directory, signal);
    try {
      const work: Work = { job, deps, keys, session, base, directory, startedAtMs, startedAt };
      return await backUp(work, signal, onProgress);
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

interface Work {
  readonly job: BackupJob<FilesSpec>;
  readonly deps: JobDeps;
  readonly keys: DomainKeys;
  readonly session: BackupSession;
  readonly base: Base | undefined;
  readonly directory: string;
  readonly startedAtMs: number;
  /** Monotonic. */
  readonly startedAt: number;
}

const NODES_FILE = 'nodes';
const REPORT_MS = 500;

function cacheDirectory(stateDir: string, sourceId: string): string {
  // The id comes from the controller and becomes a name here: only what an id can look like.
  if (!/^[0-9a-zA-Z-]{1,64}$/.test(sourceId)) {
    throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller named a source by something that is no id');
  }
  const directory = join(stateDir, 'cache', sourceId);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

/** A session on the newest snapshot, and that snapshot as the base; fetched when the cache has another one. */
async function openSession(
  job: BackupJob<FilesSpec>,
  deps: JobDeps,
  domainSecret: Uint8Array,
  directory: string,
  signal: AbortSignal,
): Promise<{ session: BackupSession; base: Base | undefined }> {
  const { sourceId } = job.source;
  const open = (base: Base | undefined) =>
    deps.vault.openBackup({
      sourceId,
      jobId: job.jobId,
      ...(base === undefined ? {} : { baseSnapshotId: base.snapshotId }),
      signal,
    });
  let base = loadBase(directory);
  for (let attempt = 0; attempt < 3; attempt++) {
    const session = await open(base).catch((error: unknown) => {
      // A base that the vault doesn't know (a rolled-back catalog, say) is no base.
      const unknownBase = base !== undefined && error instanceof HoldfastError && error.code === 'NOT_FOUND';
      if (!unknownBase) throw error;
      return undefined;
    });
    if (session !== undefined && sameId(session.latestSnapshotId, base?.snapshotId)) return { session, base };
    session?.close();
    deps.log.info('backup.base-fetched', { sourceId, had: base !== undefined });
    const fetched = join(directory, `${NODES_FILE}.fetched`);
    rmSync(fetched, { force: true });
    base = await fetchBase(sourceId, fetched, { ...deps, domainSecret }, signal);
    if (base !== undefined) {
      renameSync(fetched, join(directory, NODES_FILE));
      saveBase(directory, base);
    }
  }
  throw new HoldfastError('BUSY', "the source's newest snapshot kept changing while the backup began", {
    hint: 'Another backup of this source commits at the same time; try again.',
  });
}

function sameId(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a, b) === 0;
}

async function backUp(work: Work, signal: AbortSignal, onProgress: ProgressListener): Promise<JobReport> {
  const { job, deps, keys, session, base, directory } = work;
  const pressure = new Pressure();
  const uploader = new Uploader(session, deps.limiter, pressure);
  let seen = { filesDone: 0, bytesDone: 0, currentPath: '' };
  const report = () =>
    onProgress({
      phase: 'read',
      filesDone: seen.filesDone,
      filesTotal: base?.files ?? 0,
      bytesDone: seen.bytesDone,
      bytesTotal: base?.totalBytes ?? 0,
      bytesNew: uploader.newPlainBytes,
      bytesStored: session.newBytes,
      currentPath: seen.currentPath,
    });
  const threads = new BackupThreads({
    keys,
    source: job.source.files,
    compression: sealOptionsOf(job.source.compression),
    fullRead: job.fullRead,
    changedPaths: job.changedPaths,
    // A base that lost objects is built on no more: everything is read, and what the vault lacks is stored again.
    base: session.baseDamaged ? undefined : base,
    cacheFile: join(directory, NODES_FILE),
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
    const { committed, summary } = await commit(work, scanned, uploader);
    saveBase(directory, {
      snapshotId: committed.snapshotId,
      root: scanned.root,
      entries: scanned.root.entries,
      totalBytes: scanned.root.totalBytes,
      files: scanned.files,
      startedAtMs: work.startedAtMs,
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

async function commit(
  work: Work,
  scanned: ScanDoneMessage,
  uploader: Uploader,
): Promise<{ committed: CommittedSnapshot; summary: JobSummary }> {
  const { job, deps, keys, session } = work;
  const sequence = session.latestSequence + 1;
  const summary: JobSummary = {
    entries: scanned.root.entries,
    files: scanned.files,
    filesChanged: scanned.filesChanged,
    bytesTotal: scanned.root.totalBytes,
    bytesRead: scanned.bytesRead,
    bytesNew: uploader.newPlainBytes,
    bytesStored: session.newBytes,
    durationMs: Math.round(deps.clock.monotonicMs() - work.startedAt),
    partial: scanned.partial,
  };
  const { entries, files, bytesTotal, bytesRead, bytesNew, bytesStored, durationMs, partial } = summary;
  const stats = { entries, files, bytesTotal, bytesRead, bytesNew, bytesStored, durationMs };
  const payload = encodeSnapshotRecord(
    {
      domainId: deps.identity.domainId,
      hostId: deps.identity.hostId,
      sourceId: job.source.sourceId,
      sourceType: 'files',
      sequence,
      previousSnapshotId: session.latestSnapshotId,
      startedAtMs: work.startedAtMs,
      finishedAtMs: deps.clock.wallMs(),
      statistics: stats,
      partial,
      warnings: scanned.warnings,
      warningsTotal: scanned.warningsTotal,
    },
    scanned.root.id,
    createPrivateKey(deps.identity.recordKeyPem),
  );
  const record = seal(keys, ObjectKind.snapshotRecord, scanned.root.id, payload);
  await session.send({ id: record.id, envelope: record.envelope, referenceProofs: scanned.root.proof });
  const committed = await session.commit({
    recordId: record.id,
    sequence,
    partial,
    warningsTotal: scanned.warningsTotal,
    startedAtMs: work.startedAtMs,
    stats,
  });
  deps.log.info('backup.committed', {
    sourceId: job.source.sourceId,
    snapshot: Buffer.from(committed.snapshotId).toString('hex', 0, 6),
    ...stats,
  });
  return { committed, summary: { ...summary, snapshotId: committed.snapshotId } };
}

function sealOptionsOf({ codec, level }: Compression): SealOptions {
  return { codec: codec === 'none' ? 'stored' : codec, ...(level === 0 ? {} : { level }) };
}
