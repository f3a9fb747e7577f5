// The controller's half of a verify: the agent has opened a snapshot's objects; here every byte of its packs is read.
//
// Hazard: a verify that says "done" although one half found damage. So the halves are merged into one outcome, and the
// worse word wins. What every snapshot that was asked about came to is told beside it.
//
// Tested in verify-outcome.test.ts and verify-outcome.db.test.ts.

import { toBytes } from '@holdfast/shared/base/byte-string';
import type { LogRange } from '@holdfast/shared/format/log-point';
import { JobOutcome, type JobWarning } from '@holdfast/shared/rpc/gen/holdfast/v1/control';

import { listSnapshots, snapshotsById, type Snapshot } from '../browse/snapshots.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { findJob } from '../fleet/jobs.ts';
import type { DamagedFile, DescribeFiles, Vault, VerifyReport } from '../vault/contract.ts';

export interface VerifyDeps {
  readonly catalog: Catalog;
  readonly vault: Pick<Vault, 'verify'>;
  /** For one verify. */
  readonly describeFiles: () => DescribeFiles;
}

/** The outcome with the scrub's findings; outcomes of other jobs, and of failed ones, come back as they are. */
export async function completeVerify(
  deps: VerifyDeps,
  hostId: string,
  jobId: string,
  outcome: JobOutcome,
): Promise<JobOutcome> {
  const job = await findJob(deps.catalog.pool, jobId);
  if (job === undefined || job.hostId !== hostId || job.kind !== 'verify' || job.state !== 'running') return outcome;
  if (outcome.result === 'cancelled') return outcome;

  const { pool } = deps.catalog;
  const asked =
    job.snapshotId === null
      ? await listSnapshots(pool, job.sourceId, 0)
      : await snapshotsById(pool, job.domainId, [job.snapshotId]);
  const snapshotIds = job.snapshotId === null ? asked.map((snapshot) => snapshot.id) : [job.snapshotId];
  const report = await deps.vault.verify(
    { domainId: job.domainId, snapshotIds, logSources: [job.sourceId] },
    { describeFiles: deps.describeFiles() },
  );
  const snapshots = asked.slice(0, SNAPSHOTS_TOLD).toReversed();
  return { ...mergeOutcome(outcome, report, snapshotIds), snapshots: verdicts(outcome, report, snapshots) };
}

/** Some 100 bytes each, in one message. */
const SNAPSHOTS_TOLD = 5_000;

/** What became of each snapshot. Only the one that the host opened can be damaged in a way that its stored bytes don't show. */
export function verdicts(
  outcome: JobOutcome,
  report: VerifyReport,
  asked: readonly Snapshot[],
): JobOutcome['snapshots'] {
  const hurt = new Map(report.snapshots.map((snapshot) => [snapshot.snapshotId, snapshot.objectIds.length]));
  const opened = outcome.summary?.snapshotId ?? Buffer.alloc(0);
  return asked.map((snapshot) => {
    const byHost = snapshot.id.equals(opened);
    const lost = hurt.get(snapshot.id.toString('hex')) ?? 0;
    return {
      snapshotId: snapshot.id,
      sequence: BigInt(snapshot.sequence),
      committedAtMs: BigInt(snapshot.committedAt.getTime()),
      entries: BigInt(snapshot.entries),
      files: BigInt(snapshot.files),
      bytesTotal: BigInt(snapshot.bytesTotal),
      damagedObjects: BigInt(byHost && outcome.errorCode === 'DAMAGED' ? Math.max(1, lost) : lost),
      opened: byHost,
    };
  });
}

/**
 * What the agent said, and what the scrub found, in one outcome. It fails when a snapshot that was asked for lost something.
 * Any other damage (an older snapshot's, or bytes that the next backup has replaced) is a warning: it stays where it is, and
 * no verify would ever succeed again.
 */
export function mergeOutcome(outcome: JobOutcome, report: VerifyReport, asked: readonly Uint8Array[]): JobOutcome {
  const askedIds = new Set(asked.map((id) => Buffer.from(id).toString('hex')));
  let damaged = false;
  const found = new Map<string, JobWarning>();
  for (const damage of report.damages) {
    const message = `pack ${damage.packId} at ${damage.offset}, ${damage.lengthBytes} bytes: ${damage.what}`;
    found.set(message, { code: 'damaged', path: Buffer.alloc(0), message });
  }
  for (const snapshot of report.snapshots) {
    damaged ||= askedIds.has(snapshot.snapshotId);
    const id = snapshot.snapshotId.slice(0, 12);
    const message = `snapshot ${id} (number ${snapshot.sequence}) needs ${snapshot.objectIds.length} damaged or missing objects`;
    found.set(message, { code: 'damaged', path: Buffer.alloc(0), message });
    for (const file of snapshot.files?.named ?? []) {
      found.set(`${id} ${file.path}`, {
        code: 'damaged',
        path: toBytes(file.path),
        message: `damaged in snapshot ${id}${beyond(file)}`,
      });
    }
    if (snapshot.files?.more === true) {
      const more = `snapshot ${id} has more damaged files than are named here`;
      found.set(more, { code: 'damaged', path: Buffer.alloc(0), message: more });
    }
  }
  for (const { range } of report.logPieces) {
    damaged = true;
    const message = lostPiece(range);
    found.set(message, { code: 'damaged', path: Buffer.alloc(0), message });
  }
  if (found.size === 0) return outcome;
  const told = {
    ...outcome,
    warnings: [...outcome.warnings, ...found.values()].slice(0, 1000),
    warningsTotal: outcome.warningsTotal + BigInt(found.size),
  };
  if (!damaged)
    return JobOutcome.fromPartial({ ...told, result: outcome.result === 'done' ? 'warnings' : outcome.result });
  return JobOutcome.fromPartial({
    ...told,
    result: 'failed',
    errorCode: outcome.errorCode === '' ? 'DAMAGED' : outcome.errorCode,
    errorMessage:
      outcome.errorMessage === ''
        ? 'stored bytes are damaged or missing; the warnings say where'
        : outcome.errorMessage,
    errorHint:
      outcome.errorHint === '' ? 'The next backup stores again what it can: holdfast backup' : outcome.errorHint,
  });
}

function lostPiece({ stream, start, end, file, firstCommitAtMs, lastCommitAtMs }: LogRange): string {
  const what = file === '' ? `from ${start.text} to ${end.text}` : file;
  const commits =
    firstCommitAtMs === undefined || lastCommitAtMs === undefined
      ? ''
      : `, with commits from ${iso(firstCommitAtMs)} to ${iso(lastCommitAtMs)},`;
  const means = file === '' ? ': what follows it can be reached only from a base that was taken later' : '';
  return `the log ${what} (timeline ${stream.timeline})${commits} is damaged or missing${means}`;
}

function iso(ms: number): string {
  return Number.isNaN(new Date(ms).getTime()) ? String(ms) : new Date(ms).toISOString();
}

function beyond({ others }: DamagedFile): string {
  if (others === 'all') return ', with everything below it: its listing is lost';
  return others === 0 ? '' : `, with the ${others} entries behind it: their listing is lost`;
}
