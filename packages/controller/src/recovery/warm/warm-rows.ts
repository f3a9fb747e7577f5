// Rows of warm copies. What is due is decided in due.ts.
//
// Hazard: two replicas that both see the same copy due. A job is queued in the transaction that takes the row, and only while it has none.
//
// Tested in warm-keeper.db.test.ts.

import type { LogPosition } from '@holdfast/shared/format/log-point';
import type pg from 'pg';

import type { WarmCopy, WarmWish } from './due.ts';

type Queryable = pg.ClientBase | pg.Pool;

export interface WarmCopyRow extends WarmCopy {
  /** For people: host/source. */
  readonly sourceName: string;
  readonly hostName: string;
  readonly appliedAt: Date | null;
  readonly error: string;
  readonly note: string;
  readonly replayed: bigint | undefined;
  /** The server's clock; 0: not known. */
  readonly completeToMs: number;
  readonly reportedAt: Date | null;
}

interface Row {
  readonly planId: string;
  readonly sourceId: string;
  readonly hostId: string;
  readonly kind: 'files' | 'postgres';
  readonly target: string;
  readonly busy: boolean;
  readonly applied: Buffer | null;
  readonly timeline: number;
  readonly grantUntil: Date | null;
  readonly failures: number;
  readonly triedAt: Date | null;
  readonly state: string;
  readonly releasing: boolean;
  readonly sourceName: string;
  readonly hostName: string;
  readonly appliedAt: Date | null;
  readonly error: string;
  readonly note: string;
  readonly replayed: string | null;
  readonly completeToMs: string | number;
  readonly reportedAt: Date | null;
}

/** Of one plan, or of all. */
export async function warmCopies(client: Queryable, planId?: string): Promise<WarmCopyRow[]> {
  const { rows } = await client.query<Row>(
    `select w.plan_id as "planId", w.source_id as "sourceId", w.host_id as "hostId", w.kind, w.target, w.job_id is not null as busy,
       w.applied, w.timeline, w.grant_until as "grantUntil", w.failures, w.tried_at as "triedAt", w.state, w.releasing, w.applied_at as "appliedAt",
       w.error, w.note, w.replayed::text as replayed, w.complete_to_ms as "completeToMs", w.reported_at as "reportedAt",
       o.name || '/' || s.name as "sourceName", h.name as "hostName"
     from warm_copy w join source s on s.id = w.source_id join host o on o.id = s.host_id join host h on h.id = w.host_id
     where $1::text is null or w.plan_id = $1 order by w.plan_id, w.source_id`,
    [planId ?? null],
  );
  return rows.map(({ applied, grantUntil, triedAt, replayed, completeToMs, ...row }) => ({
    ...row,
    applied: applied?.toString('hex') ?? '',
    grantUntilMs: grantUntil?.getTime() ?? 0,
    triedAtMs: triedAt?.getTime() ?? 0,
    replayed: replayed === null ? undefined : BigInt(replayed),
    completeToMs: Number(completeToMs),
  }));
}

/** Holds the copy's row, made where it is missing. False: a job of it is under way already, or it is somewhere else. */
export async function takeCopy(client: pg.ClientBase, wish: WarmWish): Promise<boolean> {
  const { planId, sourceId, hostId, kind, target } = wish;
  await client.query(
    `insert into warm_copy (plan_id, source_id, host_id, kind, target) values ($1, $2, $3, $4, $5)
     on conflict (plan_id, source_id) do nothing`,
    [planId, sourceId, hostId, kind, target],
  );
  const { rowCount } = await client.query(
    `select 1 from warm_copy where plan_id = $1 and source_id = $2 and host_id = $3 and target = $4 and job_id is null
       and not releasing for update`,
    [planId, sourceId, hostId, target],
  );
  return rowCount === 1;
}

export interface QueuedKeep {
  readonly jobId: string;
  readonly snapshotId: Uint8Array;
  readonly timeline: number;
  readonly grantUntil: Date | undefined;
}

export async function noteKeep(client: pg.ClientBase, wish: WarmWish, queued: QueuedKeep): Promise<void> {
  await client.query(
    `update warm_copy set job_id = $3, wanted = $4, wanted_timeline = $5, wanted_grant_until = $6, tried_at = now()
     where plan_id = $1 and source_id = $2`,
    [
      wish.planId,
      wish.sourceId,
      queued.jobId,
      Buffer.from(queued.snapshotId),
      queued.timeline,
      queued.grantUntil ?? null,
    ],
  );
}

/** A try that could not even be asked for. */
export async function noteFailure(client: Queryable, wish: WarmWish, error: string): Promise<void> {
  await client.query(
    `update warm_copy set failures = failures + 1, tried_at = now(), error = $3 where plan_id = $1 and source_id = $2 and job_id is null`,
    [wish.planId, wish.sourceId, error],
  );
}

/** Takes over what became of jobs that are over; a copy that its host has released is gone. */
export async function settleJobs(client: Queryable): Promise<void> {
  await client.query(
    `delete from warm_copy w using job j where j.id = w.job_id and w.releasing and j.state in ('done', 'warnings')`,
  );
  await client.query(
    `update warm_copy w set job_id = null,
       failures = case when j.state in ('done', 'warnings') then 0 else w.failures + 1 end,
       error = case when j.state in ('done', 'warnings') then '' else coalesce(nullif(j.error_message, ''), j.state) end,
       applied = case when j.state in ('done', 'warnings') then w.wanted else w.applied end,
       applied_at = case when j.state in ('done', 'warnings') then j.finished_at else w.applied_at end,
       timeline = case when j.state in ('done', 'warnings') then w.wanted_timeline else w.timeline end,
       grant_until = case when j.state in ('done', 'warnings') then w.wanted_grant_until else w.grant_until end,
       state = case when j.state in ('done', 'warnings') and w.state = 'broken' then '' else w.state end
     from job j where j.id = w.job_id and j.state not in ('queued', 'running')`,
  );
}

/**
 * Plans `p` that need their standby's copies: a real run is not over, or a promotion is under way, or its run has yet to be started (by the next
 * driver, when the one before died in that moment). Released in between, a copy would be missing in that run.
 */
const AT_WORK = `exists (select from run r where r.plan_id = p.id and r.mode <> 'drill' and not r.ahead and r.finished_at is null)
  or p.removed_at is null and exists (select from application a where a.plan_id = p.id and (a.phase = 'ordered' or a.automatic
    and not exists (select from run r where r.plan_id = p.id and r.mode <> 'drill' and not r.ahead and r.epoch >= a.epoch)))`;

/** Jobs of copies whose plan is at work: they must not be in its way. */
export async function jobsInTheWay(client: Queryable): Promise<{ readonly id: string; readonly hostId: string }[]> {
  const { rows } = await client.query<{ id: string; hostId: string }>(
    `select j.id, j.host_id as "hostId" from warm_copy w join job j on j.id = w.job_id
     where j.state in ('queued', 'running') and not j.cancel_asked
       and exists (select 1 from run r where r.plan_id = w.plan_id and r.mode <> 'drill' and not r.ahead and r.finished_at is null)`,
  );
  return rows;
}

/** Holds the copy's row, for a job that releases it. False: a job of it is under way already, or it is gone. */
export async function takeForRelease(client: pg.ClientBase, { planId, sourceId }: WarmCopy): Promise<boolean> {
  const { rowCount } = await client.query(
    'select 1 from warm_copy where plan_id = $1 and source_id = $2 and job_id is null for update',
    [planId, sourceId],
  );
  return rowCount === 1;
}

/** The row goes when the job has ended well (settleJobs). */
export async function noteRelease(client: pg.ClientBase, copy: WarmCopy, jobId: string): Promise<void> {
  await client.query(
    `update warm_copy set job_id = $3, tried_at = now(), releasing = true,
       failures = case when releasing then failures else 0 end where plan_id = $1 and source_id = $2`,
    [copy.planId, copy.sourceId, jobId],
  );
}

export interface WarmReport {
  readonly application: string;
  readonly sourceId: string;
  readonly state: string;
  readonly replayed: LogPosition | undefined;
  readonly completeToMs: number;
  readonly note: string;
}

const STATES = new Set(['restoring', 'replaying', 'finished', 'broken']);
const NOTE_MAX = 1000;

/** What a host says of its own copy; of another's it changes nothing. */
export async function reportWarm(client: Queryable, hostId: string, report: WarmReport): Promise<void> {
  if (!STATES.has(report.state)) return;
  await client.query(
    `update warm_copy set state = $4, replayed = coalesce($5, replayed), complete_to_ms = greatest(complete_to_ms, $6), note = $7, reported_at = now()
     where plan_id = $1 and source_id = $2 and host_id = $3`,
    [
      report.application,
      report.sourceId,
      hostId,
      report.state,
      report.replayed?.order ?? null,
      report.completeToMs,
      report.note.slice(0, NOTE_MAX),
    ],
  );
}

/** Read after the wishes: who stands by according to them has been promoted by then, or not. */
export async function plansAtWork(client: Queryable): Promise<Set<string>> {
  const { rows } = await client.query<{ id: string }>(`select p.id from plan p where ${AT_WORK}`);
  return new Set(rows.map((row) => row.id));
}

/**
 * Whether what is on a host was the plan's own: it was the primary of a run that ended well, and a run ends so only when what it held is
 * kept in a locked snapshot.
 */
export async function wasPrimary(client: Queryable, planId: string, hostId: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `select 1 from run where plan_id = $1 and from_host = $2 and mode <> 'drill' and state = 'done' limit 1`,
    [planId, hostId],
  );
  return rowCount !== 0;
}
