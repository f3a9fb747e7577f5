// Writing what was decided: one transaction, all of it or nothing.
//
// Hazard: a replica that was paused, is replaced, and wakes up with its decisions. So a driver's writes name its term, which is held while
// they are made; every write, a person's too, names the version of the run that it was decided on; and jobs are queued in the same
// transaction, so that no step is sent twice and none is forgotten.
//
// Invariants (engine.db.test.ts):
//   TR1 a replica that does not drive the application any more writes nothing;
//   TR2 of two writers on one version, one is refused;
//   TR3 each transition has its event, in the same transaction, and events are never changed.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

import type { Catalog } from '../../catalog/catalog.ts';
import { appendAudit } from '../../fleet/audit.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import { askCancel, queueJob, type NewJob } from '../../fleet/jobs.ts';
import { HELD_IDLE_MS } from '../failover/lease-rows.ts';
import type { Advanced, JobOrder, RunEventText } from './advance.ts';
import type { RunRow, RunView, StepRow } from './run-view.ts';

/** A job for an order. `part`: which of several. */
export interface OrderedJob {
  readonly order: JobOrder;
  readonly part: string;
  readonly job: NewJob;
}

export type Writer =
  | { readonly kind: 'driver'; readonly replica: string; readonly term: number }
  /** operator NAME */
  | { readonly kind: 'person'; readonly actor: string };

export interface Writing {
  readonly view: RunView;
  readonly advanced: Advanced;
  readonly jobs: readonly OrderedJob[];
  readonly writer: Writer;
  /** What else is written with it. */
  readonly beside?: (client: pg.ClientBase) => Promise<void>;
}

/** Whether it was written: false when the view was old, or the writer drives no more. */
export async function writeTransition(
  { catalog, events }: { readonly catalog: Catalog; readonly events: FleetEvents },
  writing: Writing,
): Promise<boolean> {
  const { view, advanced, jobs, writer } = writing;
  const { run } = advanced;
  try {
    await catalog.transaction(async (client) => {
      if (writer.kind === 'driver') await holdTerm(client, run.planId, writer);
      await updateRun(client, run, view.run.version);
      const before = new Map(view.steps.map((step) => [step.id, step]));
      for (const step of advanced.steps) {
        if (step !== before.get(step.id)) await updateStep(client, run.id, step, before.get(step.id)?.state);
      }
      // Hosts are locked before jobs, as whoever takes jobs does it: else the two could wait for each other.
      for (const ordered of jobs) await sendJob(client, events, run.id, ordered);
      for (const stepId of advanced.cancelled) await cancelJobs(client, events, run.id, stepId, ordersOf(jobs));
      await writeEvents(client, run.id, writer, advanced.events);
      await writing.beside?.(client);
      const version = view.run.version + 1;
      await events.tell(client, { kind: 'run', runId: run.id, planId: run.planId, version });
    });
    return true;
  } catch (error) {
    if (error instanceof StaleWrite) return false;
    throw error;
  }
}

class StaleWrite extends Error {}

/** TR1. Shared, so that a take-over waits for this transaction, and this one for a take-over; not for one that stands still (LR4). */
export async function holdTerm(
  client: pg.ClientBase,
  planId: string,
  writer: { readonly replica: string; readonly term: number },
): Promise<void> {
  const { rowCount } = await client.query(
    `select set_config('idle_in_transaction_session_timeout', $4, true) from application
     where plan_id = $1 and driver = $2 and term = $3 for share`,
    [planId, writer.replica, writer.term, String(HELD_IDLE_MS)],
  );
  if (rowCount !== 1) throw new StaleWrite();
}

/** TR2. */
async function updateRun(client: pg.ClientBase, run: RunRow, version: number): Promise<void> {
  const { rowCount } = await client.query(
    `update run set state = $3, pause = $4, reason = $5, finished_at = $6, due_at = $7, approved_at = $8, fence_proof = $9,
       protected_at = $10, diverged = $11, point = $12, times = $13, version = version + 1 where id = $1 and version = $2`,
    [
      run.id,
      version,
      run.state,
      run.pause,
      run.reason,
      run.finishedAt,
      run.dueAt,
      run.approvedAt,
      run.fenceProof,
      run.protectedAt,
      JSON.stringify(run.diverged),
      JSON.stringify(run.point),
      JSON.stringify(run.times),
    ],
  );
  if (rowCount !== 1) throw new StaleWrite();
}

async function updateStep(
  client: pg.ClientBase,
  runId: string,
  step: StepRow,
  before: StepRow['state'] | undefined,
): Promise<void> {
  const { rowCount } = await client.query(
    `update run_step set state = $4, attempt = $5, phase = $6, round = $7, due_at = $8, started_at = $9, finished_at = $10, message = $11,
       remedy = $12, output = $13, facts = $14 where run_id = $1 and step_id = $2 and state = $3`,
    [
      runId,
      step.id,
      before,
      step.state,
      step.attempt,
      step.phase,
      step.round,
      step.dueAt,
      step.startedAt,
      step.finishedAt,
      step.message,
      step.remedy,
      // PostgreSQL's texts have no NUL.
      step.output.replaceAll('\0', '�'),
      JSON.stringify(step.facts).replaceAll('\\u0000', '�'),
    ],
  );
  if (rowCount !== 1) throw new StaleWrite();
}

function ordersOf(jobs: readonly OrderedJob[]): string[] {
  return jobs.map(({ order }) => `${order.phase} ${order.attempt} ${order.round}`);
}

async function sendJob(
  client: pg.ClientBase,
  events: FleetEvents,
  runId: string,
  { order, part, job }: OrderedJob,
): Promise<void> {
  const jobId = await queueJob(client, job);
  await client.query(
    'insert into run_job (job_id, run_id, step_id, attempt, phase, round, part) values ($1, $2, $3, $4, $5, $6, $7)',
    [jobId, runId, order.step, order.attempt, order.phase, order.round, part],
  );
  await events.tell(client, { kind: 'jobs', hostId: job.hostId });
}

/** But for those that were just queued. */
async function cancelJobs(
  client: pg.ClientBase,
  events: FleetEvents,
  runId: string,
  stepId: string,
  spared: readonly string[],
): Promise<void> {
  const { rows } = await client.query<{ id: string; host: string }>(
    `select j.id, j.host_id as host from run_job r join job j on j.id = r.job_id
     where r.run_id = $1 and r.step_id = $2 and j.state in ('queued', 'running')
       and r.phase || ' ' || r.attempt || ' ' || r.round <> all($3)`,
    [runId, stepId, spared],
  );
  for (const { id, host } of rows) {
    await askCancel(client, id);
    await events.tell(client, { kind: 'jobs', hostId: host });
  }
}

/** TR3. The run's row is held, so numbers have no gaps. */
export async function writeEvents(
  client: pg.ClientBase,
  runId: string,
  writer: Writer,
  told: readonly RunEventText[],
): Promise<void> {
  if (told.length === 0) return;
  const { rows } = await client.query<{ last: number }>(
    'select coalesce(max(sequence), 0)::bigint as last from run_event where run_id = $1',
    [runId],
  );
  const last = rows[0]?.last ?? 0;
  const actor = writer.kind === 'driver' ? 'engine' : writer.actor;
  const term = writer.kind === 'driver' ? writer.term : 0;
  for (const [index, { step, kind, message }] of told.entries()) {
    await client.query(
      'insert into run_event (run_id, sequence, actor, term, step_id, kind, message) values ($1, $2, $3, $4, $5, $6, $7)',
      [runId, last + 1 + index, actor, term, step, kind, message.replaceAll('\0', '�')],
    );
  }
}

/** A person agrees, once. */
export async function insertApproval(
  client: pg.ClientBase,
  approval: { readonly runId: string; readonly step: string; readonly actor: string; readonly reason: string },
): Promise<void> {
  const { rowCount } = await client.query(
    'insert into run_approval (run_id, step_id, operator, reason) values ($1, $2, $3, $4) on conflict do nothing',
    [approval.runId, approval.step, approval.actor, approval.reason],
  );
  if (rowCount !== 1) {
    throw new HoldfastError('ALREADY_EXISTS', 'you have approved this already', { hint: 'Somebody else has to.' });
  }
}

export async function auditRun(client: pg.ClientBase, run: RunRow, actor: string, action: string): Promise<void> {
  const subject = `${run.planName} ${run.mode} ${run.id}`;
  await appendAudit(client, { domainId: run.domainId, actor, action, subject });
}
