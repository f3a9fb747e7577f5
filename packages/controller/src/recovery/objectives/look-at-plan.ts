// The rows behind a look at a plan. Reads only. Tested in look-at-plan.db.test.ts.

import type { Mode } from '@holdfast/shared/recovery/step-types';
import type { RunMoments } from '@holdfast/shared/recovery/report-times';
import type pg from 'pg';

import { listHosts } from '../../fleet/hosts.ts';
import type { SourceState } from '../../fleet/source-state.ts';
import { sourcesOfHost, type Source } from '../../fleet/sources.ts';
import type { AppliedPlan } from '../contract.ts';
import type { Suspicion } from '../runs/recovery-choice.ts';
import { missingSecrets, secretsOfPlan } from '../plans/secrets.ts';
import type { Fact, HostLook, PastRun, PastStep, PlanLook, SourceLook } from './plan-look.ts';

/** What api/source-facts.ts knows of a source. */
export interface SourceKnowledge {
  readonly source: Pick<Source, 'name'>;
  readonly newest: { readonly latest: { readonly damaged: boolean; readonly bytesTotal: number } } | undefined;
  readonly state: Pick<SourceState, 'state' | 'rpoMs'>;
}

export interface LookDeps {
  readonly pool: pg.Pool;
  readonly knowSources: (sources: readonly Source[]) => Promise<readonly SourceKnowledge[]>;
  /** The settings', to see whether everybody whom the plan names can be told; without it that is not looked at. */
  readonly notify?: PlanLook['notify'] | undefined;
  /** Whether a file tree of the host, of those names, was encrypted or destroyed lately. */
  readonly suspicion?: ((hostId: string, names: readonly string[]) => Promise<Suspicion | undefined>) | undefined;
  /** What other parts of recovery know of a plan's readiness. */
  readonly further?: ((applied: AppliedPlan, serving: Serving) => Promise<readonly Fact[]>) | undefined;
}

/** Ids of hosts: who is which now (the application's row). */
export interface Serving {
  readonly primary: string;
  readonly standby: string;
}

const RUNS_MAX = 20;

export async function lookAtPlan(deps: LookDeps, applied: AppliedPlan, serving: Serving): Promise<PlanLook> {
  const { pool } = deps;
  const { plan, findings, domainId } = applied;
  const hosts = await listHosts(pool, domainId);
  const nameOf = (id: string): string => hosts.find((host) => host.id === id)?.name ?? id;
  const [row, known, missingPlans, missing, suspicion, further, runs] = await Promise.all([
    planRow(pool, applied.id),
    sourcesOfHost(pool, serving.primary).then(deps.knowSources),
    plansThatAreMissing(pool, domainId, plan.metadata.dependsOn),
    missingSecrets(pool, domainId, secretsOfPlan(plan)),
    deps.suspicion?.(serving.primary, plan.sources),
    deps.further?.(applied, serving) ?? [],
    pastRuns(pool, applied.id),
  ]);
  return {
    now: row.now,
    plan,
    findings,
    primary: nameOf(serving.primary),
    standby: nameOf(serving.standby),
    appliedAt: row.firstAppliedAt,
    verifiedAt: row.verifiedAt,
    unverifiedBecause: row.unverifiedBecause,
    hosts: new Map(
      hosts.map(({ name, state, lastSeenAt }): [string, HostLook] => {
        const silentMs = lastSeenAt === null ? undefined : Math.max(0, row.now.getTime() - lastSeenAt.getTime());
        return [name, { state, silentMs }];
      }),
    ),
    sources: new Map(known.map((one) => [one.source.name, sourceLook(one)])),
    missingPlans,
    missingSecrets: missing,
    notify: deps.notify,
    suspicion,
    further,
    runs,
  };
}

function sourceLook({ newest, state }: SourceKnowledge): SourceLook {
  const { damaged = false, bytesTotal = 0 } = newest?.latest ?? {};
  return { lagMs: state.rpoMs, state: state.state, damaged, bytes: bytesTotal };
}

async function plansThatAreMissing(pool: pg.Pool, domainId: string, names: readonly string[]): Promise<string[]> {
  if (names.length === 0) return [];
  const { rows } = await pool.query<{ name: string }>(
    `select w.name from unnest($2::text[]) as w (name)
     where not exists (select from plan p where p.domain_id = $1 and p.name = w.name and p.removed_at is null)`,
    [domainId, names],
  );
  return rows.map(({ name }) => name);
}

interface PlanTimes {
  readonly now: Date;
  readonly firstAppliedAt: Date;
  readonly verifiedAt: Date | null;
  readonly unverifiedBecause: string;
}

async function planRow(pool: pg.Pool, planId: string): Promise<PlanTimes> {
  const { rows } = await pool.query<PlanTimes>(
    `select now(), p.verified_at as "verifiedAt", p.unverified_because as "unverifiedBecause",
       (select min(applied_at) from plan_revision r where r.plan_id = p.id) as "firstAppliedAt"
     from plan p where p.id = $1`,
    [planId],
  );
  return (
    rows[0] ?? { now: new Date(0), firstAppliedAt: new Date(0), verifiedAt: null, unverifiedBecause: 'it is gone' }
  );
}

interface RunRow {
  readonly id: string;
  readonly mode: Mode;
  readonly state: string;
  readonly startedAt: Date;
  readonly finishedAt: Date;
  readonly times: RunMoments;
  readonly recoveryPointMs: number | null;
}

interface StepRow {
  readonly runId: string;
  readonly id: string;
  readonly state: string;
  readonly tookMs: number | null;
  readonly bytes: string | null;
}

async function pastRuns(pool: pg.Pool, planId: string): Promise<PastRun[]> {
  const { rows } = await pool.query<RunRow>(
    `select id, mode, state, started_at as "startedAt", finished_at as "finishedAt", times,
       nullif((point->>'atMs')::bigint, 0) as "recoveryPointMs"
     from run where plan_id = $1 and not ahead and finished_at is not null order by finished_at desc limit $2`,
    [planId, RUNS_MAX],
  );
  const { rows: steps } = await pool.query<StepRow>(
    `select run_id as "runId", step_id as id, state, facts->>'bytes' as bytes,
       floor(extract(epoch from finished_at - started_at) * 1000)::bigint as "tookMs"
     from run_step where run_id = any($1) order by run_id, position`,
    [rows.map(({ id }) => id)],
  );
  return rows.map((run) => ({
    ...run,
    moments: run.times,
    recoveryPointMs: run.recoveryPointMs ?? undefined,
    steps: steps.filter(({ runId }) => runId === run.id).map(pastStep),
  }));
}

/** A restore says in its fact `bytes` how much it restored: a later forecast stands on it. */
function pastStep({ id, state, tookMs, bytes }: StepRow): PastStep {
  const restored = Number(bytes ?? Number.NaN);
  return { id, state, tookMs: tookMs ?? undefined, bytes: Number.isFinite(restored) ? restored : undefined };
}
