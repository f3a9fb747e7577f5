// Runs as rows, read: one run as the machine sees it, and lists of them.
//
// Hazard: a view of two moments. The run's row is read first, so whatever changes while the rest is read makes the view's version old, and
// nothing that is decided on it can be written (transitions.ts). Jobs and who serves only go forward.
//
// Tested in engine.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';

import { OFFLINE_AFTER_MS } from '../../fleet/hosts.ts';
import { appliedPlan, type Queryable } from '../plans/plan-store.ts';
import { isRunState } from './run-states.ts';
import type { Phase, Report, RunRow, RunView, StepJob, StepRow } from './run-view.ts';
import { whatComesFirst, type TurnRules } from './turn-rows.ts';

/** What a finished job said. */
export type ReadOutcome = (job: {
  readonly kind: string;
  readonly state: 'done' | 'warnings' | 'failed' | 'cancelled';
  readonly outcome: Buffer | null;
  readonly errorMessage: string;
}) => Report;

const SELECT_RUN = `
  select r.id, r.plan_id as "planId", p.domain_id as "domainId", p.name as "planName", r.revision, r.mode, r.ahead, r.state, r.pause, r.reason,
    r.from_host as "fromHost", f.name as "fromName", r.to_host as "toHost", t.name as "toName", r.epoch, r.automatic,
    r.started_by as "startedBy", r.started_at as "startedAt", r.finished_at as "finishedAt", r.due_at as "dueAt",
    r.approvals_needed as "approvalsNeeded", r.approved_at as "approvedAt", r.fence_proof as "fenceProof",
    r.protected_at as "protectedAt", r.diverged, r.point, r.times, r.version
  from run r join plan p on p.id = r.plan_id join host f on f.id = r.from_host join host t on t.id = r.to_host`;

const STEP_COLUMNS = `s.step_id as id, s.position, s.spec, s.host_id as "hostId", coalesce(h.name, '') as "hostName", s.state, s.attempt,
  s.phase, s.round, s.due_at as "dueAt", s.started_at as "startedAt", s.finished_at as "finishedAt", s.message, s.remedy, s.output, s.facts`;

const COPY_REPLAYS = `exists (
  select 1 from run r join warm_copy w on w.plan_id = r.plan_id and w.host_id = s.host_id and w.kind = 'postgres' and w.state = 'replaying'
    join source o on o.id = w.source_id and o.name = s.spec ->> 'source'
  where r.id = s.run_id and r.mode <> 'drill') as "copyReplays"`;

/**
 * @param turns without them nobody asks whether its turn has come: only who drives it does
 * Throws NOT_FOUND; FAILED_PRECONDITION when the pinned revision can't be read any more.
 */
export async function loadView(
  client: Queryable,
  runId: string,
  readOutcome: ReadOutcome,
  turns?: TurnRules,
): Promise<RunView> {
  const run = await findRun(client, runId);
  const plan = await appliedPlan(client, run.planId, run.revision);
  const { rows: steps } = await client.query<StepRow>(
    `select ${STEP_COLUMNS}, ${COPY_REPLAYS},
       case when h.id is null then null
            when h.connection_id <> '' and h.last_seen_at > now() - interval '${OFFLINE_AFTER_MS} ms' then 0
            else coalesce(floor(extract(epoch from now() - h.last_seen_at) * 1000)::bigint, ${OFFLINE_AFTER_MS}) end as "hostAwayMs"
     from run_step s left join host h on h.id = s.host_id where s.run_id = $1 order by s.position`,
    [runId],
  );
  const jobs = await loadJobs(client, run, readOutcome);
  const { rows: agreed } = await client.query<{ step: string; n: number }>(
    'select step_id as step, count(*) as n from run_approval where run_id = $1 group by step_id',
    [runId],
  );
  const approvals = new Map(agreed.map(({ step, n }) => [step, n]));
  const serving = await client.query<RunView['serving'] & { now: Date }>(
    `select primary_host as primary, epoch, phase, clock_timestamp() as now from application where plan_id = $1`,
    [run.planId],
  );
  const row = serving.rows[0];
  if (row === undefined) throw new HoldfastError('NOT_FOUND', 'the plan has no application any more');
  return {
    run,
    plan: plan.plan,
    steps: steps.map((step) => ({ ...step, hostAwayMs: step.hostAwayMs ?? undefined })),
    jobs,
    approvals,
    serving: { primary: row.primary, epoch: row.epoch, phase: row.phase },
    spoilt: run.state === 'awaiting-approval' ? await spoiltSources(client, run, plan.plan) : [],
    notYet: turns === undefined ? undefined : await whatComesFirst(client, run, row.now, turns),
    now: row.now,
  };
}

/**
 * What a run waits with for hours can be found damaged, or be removed. What it takes anew itself is no matter, and of an engine with a log the
 * base is chosen when it is restored.
 */
async function spoiltSources(client: Queryable, { mode, point }: RunRow, plan: Plan): Promise<string[]> {
  const taken = plan.steps.flatMap((step) => (step.type === 'snapshot' && step.in.includes(mode) ? step.sources : []));
  const renewed = [...taken, ...point.sources.flatMap(({ source, target }) => (target === null ? [] : [source]))];
  const { rows } = await client.query<{ source: string; removed: boolean; damagedAt: Date | null; gone: boolean }>(
    `select w.source, s.removed_at is not null as removed, n.damaged_at as "damagedAt", n.id is null as gone
     from unnest($1::text[], $2::text[], $3::text[]) as w (source, source_id, snapshot)
     left join source s on s.id = w.source_id left join snapshot n on n.id = decode(w.snapshot, 'hex') and n.source_id = w.source_id`,
    [
      point.sources.map(({ source }) => source),
      point.sources.map(({ sourceId }) => sourceId),
      point.sources.map(({ snapshotId }) => snapshotId),
    ],
  );
  return rows.flatMap(({ source, removed, damagedAt, gone }) => {
    if (removed) return `the source ${source} was removed while the run waited`;
    if (renewed.includes(source) || (!gone && damagedAt === null)) return [];
    const what = gone ? 'is gone' : `was found damaged at ${damagedAt?.toISOString() ?? ''}`;
    return `the snapshot of ${source} that the run would restore ${what}`;
  });
}

interface JobRow {
  readonly jobId: string;
  readonly stepId: string;
  readonly phase: Phase;
  readonly part: string;
  readonly kind: string;
  readonly state: 'queued' | 'running' | 'done' | 'warnings' | 'failed' | 'cancelled';
  readonly acknowledged: boolean;
  readonly outcome: Buffer | null;
  readonly errorMessage: string;
  readonly finishedAt: Date | null;
}

/** Of each step's present round; all of the run's own; and the prechecks while they are made. */
async function loadJobs(client: Queryable, run: RunRow, readOutcome: ReadOutcome): Promise<StepJob[]> {
  const { rows } = await client.query<JobRow>(
    `select r.job_id as "jobId", r.step_id as "stepId", r.phase, r.part, j.kind, j.state, j.acknowledged, j.outcome,
       j.error_message as "errorMessage", j.finished_at as "finishedAt"
     from run_job r join job j on j.id = r.job_id left join run_step s on s.run_id = r.run_id and s.step_id = r.step_id
     where r.run_id = $1 and (r.step_id = '' or ($2 and r.phase = 'precheck')
       or (r.attempt = s.attempt and r.phase = s.phase and r.round = s.round))
     order by r.round, j.created_at`,
    [run.id, run.state === 'prechecking'],
  );
  return rows.map((row): StepJob => {
    const { jobId, stepId, phase, part, acknowledged, finishedAt, state } = row;
    const report = state === 'queued' || state === 'running' ? undefined : readOutcome({ ...row, state });
    return { jobId, stepId, phase, part, acknowledged, finishedAt, report };
  });
}

/** Throws NOT_FOUND. */
export async function findRun(client: Queryable, runId: string): Promise<RunRow> {
  const { rows } = await client.query<RunRow>(`${SELECT_RUN} where r.id = $1`, [runId]);
  if (rows[0] === undefined) throw new HoldfastError('NOT_FOUND', 'there is no such run');
  return checked(rows[0]);
}

const ID_PREFIX = /^[0-9a-f-]{4,36}$/;

/** By its id or a prefix that is unique in the domain. Throws NOT_FOUND, USAGE. */
export async function findRunByPrefix(client: Queryable, domainId: string, prefix: string): Promise<RunRow> {
  const { rows } = ID_PREFIX.test(prefix)
    ? await client.query<RunRow>(`${SELECT_RUN} where p.domain_id = $1 and starts_with(r.id, $2) limit 2`, [
        domainId,
        prefix,
      ])
    : { rows: [] };
  if (rows.length > 1) throw new HoldfastError('USAGE', `several runs begin with ${prefix}`);
  if (rows[0] === undefined) {
    throw new HoldfastError('NOT_FOUND', `there is no run ${prefix.slice(0, 40)}`, { hint: 'See: holdfast run ls' });
  }
  return checked(rows[0]);
}

/** Newest first. `planId` undefined: of all plans. */
export async function listRuns(
  client: Queryable,
  filter: { readonly domainId: string; readonly planId?: string; readonly limit: number },
): Promise<RunRow[]> {
  const { rows } = await client.query<RunRow>(
    `${SELECT_RUN} where p.domain_id = $1 and ($2::text is null or r.plan_id = $2) order by r.started_at desc limit $3`,
    [filter.domainId, filter.planId ?? null, filter.limit],
  );
  return rows.map(checked);
}

/** Without what only the engine asks of it. */
export type ShownStep = Omit<StepRow, 'hostAwayMs' | 'copyReplays'>;

/** In the order of the document. */
export async function listSteps(client: Queryable, runId: string): Promise<ShownStep[]> {
  const { rows } = await client.query<ShownStep>(
    `select ${STEP_COLUMNS} from run_step s left join host h on h.id = s.host_id where s.run_id = $1 order by s.position`,
    [runId],
  );
  return rows;
}

export interface RunEventRow {
  readonly sequence: number;
  readonly at: Date;
  readonly actor: string;
  readonly step: string;
  readonly kind: 'state' | 'action' | 'note';
  readonly message: string;
}

/** In their order, those behind `after`. */
export async function listEvents(
  client: Queryable,
  runId: string,
  after: number,
  limit: number,
): Promise<RunEventRow[]> {
  const { rows } = await client.query<RunEventRow>(
    `select sequence, at, actor, step_id as step, kind, message from run_event where run_id = $1 and sequence > $2
     order by sequence limit $3`,
    [runId, after, limit],
  );
  return rows;
}

/** Runs of a plan that are not over, and those that still have to protect the new primary. */
export async function liveRuns(client: Queryable, planId: string): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>('select id from run where plan_id = $1 and finished_at is null', [
    planId,
  ]);
  return rows.map((row) => row.id);
}

/** Neither a drill nor a preparation: something is being failed over, or moved. */
export async function realRunIsLive(client: Queryable, planId: string): Promise<boolean> {
  const { rows } = await client.query(
    `select 1 from run where plan_id = $1 and mode <> 'drill' and not ahead and finished_at is null`,
    [planId],
  );
  return rows.length > 0;
}

function checked(row: RunRow): RunRow {
  if (!isRunState(row.state))
    throw new HoldfastError('FAILED_PRECONDITION', `the run is in a state of a newer program`);
  return row;
}
