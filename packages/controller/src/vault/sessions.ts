// Sessions: one backup in progress, as a lease row.
//
// Hazards: a session that was answered "present" and then expired commits a snapshot whose objects were collected (so an
// expired one never commits); a session of another host, or one that has done its work, is used again (threat 44); an old
// stream that was thought dead writes beside the one that replaced it (so streams are counted, and only the newest goes on).
//
// A source is backed up by one session at a time. So a new one ends what crashed ones of its source left, which would otherwise count
// against the host until their leases run out (a host that crashes again and again would lock itself out). What those had been
// answered stays safe: the new session takes over their epoch, as far back as EPOCHS_INHERITED collections.
//
// All times are the catalog's (I7). Tested in commit.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { BeginBackup, Caller } from './contract.ts';
import type { Queries } from './object-index.ts';

export interface Session {
  readonly id: string;
  readonly sourceId: string;
  readonly epoch: number;
  /** Which of the session's streams this is. */
  readonly stream: number;
  readonly committed: boolean;
}

export interface LatestSnapshot {
  readonly snapshotId: Buffer;
  readonly sequence: number;
}

export interface NewSession {
  readonly id: string;
  readonly leaseMs: number;
  readonly hostSessionsMax: number;
  /** Sessions that have a stream here: they are not dead. */
  readonly carried: readonly string[];
}

/** A host that crashes all day must not hold back collection for ever. */
const EPOCHS_INHERITED = 3;

/** Begins a session. Throws LIMIT_EXCEEDED when the host has too many alive, NOT_FOUND for a base that is not the source's. */
export async function beginSession(
  queries: Queries,
  caller: Caller,
  begin: BeginBackup,
  options: NewSession,
): Promise<Session> {
  const base = Buffer.from(begin.baseSnapshotId);
  if (base.length > 0) {
    const { rows } = await queries.query('select 1 from snapshot where domain_id = $1 and id = $2 and source_id = $3', [
      caller.domainId,
      base,
      begin.sourceId,
    ]);
    if (rows.length === 0) throw new HoldfastError('NOT_FOUND', 'the base is no snapshot of this source');
  }
  const { rows } = await queries.query<{ epoch: number }>(
    `with dead as (
       update vault_session set expires_at = now()
       where domain_id = $2 and host_id = $3 and source_id = $4 and state = 'live' and expires_at > now() and id <> all($9)
       returning epoch)
     insert into vault_session (id, domain_id, host_id, source_id, job_id, state, epoch, base_snapshot_id, expires_at)
     select $1, $2, $3, $4, $5, 'live', greatest(least(epoch, (select min(epoch) from dead)), epoch - $10), $6,
       now() + $7 * interval '1 millisecond' from vault_collection
     where (select count(*) from vault_session where host_id = $3 and state = 'live' and expires_at > now())
       - (select count(*) from dead) < $8
     returning epoch`,
    [
      options.id,
      caller.domainId,
      caller.hostId,
      begin.sourceId,
      begin.jobId,
      base.length > 0 ? base : null,
      options.leaseMs,
      options.hostSessionsMax,
      options.carried,
      EPOCHS_INHERITED,
    ],
  );
  const row = rows[0];
  if (row === undefined) {
    throw new HoldfastError('LIMIT_EXCEEDED', `this host has ${options.hostSessionsMax} backup sessions open`, {
      hint: 'Wait for one of them to end or to expire.',
    });
  }
  return { id: options.id, sourceId: begin.sourceId, epoch: row.epoch, stream: 1, committed: false };
}

/** Goes on with a session over a new stream; older streams of it are dead from here on. */
export async function resumeSession(
  queries: Queries,
  caller: Caller,
  begin: BeginBackup,
  leaseMs: number,
): Promise<Session> {
  const { rows } = await queries.query<{ epoch: number; stream: number; state: string }>(
    `update vault_session set stream = stream + 1,
       expires_at = case when state = 'live' then now() + $5 * interval '1 millisecond' else expires_at end
     where id = $1 and domain_id = $2 and host_id = $3 and source_id = $4 and expires_at > now()
     returning epoch, stream, state`,
    [begin.sessionId, caller.domainId, caller.hostId, begin.sourceId, leaseMs],
  );
  const row = rows[0];
  // One sentence for unknown, foreign and expired: a stranger learns nothing.
  if (row === undefined) throw ended();
  const { epoch, stream, state } = row;
  return { id: begin.sessionId, sourceId: begin.sourceId, epoch, stream, committed: state === 'committed' };
}

/** Throws SESSION_ENDED when the session has expired or another stream goes on with it. */
export async function renewSession(queries: Queries, session: Session, leaseMs: number): Promise<void> {
  const { rowCount } = await queries.query(
    `update vault_session set expires_at = now() + $3 * interval '1 millisecond'
     where id = $1 and stream = $2 and expires_at > now()`,
    [session.id, session.stream, leaseMs],
  );
  if (rowCount !== 1) throw ended();
}

export interface LockedSession {
  readonly state: 'live' | 'committed';
  readonly recordIds: readonly Buffer[];
}

/** Locks the row until the transaction ends, so that expiry and commit exclude each other (I6). Throws SESSION_ENDED. */
export async function lockSession(client: Queries, session: Session): Promise<LockedSession> {
  const { rows } = await client.query<{ state: 'live' | 'committed'; record_ids: Buffer[]; live: boolean }>(
    `select state, record_ids, expires_at > now() as live from vault_session where id = $1 and stream = $2 for update`,
    [session.id, session.stream],
  );
  const row = rows[0];
  if (row === undefined || (row.state === 'live' && !row.live)) throw ended();
  return { state: row.state, recordIds: row.record_ids };
}

export async function closeSession(client: Queries, session: Session): Promise<void> {
  await client.query(`update vault_session set state = 'committed' where id = $1`, [session.id]);
}

/** The source's newest committed snapshot. */
export async function latestSnapshot(queries: Queries, sourceId: string): Promise<LatestSnapshot | undefined> {
  const { rows } = await queries.query<{ id: Buffer; sequence: number }>(
    'select id, sequence from snapshot where source_id = $1 order by sequence desc limit 1',
    [sourceId],
  );
  return rows[0] === undefined ? undefined : { snapshotId: rows[0].id, sequence: rows[0].sequence };
}

/** Forgets sessions that ended long ago; until then a repeated commit is still answered. */
export async function forgetOldSessions(queries: Queries): Promise<void> {
  await queries.query(`delete from vault_session where expires_at < now() - interval '1 day'`);
}

function ended(): HoldfastError {
  return new HoldfastError('SESSION_ENDED', 'there is no such live backup session', {
    hint: 'Begin a new one; what was uploaded is reused.',
  });
}
