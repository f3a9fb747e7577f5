// Jobs: what hosts are asked to do. Rows are the truth; control-hub.ts carries them to agents.
//
// Hazards: a job lost with a connection, done twice after a restart, or believed to run for ever; two backups of one source
// at once; a queue that grows without end.
//
// Invariants (control-hub.db.test.ts):
//   JB1 a source has at most one backup queued or running (a unique index holds it);
//   JB2 a host has at most QUEUE_MAX jobs waiting and RUNNING_MAX running; steps of recovery runs, which wait for nobody, count apart (STEPS_MAX);
//   JB3 a finished job never changes again, whoever reports what later;
//   JB4 a job that its agent doesn't know any more goes back to the queue if the agent never spoke of it, else it fails;
//   JB5 a host reports only on its own jobs.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import pg from 'pg';

type Queryable = pg.ClientBase | pg.Pool;

export type JobKind = 'backup' | 'restore' | 'verify' | 'check' | 'discover' | 'step';
export type JobState = 'queued' | 'running' | 'done' | 'warnings' | 'failed' | 'cancelled';

export interface Job {
  readonly id: string;
  readonly domainId: string;
  readonly hostId: string;
  readonly hostName: string;
  /** '' for a job about no source of the catalog's: a discovery, or the check of one that is still to be added */
  readonly sourceId: string;
  /** host/source of what it is about, or '' */
  readonly sourceName: string;
  readonly kind: JobKind;
  readonly state: JobState;
  /** Job of the wire, as the agent gets it. */
  readonly request: Buffer;
  readonly snapshotId: Buffer | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  readonly cancelAsked: boolean;
  /** JobOutcome of the wire. */
  readonly outcome: Buffer | null;
  readonly errorMessage: string;
}

export interface NewJob {
  readonly domainId: string;
  readonly hostId: string;
  /** Absent: it is about no source of the catalog's. */
  readonly sourceId?: string;
  readonly kind: JobKind;
  readonly snapshotId?: Uint8Array;
  readonly requestedBy: string;
  /** Builds the message for the agent, which names the job. */
  readonly request: (jobId: string) => Uint8Array;
}

export const QUEUE_MAX = 32;
export const RUNNING_MAX = 4;
/** Steps of recovery runs that a host may have waiting and running. */
export const STEPS_MAX = 64;
/** A running job whose host was not heard of for this long has failed. */
export const LEASE_MS = 600_000;

const SELECT_JOB = `
  select j.id, j.domain_id as "domainId", j.host_id as "hostId", w.name as "hostName", coalesce(j.source_id, '') as "sourceId",
    coalesce(h.name || '/' || s.name, '') as "sourceName", j.kind, j.state, j.request, j.snapshot_id as "snapshotId",
    j.created_at as "createdAt", j.finished_at as "finishedAt", j.cancel_asked as "cancelAsked", j.outcome,
    j.error_message as "errorMessage"
  from job j join host w on w.id = j.host_id left join source s on s.id = j.source_id left join host h on h.id = s.host_id`;

/** Queues a job. Throws BUSY (JB1), LIMIT_EXCEEDED (JB2). */
export async function queueJob(client: pg.ClientBase, job: NewJob): Promise<string> {
  const id = randomUUID();
  await client.query('select 1 from host where id = $1 for update', [job.hostId]);
  const { rows } = await client.query<{ n: number }>(
    `select count(*) as n from job where host_id = $1 and (kind = 'step') = $2
       and (state = 'queued' or (kind = 'step' and state = 'running'))`,
    [job.hostId, job.kind === 'step'],
  );
  const most = job.kind === 'step' ? STEPS_MAX : QUEUE_MAX;
  if ((rows[0]?.n ?? 0) >= most) {
    throw new HoldfastError('LIMIT_EXCEEDED', `${most} jobs are waiting for this host already`);
  }
  try {
    await client.query(
      `insert into job (id, domain_id, host_id, source_id, kind, state, request, snapshot_id, requested_by)
       values ($1, $2, $3, $4, $5, 'queued', $6, $7, $8)`,
      [
        id,
        job.domainId,
        job.hostId,
        job.sourceId ?? null,
        job.kind,
        Buffer.from(job.request(id)),
        job.snapshotId === undefined ? null : Buffer.from(job.snapshotId),
        job.requestedBy,
      ],
    );
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.constraint === 'one_backup_a_source') {
      throw new HoldfastError('BUSY', 'a backup of this source is under way', { hint: 'Wait for it, or cancel it.' });
    }
    throw error;
  }
  return id;
}

/** Takes queued jobs of a host, oldest first, up to RUNNING_MAX at once, and all steps; they run from now on. */
export async function takeJobs(client: pg.ClientBase, hostId: string): Promise<Job[]> {
  await client.query('select 1 from host where id = $1 for update', [hostId]);
  const { rows } = await client.query<{ id: string }>(
    `update job set state = 'running', sent_at = now(), lease_until = now() + $3 * interval '1 ms'
     where state = 'queued' and id in (
       (select id from job where host_id = $1 and state = 'queued' and kind <> 'step' order by created_at
        limit greatest(0, $2 - (select count(*) from job where host_id = $1 and state = 'running' and kind <> 'step')))
       union all
       select id from job where host_id = $1 and state = 'queued' and kind = 'step')
     returning id`,
    [hostId, RUNNING_MAX, LEASE_MS],
  );
  return await jobsById(
    client,
    rows.map((row) => row.id),
  );
}

export async function jobsById(client: Queryable, ids: readonly string[]): Promise<Job[]> {
  return (await client.query<Job>(`${SELECT_JOB} where j.id = any($1) order by j.created_at`, [ids])).rows;
}

export async function findJob(client: Queryable, id: string): Promise<Job | undefined> {
  return (await jobsById(client, [id]))[0];
}

export async function listJobs(
  client: Queryable,
  filter: { domainId: string; sourceId?: string; running?: boolean; limit: number },
): Promise<Job[]> {
  const { rows } = await client.query<Job>(
    `${SELECT_JOB} where j.domain_id = $1 and ($2::text is null or j.source_id = $2)
       and j.kind <> 'step' and (not $3 or j.state in ('queued', 'running')) order by j.created_at desc limit $4`,
    [filter.domainId, filter.sourceId ?? null, filter.running ?? false, filter.limit],
  );
  return rows;
}

export async function lastJobs(client: Queryable, sourceIds: readonly string[]): Promise<Map<string, Job>> {
  const { rows } = await client.query<Job>(
    `${SELECT_JOB} where j.id in (select distinct on (source_id) id from job where source_id = any($1) and kind not in ('check', 'discover')
       order by source_id, created_at desc)`,
    [sourceIds],
  );
  return new Map(rows.map((row) => [row.sourceId, row]));
}

export interface Result {
  readonly state: 'done' | 'warnings' | 'failed' | 'cancelled';
  readonly outcome: Uint8Array | null;
  readonly errorMessage: string;
}

/** Records a result; false when the job was finished already or belongs to another host (JB3, JB5). */
export async function finishJob(client: Queryable, jobId: string, hostId: string, result: Result): Promise<boolean> {
  const { rowCount } = await client.query(
    `update job set state = $3, outcome = $4, error_message = $5, finished_at = now(), lease_until = null
     where id = $1 and host_id = $2 and state in ('queued', 'running')`,
    [jobId, hostId, result.state, result.outcome === null ? null : Buffer.from(result.outcome), result.errorMessage],
  );
  return rowCount === 1;
}

/** Cancels a waiting job at once; asks for the end of a running one. */
export async function askCancel(client: Queryable, jobId: string): Promise<void> {
  await client.query(
    `update job set cancel_asked = true,
       state = case state when 'queued' then 'cancelled' else state end,
       finished_at = case state when 'queued' then now() else finished_at end
     where id = $1 and state in ('queued', 'running')`,
    [jobId],
  );
}

/** Running jobs of the host that are to be cancelled. */
export async function jobsToCancel(client: Queryable, hostId: string): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select id from job where host_id = $1 and state = 'running' and cancel_asked`,
    [hostId],
  );
  return rows.map((row) => row.id);
}

/** The host was heard of: its running jobs go on. */
export async function renewLeases(client: Queryable, hostId: string): Promise<void> {
  await client.query(
    `update job set lease_until = now() + $2 * interval '1 ms' where host_id = $1 and state = 'running'`,
    [hostId, LEASE_MS],
  );
}

/** The agent has begun. */
export async function acknowledgeJob(client: Queryable, jobId: string, hostId: string): Promise<void> {
  await client.query('update job set acknowledged = true where id = $1 and host_id = $2 and not acknowledged', [
    jobId,
    hostId,
  ]);
}

/** JB4, first part: what was sent but never arrived. Returns how many went back to the queue. */
export async function requeueUnheard(client: Queryable, hostId: string, running: readonly string[]): Promise<number> {
  const { rowCount } = await client.query(
    `update job set state = 'queued', sent_at = null, lease_until = null
     where host_id = $1 and state = 'running' and not acknowledged and id <> all($2)`,
    [hostId, running],
  );
  return rowCount ?? 0;
}

/** JB4, second part: what the agent had begun and does not know any more. Returns the jobs' ids. */
export async function failForgotten(
  client: Queryable,
  hostId: string,
  known: readonly string[],
  since: Date,
): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `update job set state = 'failed', finished_at = now(), lease_until = null,
       error_message = 'the agent was restarted while it worked on this'
     where host_id = $1 and state = 'running' and acknowledged and id <> all($2) and sent_at < $3 returning id`,
    [hostId, known, since],
  );
  return rows.map((row) => row.id);
}

/** Fails the jobs whose host is gone. Returns their ids. */
export async function failExpired(client: Queryable): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `update job set state = 'failed', finished_at = now(), lease_until = null,
       error_message = 'the host was not heard of for ten minutes'
     where state = 'running' and lease_until < now() returning id`,
  );
  return rows.map((row) => row.id);
}
