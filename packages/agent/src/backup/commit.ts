// The end of a backup: the signed snapshot record, and the commit.
//
// Hazard: a snapshot that names what the vault doesn't have. So this begins when all content and nodes are durable, and the
// controller checks it all again.

import { createPrivateKey } from 'node:crypto';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import { seal } from '@holdfast/shared/format/seal';
import { encodeSnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import type { BackupJob, JobDeps, JobSummary } from '../jobs/job.ts';
import type { BackupSession, CommittedSnapshot } from '../link/vault-port.ts';
import type { ScanDoneMessage } from './messages.ts';

/** What a snapshot is committed from. */
export interface CommitWork {
  readonly job: BackupJob;
  readonly deps: JobDeps;
  readonly keys: DomainKeys;
  readonly session: BackupSession;
  /** files, postgres, … */
  readonly sourceType: string;
  readonly startedAtMs: number;
  /** Monotonic. */
  readonly startedAt: number;
  /** How much older than its start the state is that the snapshot stands for; it counts as a part of the time that was taken. */
  readonly behindMs: number;
}

/** Sends the record of what `scanned` found, and commits it. `newPlainBytes`: plain bytes of the chunks that the vault lacked. */
export async function commit(
  work: CommitWork,
  scanned: ScanDoneMessage,
  newPlainBytes: number,
  point: DatabasePoint | undefined,
): Promise<{ committed: CommittedSnapshot; summary: JobSummary }> {
  const { job, deps, keys, session } = work;
  const sequence = session.latestSequence + 1;
  const summary: JobSummary = {
    entries: scanned.root.entries,
    files: scanned.files,
    filesChanged: scanned.filesChanged,
    bytesTotal: scanned.root.totalBytes,
    bytesRead: scanned.bytesRead,
    bytesNew: newPlainBytes,
    bytesStored: session.newBytes,
    durationMs: Math.round(deps.clock.monotonicMs() - work.startedAt),
    partial: scanned.partial,
  };
  const { entries, files, bytesTotal, bytesRead, bytesNew, bytesStored, durationMs, partial } = summary;
  const stats = {
    entries,
    files,
    bytesTotal,
    bytesRead,
    bytesNew,
    bytesStored,
    durationMs: durationMs + work.behindMs,
  };
  const payload = encodeSnapshotRecord(
    {
      domainId: deps.identity.domainId,
      hostId: deps.identity.hostId,
      sourceId: job.source.sourceId,
      sourceType: work.sourceType,
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
    ...(point === undefined ? {} : { point }),
  });
  deps.log.info('backup.committed', {
    sourceId: job.source.sourceId,
    snapshot: Buffer.from(committed.snapshotId).toString('hex', 0, 6),
    ...stats,
  });
  return { committed, summary: { ...summary, snapshotId: committed.snapshotId } };
}
