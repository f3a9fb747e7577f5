// Could every step work now, on the real hosts? Each step's precheck, all at once within bounds; nothing is changed.
//
// Hazard: a plan that was checked once, and is believed for ever. What was found is written down with the revision, and an apply, or a
// precheck that fails, takes it back.
//
// Tested in api/recovery.db.test.ts.

import { randomUUID } from 'node:crypto';

import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { Step } from '@holdfast/shared/recovery/step-types';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';

import type { Catalog } from '../../catalog/catalog.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import { askCancel, jobsById, queueJob, type NewJob } from '../../fleet/jobs.ts';
import type { AppliedPlan } from '../contract.ts';
import type { ReadOutcome } from '../runs/run-store.ts';
import type { Report } from '../runs/run-view.ts';
import { canPrecheck, standsOnOthers } from '../runs/step-policy.ts';
import type { PlanFinding } from './placement.ts';

export interface LiveCheckDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  readonly clock: Clock;
  readonly readOutcome: ReadOutcome;
  /** The precheck of a step as it would run now, and on which host. Undefined: it has no host. Throws what makes it impossible. */
  readonly precheck: (
    applied: AppliedPlan,
    step: Step,
    checkId: string,
  ) => Promise<{ readonly host: string; readonly job: NewJob } | undefined>;
}

/** All hosts together. */
export const LIVE_CHECK_MS = 45_000;
const AT_ONCE = 16;
const POLL_MS = 100;

/** A finding for each step that has a host, well or not. */
export async function checkLive(deps: LiveCheckDeps, applied: AppliedPlan): Promise<PlanFinding[]> {
  const checkId = randomUUID();
  const deadline = deps.clock.monotonicMs() + LIVE_CHECK_MS;
  const steps = applied.plan.steps.filter((step) => canPrecheck(step.type));
  const findings: PlanFinding[] = [];
  for (let from = 0; from < steps.length; from += AT_ONCE) {
    const some = steps.slice(from, from + AT_ONCE);
    findings.push(...(await Promise.all(some.map((step) => checkStep(deps, applied, step, checkId, deadline)))).flat());
  }
  return findings;
}

async function checkStep(
  deps: LiveCheckDeps,
  applied: AppliedPlan,
  step: Step,
  checkId: string,
  deadline: number,
): Promise<PlanFinding[]> {
  try {
    const asked = await askPrecheck(deps, applied, step, checkId, deadline);
    if (asked === undefined) return [];
    const { host, report } = asked;
    if (report !== undefined) return [findingOf(applied, step, host, report)];
    return [finding(step, 'error', `${host} does not answer`, `systemctl status holdfast-agent (on ${host})`)];
  } catch (thrown) {
    const error = toHoldfastError(thrown);
    return [finding(step, 'error', error.message, error.hint)];
  }
}

/**
 * What the step's host says of it, by a job; no report: it does not answer in time. Undefined: the step has no host. Throws what makes it
 * impossible.
 * @param deadline of the monotonic clock
 */
export async function askPrecheck(
  deps: LiveCheckDeps,
  applied: AppliedPlan,
  step: Step,
  checkId: string,
  deadline: number,
): Promise<{ readonly host: string; readonly jobId: string; readonly report: Report | undefined } | undefined> {
  const { pool } = deps.catalog;
  const asked = await deps.precheck(applied, step, checkId);
  if (asked === undefined) return undefined;
  const { host } = asked;
  const jobId = await deps.catalog.transaction(async (client) => {
    const id = await queueJob(client, asked.job);
    await deps.events.tell(client, { kind: 'jobs', hostId: asked.job.hostId });
    return id;
  });
  for (;;) {
    const [job] = await jobsById(pool, [jobId]);
    if (job !== undefined && job.state !== 'queued' && job.state !== 'running') {
      return { host, jobId, report: deps.readOutcome({ ...job, state: job.state }) };
    }
    if (deps.clock.monotonicMs() >= deadline) break;
    await sleep(deps.clock, POLL_MS);
  }
  await askCancel(pool, jobId);
  return { host, jobId, report: undefined };
}

function findingOf({ plan }: AppliedPlan, step: Step, host: string, report: Report): PlanFinding {
  const isWell = report.state === 'ok';
  const message = report.message === '' ? (isWell ? 'could work now' : 'could not work now') : report.message;
  return finding(
    step,
    isWell ? 'ok' : step.critical && !standsOnOthers(step, plan) ? 'error' : 'warning',
    `${host}: ${message}`,
    report.remedy,
  );
}

function finding(step: Step, level: PlanFinding['level'], message: string, remedy: string): PlanFinding {
  return { level, subject: step.id, line: 0, column: 0, message, remedy };
}

/** What was found of the newest revision: ready to run, or why not. Undefined errors: all was well. */
export async function recordCheck(
  { catalog, events }: Pick<LiveCheckDeps, 'catalog' | 'events'>,
  applied: AppliedPlan,
  findings: readonly PlanFinding[],
): Promise<void> {
  const [first] = findings.filter((one) => one.level === 'error');
  const because = first === undefined ? '' : `${first.subject}: ${first.message}`;
  await catalog.pool.query(
    `update plan set verified_at = case when $3 = '' then now() end, unverified_because = $3 where id = $1 and revision = $2`,
    [applied.id, applied.revision, because.slice(0, 1000)],
  );
  await events.tell(catalog.pool, { kind: 'plans' });
}
