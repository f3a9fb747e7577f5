// A run, its steps, its events and its plan's revision, as a report takes them.
//
// Hazard: a run of hundreds of thousands of events. Beyond EVENTS_MAX the newest are left out of the report; the rows stay.
//
// Tested in evidence.db.test.ts.

import type { RunFacts } from '@holdfast/shared/recovery/report';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

import { appliedPlan, documentOf } from '../plans/plan-store.ts';
import { findRun, listEvents, listSteps } from '../runs/run-store.ts';

const EVENTS_MAX = 100_000;

/** Throws NOT_FOUND; FAILED_PRECONDITION for a preparation, and when the pinned revision can't be read any more. */
export async function loadRunFacts(pool: pg.Pool, runId: string, controllerVersion: string): Promise<RunFacts> {
  const run = await findRun(pool, runId);
  if (run.ahead) {
    throw new HoldfastError('FAILED_PRECONDITION', 'a preparation leaves no report: it failed nothing over', {
      hint: `What it did: holdfast run show ${run.id.slice(0, 8)}`,
    });
  }
  const [applied, document, revision, steps, events] = await Promise.all([
    appliedPlan(pool, run.planId, run.revision),
    documentOf(pool, run.planId, run.revision),
    revisionRow(pool, run.planId, run.revision),
    listSteps(pool, runId),
    listEvents(pool, runId, 0, EVENTS_MAX),
  ]);
  const { plan } = applied;
  return {
    controllerVersion,
    domain: revision.domain,
    plan: {
      id: run.planId,
      name: run.planName,
      owner: plan.metadata.owner,
      revision: run.revision,
      appliedAtMs: revision.appliedAt.getTime(),
      appliedBy: revision.appliedBy,
      document,
      rtoMs: plan.objectives.rto,
      rpoMs: plan.objectives.rpo,
    },
    run: {
      id: run.id,
      mode: run.mode,
      state: run.state,
      reason: run.reason,
      fromHost: run.fromName,
      toHost: run.toName,
      epoch: run.epoch,
      startedBy: run.startedBy,
      startedAtMs: run.startedAt.getTime(),
      finishedAtMs: run.finishedAt?.getTime(),
      recoveryPointMs: run.point.atMs === 0 ? undefined : run.point.atMs,
      pointFindings: run.point.findings,
      moments: run.times,
    },
    steps: steps.map((step) => ({
      id: step.id,
      type: step.spec.type,
      host: step.hostName,
      state: step.state,
      attempt: step.attempt,
      needs: step.spec.needs,
      startedAtMs: step.startedAt?.getTime(),
      finishedAtMs: step.finishedAt?.getTime(),
      message: step.message,
      remedy: step.remedy,
      output: step.output,
      facts: step.facts,
    })),
    events: events.map(({ at, ...event }) => ({ ...event, atMs: at.getTime() })),
  };
}

interface RevisionRow {
  readonly domain: string;
  readonly appliedAt: Date;
  readonly appliedBy: string;
}

async function revisionRow(pool: pg.Pool, planId: string, revision: number): Promise<RevisionRow> {
  const { rows } = await pool.query<RevisionRow>(
    `select d.name as domain, r.applied_at as "appliedAt", r.applied_by as "appliedBy"
     from plan_revision r join plan p on p.id = r.plan_id join domain d on d.id = p.domain_id
     where r.plan_id = $1 and r.revision = $2`,
    [planId, revision],
  );
  if (rows[0] === undefined) throw new HoldfastError('NOT_FOUND', `the plan has no revision ${revision}`);
  return rows[0];
}
