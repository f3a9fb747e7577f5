// Commit: a stored snapshot record becomes a snapshot, in one catalog transaction (I4).
//
// Hazards: a snapshot is listed whose objects are not all there; it is listed twice because the answer was lost (threat 15);
// a host commits another host's record as its own and then reads it; the list says one thing and the packs another after a
// rebuild. So the transaction locks the session (an expired one cannot commit) and the source (sequence numbers have no
// gap), takes only records that this very session has sent with the proofs of their references, stamps those references
// once more, and writes the controller's own record into a pack before its COMMIT. If the transaction fails the pack is
// cut back, so a rebuild knows of exactly the snapshots that were committed.
//
// Tested in commit.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { encodeControllerRecord, type CommitRecord } from '@holdfast/shared/format/controller-record';
import { HEADER_BYTES, ID_BYTES, ObjectKind, referencesOf } from '@holdfast/shared/format/envelope';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { seal } from '@holdfast/shared/format/seal';

import type { BackupCommitted, Caller, CommitBackup } from './contract.ts';
import type { DomainWriter } from './domain-writer.ts';
import { assertLogStored } from './log-bases.ts';
import { pinPresent, type Queries } from './object-index.ts';
import { closeSession, latestSnapshot, lockSession, type Session } from './sessions.ts';

/** What the fleet knows of a source, for the controller's own record. */
export interface SourceIdentity {
  readonly hostId: string;
  readonly domainId: string;
  readonly hostName: string;
  readonly sourceName: string;
  readonly sourceType: string;
  readonly domainName: string;
  readonly domainManaged: boolean;
  readonly domainKeyEpoch: number;
  /** As it was configured, for whoever can read it; empty when it is too long for a record. */
  readonly sourceSpec: Uint8Array;
  /** Raw Ed25519, 32 bytes. */
  readonly hostRecordPublicKey: Uint8Array;
}

export interface CommitDeps {
  /** Of the reserved system domain. */
  readonly systemKeys: DomainKeys;
  readonly describeSource: (sourceId: string) => Promise<SourceIdentity | undefined>;
  readonly readObject: (domainId: string, id: Buffer) => Promise<Buffer>;
}

/**
 * Commits, or answers as the first time when this session has committed this record already.
 * Throws SESSION_ENDED, NOT_FOUND (the record was not sent in this session), FAILED_PRECONDITION (another snapshot was
 * committed meanwhile, or something the record refers to is gone), DAMAGED.
 */
export async function commitSnapshot(
  writer: DomainWriter,
  caller: Caller,
  session: Session,
  commit: CommitBackup,
  deps: CommitDeps,
): Promise<BackupCommitted> {
  const source = await deps.describeSource(session.sourceId);
  if (source === undefined || source.hostId !== caller.hostId || source.domainId !== caller.domainId) {
    throw new HoldfastError('NOT_FOUND', 'this host has no such source');
  }
  const recordId = Buffer.from(commit.recordId);
  return writer.turn(async (client, append) => {
    const locked = await lockSession(client, session);
    if (locked.state === 'committed') return repeatedAnswer(client, caller, session, recordId);
    if (!locked.recordIds.some((id) => id.equals(recordId))) {
      throw new HoldfastError('NOT_FOUND', 'the snapshot record was not sent in this session');
    }
    // Two sessions of one source come one after the other, and the second finds the first one's snapshot.
    await client.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`vault-source ${session.sourceId}`]);
    const latest = await latestSnapshot(client, session.sourceId);
    const expected = (latest?.sequence ?? 0) + 1;
    if (commit.sequence !== expected) throw overtaken(commit.sequence, expected);
    const { rows: same } = await client.query('select 1 from snapshot where domain_id = $1 and id = $2', [
      caller.domainId,
      recordId,
    ]);
    if (same.length > 0) throw new HoldfastError('ALREADY_EXISTS', 'this snapshot record was committed before');

    await checkComplete(client, caller, session, recordId, deps);
    if (commit.point !== undefined) await assertLogStored(client, session.sourceId, commit.point);
    const committedAtMs = await catalogTimeMs(client);
    const record = commitRecord(caller, session, commit, source, committedAtMs);
    const sealed = seal(deps.systemKeys, ObjectKind.controllerRecord, [], encodeControllerRecord(record));
    await append([{ ...sealed, kind: ObjectKind.controllerRecord }], session.epoch);
    await insertSnapshot(client, record, {
      commitRecordId: sealed.id,
      previousId: latest?.snapshotId,
      sessionId: session.id,
    });
    await closeSession(client, session);
    return { snapshotId: recordId, committedAtMs };
  });
}

/** I3 for the record: it and all that it refers to are alive, and stamped for this session. */
async function checkComplete(
  client: Queries,
  caller: Caller,
  session: Session,
  recordId: Buffer,
  deps: CommitDeps,
): Promise<void> {
  const envelope = await deps.readObject(caller.domainId, recordId);
  const joined = Buffer.from(referencesOf(envelope));
  const references = Array.from({ length: joined.length / ID_BYTES }, (_, index) =>
    joined.subarray(index * ID_BYTES, (index + 1) * ID_BYTES),
  );
  if (references.length === 0 || envelope.length <= HEADER_BYTES) {
    throw new HoldfastError('FAILED_PRECONDITION', 'the snapshot record refers to no manifest');
  }
  const nodes = await pinPresent(client, caller.domainId, references, session.epoch, ObjectKind.manifestNode);
  const lost = references.find((id) => !nodes.has(id.toString('hex')));
  if (lost !== undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', `the manifest ${lost.toString('hex')} is not there any more`);
  }
  await pinPresent(client, caller.domainId, [recordId], session.epoch, ObjectKind.snapshotRecord);
}

async function repeatedAnswer(
  client: Queries,
  caller: Caller,
  session: Session,
  recordId: Buffer,
): Promise<BackupCommitted> {
  const { rows } = await client.query<{ committed_at: Date }>(
    'select committed_at from snapshot where domain_id = $1 and id = $2 and session_id = $3',
    [caller.domainId, recordId, session.id],
  );
  if (rows[0] === undefined) {
    throw new HoldfastError('SESSION_ENDED', 'this session has committed another snapshot', {
      hint: 'Begin a new one.',
    });
  }
  return { snapshotId: recordId, committedAtMs: rows[0].committed_at.getTime() };
}

function overtaken(sequence: number, expected: number): HoldfastError {
  return new HoldfastError(
    'FAILED_PRECONDITION',
    `this would be snapshot ${sequence} of its source, but the next one is ${expected}`,
    { hint: 'Another backup of this source was committed meanwhile: start anew from the newest snapshot.' },
  );
}

/** After the locks, so that times of one source rise with its sequence. */
async function catalogTimeMs(client: Queries): Promise<number> {
  const { rows } = await client.query<{ now: Date }>(`select date_trunc('milliseconds', clock_timestamp()) as now`);
  return rows[0]!.now.getTime();
}

function commitRecord(
  caller: Caller,
  session: Session,
  commit: CommitBackup,
  source: SourceIdentity,
  committedAtMs: number,
): CommitRecord {
  return {
    kind: 'commit',
    snapshotId: Buffer.from(commit.recordId),
    domainId: caller.domainId,
    hostId: caller.hostId,
    hostName: source.hostName,
    sourceId: session.sourceId,
    sourceName: source.sourceName,
    sourceType: source.sourceType,
    sequence: commit.sequence,
    committedAtMs,
    hostRecordPublicKey: source.hostRecordPublicKey,
    startedAtMs: commit.startedAtMs,
    statistics: commit.stats,
    partial: commit.partial,
    warningsTotal: commit.warningsTotal,
    domainName: source.domainName,
    domainManaged: source.domainManaged,
    domainKeyEpoch: source.domainKeyEpoch,
    sourceSpec: source.sourceSpec,
    ...(commit.point === undefined ? {} : { point: commit.point }),
  };
}

/** The row that a commit record stands for. Written at commit, and again by a rebuild. */
export async function insertSnapshot(
  client: Queries,
  record: CommitRecord,
  links: { readonly commitRecordId: Buffer; readonly previousId: Buffer | undefined; readonly sessionId?: string },
): Promise<void> {
  const { statistics: stats } = record;
  await client.query(
    `insert into snapshot (domain_id, id, host_id, source_id, sequence, previous_id, session_id, commit_record_id, committed_at,
       started_at_ms, entries, files, bytes_total, bytes_read, bytes_new, bytes_stored, duration_ms, partial, warnings_total,
       system_identifier, timeline, start_order, start_text, end_order, end_text, start_at_ms, end_at_ms, server_version,
       suspect, has_log, gtid, highest_pack_sequence)
     values ($1::text, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9::numeric / 1000), $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
       $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31,
       (select coalesce(max(sequence), 0) from pack where domain_id = $1::text::uuid))`,
    [
      record.domainId,
      Buffer.from(record.snapshotId),
      record.hostId,
      record.sourceId,
      record.sequence,
      links.previousId ?? null,
      links.sessionId ?? null,
      links.commitRecordId,
      record.committedAtMs,
      record.startedAtMs,
      stats.entries,
      stats.files,
      stats.bytesTotal,
      stats.bytesRead,
      stats.bytesNew,
      stats.bytesStored,
      stats.durationMs,
      record.partial,
      record.warningsTotal,
      ...pointColumns(record.point),
    ],
  );
}

function pointColumns(point: DatabasePoint | undefined): readonly unknown[] {
  if (point === undefined) return [null, null, null, null, null, null, null, null, null, false, false, null];
  const { stream, start, end, startAtMs, endAtMs, serverVersion, suspect, hasLog, gtid } = point;
  const place: unknown[] = [stream.systemIdentifier, stream.timeline, start.order, start.text, end.order, end.text];
  return place.concat([startAtMs, endAtMs, serverVersion, suspect, hasLog, gtid]);
}
