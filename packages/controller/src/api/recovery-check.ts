// The precheck of a step that belongs to no run: the plan as it stands, on the hosts as they serve now.
//
// Tested in recovery.db.test.ts.

import { randomUUID } from 'node:crypto';

import type { Step } from '@holdfast/shared/recovery/step-types';

import type { NewJob } from '../fleet/jobs.ts';
import type { AppliedPlan } from '../recovery/contract.ts';
import { placementOf } from '../recovery/runs/start-run.ts';
import type { RunRow, RunView, StepRow } from '../recovery/runs/run-view.ts';
import { jobsFor, type RecoveryJobsDeps } from './recovery-jobs.ts';

/** Undefined: the step has no host of its own. Throws what makes it impossible. */
export async function precheckJob(
  deps: RecoveryJobsDeps,
  applied: AppliedPlan,
  step: Step,
  checkId: string,
): Promise<{ readonly host: string; readonly job: NewJob } | undefined> {
  const view = await standingView(deps, applied, checkId);
  const name = whereOf(step, view);
  const hostId = applied.hostIds.get(name);
  if (hostId === undefined) return undefined;
  const row = standingStep(step, hostId, name);
  const numbers = { term: view.term, epoch: view.serving.epoch };
  const order = { step: step.id, attempt: 1, phase: 'precheck', round: 0 } as const;
  const [first] = await jobsFor(deps, { ...view, steps: [row] }, order, numbers);
  return first === undefined ? undefined : { host: name, job: first.job };
}

function whereOf(step: Step, { run }: RunView): string {
  // A look from outside needs no more than that somebody can look.
  if (!('host' in step) || (step.type === 'check.http' && step.from !== undefined)) return '';
  if (step.host === 'primary') return run.fromName;
  return step.host === 'standby' ? run.toName : step.host;
}

/** A run that there is not, at its beginning. */
async function standingView(
  { catalog }: RecoveryJobsDeps,
  applied: AppliedPlan,
  checkId: string,
): Promise<RunView & { readonly term: number }> {
  const { plan, hostIds } = applied;
  const [first = '', second = ''] = plan.placement.hosts;
  const isApplied = applied.id !== '';
  const placement = isApplied
    ? await placementOf(catalog.pool, applied.id)
    : { primary: hostIds.get(first) ?? '', standby: hostIds.get(second) ?? '', epoch: 0, nextEpoch: 1 };
  const names = new Map([...hostIds].map(([name, id]) => [id, name]));
  const { rows } = await catalog.pool.query<{ term: number; now: Date }>(
    'select coalesce((select term from application where plan_id = $1), 0)::bigint as term, now() as now',
    [applied.id],
  );
  const now = rows[0]?.now ?? new Date(0);
  const run: RunRow = {
    id: checkId,
    planId: isApplied ? applied.id : randomUUID(),
    domainId: applied.domainId,
    planName: applied.name,
    revision: applied.revision,
    mode: 'planned',
    ahead: false,
    state: 'prechecking',
    pause: '',
    reason: '',
    fromHost: placement.primary,
    fromName: names.get(placement.primary) ?? '',
    toHost: placement.standby,
    toName: names.get(placement.standby) ?? '',
    epoch: placement.nextEpoch,
    automatic: false,
    startedBy: '',
    startedAt: now,
    finishedAt: null,
    dueAt: null,
    approvalsNeeded: 0,
    approvedAt: null,
    fenceProof: '',
    protectedAt: null,
    diverged: {},
    point: { atMs: now.getTime(), sources: [], findings: [] },
    times: {},
    version: 0,
  };
  const serving = { primary: placement.primary, epoch: placement.epoch, phase: 'open' } as const;
  return {
    run,
    plan,
    steps: [],
    jobs: [],
    spoilt: [],
    notYet: undefined,
    approvals: new Map(),
    serving,
    now,
    term: rows[0]?.term ?? 0,
  };
}

function standingStep(spec: Step, hostId: string, hostName: string): StepRow {
  return {
    id: spec.id,
    position: 0,
    spec,
    hostId,
    hostName,
    hostAwayMs: 0,
    copyReplays: false,
    state: 'pending',
    attempt: 0,
    phase: '',
    round: 0,
    dueAt: null,
    startedAt: null,
    finishedAt: null,
    message: '',
    remedy: '',
    output: '',
    facts: {},
  };
}
