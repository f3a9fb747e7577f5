// Runs that people start, and what they do to them: at whatever replica they ask. The driver hears of it, and goes on.
//
// Hazard: an action that was allowed a moment ago. It is decided on the rows under which it is written; a change in between decides anew.
//
// Tested in api/recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Mode } from '@holdfast/shared/recovery/step-types';

import type { Catalog } from '../../catalog/catalog.ts';
import { appendAudit } from '../../fleet/audit.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import { listHosts, type Host } from '../../fleet/hosts.ts';
import type { AppliedPlan, Failover } from '../contract.ts';
import { appliedPlan } from '../plans/plan-store.ts';
import { actOn, type Act } from './actions.ts';
import { advance } from './advance.ts';
import { choosePoints, type PinnedPoint, type SourceCandidates } from './recovery-choice.ts';
import { loadView, type ReadOutcome } from './run-store.ts';
import type { RunView } from './run-view.ts';
import { directionOf, insertRun, placementOf, pointRequest } from './start-run.ts';
import { auditRun, insertApproval, writeEvents, writeTransition } from './transitions.ts';

export type CandidatesOf = (
  hostId: string,
  names: readonly string[],
  /** The catalog's clock: nothing newer is wanted; 0: all. */
  upToMs: number,
) => Promise<{ readonly sources: readonly SourceCandidates[]; readonly nowMs: number }>;

export interface RunDeskDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  readonly failover: Pick<Failover, 'look'>;
  readonly readOutcome: ReadOutcome;
  readonly candidates: CandidatesOf;
}

export interface StartRequest {
  readonly planId: string;
  readonly mode: Mode;
  /** 0: as the plan says. */
  readonly atMs: number;
  readonly latestClean: boolean;
  readonly fenceConfirmed: boolean;
  /** operator NAME */
  readonly actor: string;
  /** Whoever starts it is one of those who may approve it, and does. */
  readonly agrees: boolean;
}

/** The run's id. Throws BUSY, FAILED_PRECONDITION (a host that is needed is not there), NOT_FOUND (nothing to recover to). */
export async function startRun(deps: RunDeskDeps, request: StartRequest): Promise<string> {
  const { mode, actor } = request;
  const applied = await appliedPlan(deps.catalog.pool, request.planId);
  const look = deps.failover.look(applied.id);
  if (look?.splitBrain === true && mode !== 'drill') {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      'two hosts claim to serve: nothing is started before one of them stops',
    );
  }
  await requireHosts(deps, applied, mode);
  if (request.fenceConfirmed && mode !== 'unplanned') {
    throw new HoldfastError('INVALID_ARGUMENT', 'only the fence of an unplanned run can be confirmed beforehand');
  }
  const point = await pinPoint(deps, applied, request, false);
  const writer = { kind: 'person', actor } as const;
  const approvalsNeeded = mode === 'drill' ? 0 : (applied.plan.approvals?.need ?? 0);
  return await deps.catalog.transaction(async (client) => {
    const signs = mode === 'unplanned' ? look : undefined;
    const start = { applied, mode, approvalsNeeded, fenceConfirmed: request.fenceConfirmed, signs, point, writer };
    const runId = await insertRun(client, { ...start, ...(request.agrees ? { approvedBy: actor } : {}) });
    const subject = `${applied.name} ${mode} ${runId}`;
    await appendAudit(client, { domainId: applied.domainId, actor, action: 'run.start', subject });
    await deps.events.tell(client, { kind: 'run', runId, planId: applied.id, version: 0 });
    return runId;
  });
}

/** Where it says "at", everything that is restored must have a state from then. */
export async function pinPoint(
  deps: Pick<RunDeskDeps, 'catalog' | 'candidates'>,
  applied: AppliedPlan,
  asked: { readonly mode: Mode; readonly atMs: number; readonly latestClean: boolean },
  promoted: boolean,
): Promise<PinnedPoint> {
  const { from } = directionOf(await placementOf(deps.catalog.pool, applied.id), promoted);
  const { sources, nowMs } = await deps.candidates(from, applied.plan.sources, asked.atMs);
  const point = choosePoints(sources, pointRequest(applied.plan, asked, nowMs));
  const restored = applied.plan.steps.flatMap((step) =>
    step.in.includes(asked.mode) && 'to' in step && 'source' in step ? [step.source] : [],
  );
  const missing = restored.filter((name) => !point.sources.some((one) => one.source === name));
  // Unplanned, one goes as far as one comes.
  const asks = asked.atMs > 0 || asked.mode !== 'unplanned';
  if (missing.length > 0 && asks) {
    throw new HoldfastError(
      'NOT_FOUND',
      `nothing is stored of ${[...new Set(missing)].join(', ')} that could be restored`,
      {
        hint:
          asked.atMs > 0 ? 'Choose a later time, or leave it out.' : 'Back it up first: holdfast backup HOST/SOURCE',
      },
    );
  }
  return point;
}

async function requireHosts(deps: RunDeskDeps, applied: AppliedPlan, mode: Mode): Promise<void> {
  const placement = await placementOf(deps.catalog.pool, applied.id);
  const hosts = await listHosts(deps.catalog.pool, applied.domainId);
  const online = (id: string): Host => {
    const host = hosts.find((one) => one.id === id);
    if (host === undefined) throw new HoldfastError('NOT_FOUND', 'a host of the plan is gone');
    if (host.state === 'online') return host;
    throw new HoldfastError('FAILED_PRECONDITION', `${host.name} is ${host.state}`, {
      hint:
        mode === 'planned' && id === placement.primary
          ? 'A planned run needs the primary. Without it: holdfast plan run PLAN --mode unplanned'
          : 'Start its agent, and try again.',
    });
  };
  online(placement.standby);
  if (mode === 'planned') online(placement.primary);
}

const TRIES = 20;

/** The run as it is then. Throws FAILED_PRECONDITION, NOT_FOUND, USAGE, ALREADY_EXISTS. */
export async function actOnRun(
  deps: Pick<RunDeskDeps, 'catalog' | 'events' | 'readOutcome'>,
  runId: string,
  act: Act,
): Promise<RunView> {
  for (let tries = 0; tries < TRIES; tries++) {
    const view = await loadView(deps.catalog.pool, runId, deps.readOutcome);
    const { decisions, approves } = actOn(view, act);
    const writer = { kind: 'person', actor: act.actor } as const;
    const written = await writeTransition(deps, {
      view,
      advanced: advance(view, decisions),
      jobs: [],
      writer,
      beside: async (client) => {
        if (approves !== undefined) {
          await insertApproval(client, { runId, step: approves, actor: act.actor, reason: act.reason });
        }
        const target = [act.action, act.step].filter((word) => word !== '').join(' ');
        const message = act.reason === '' ? target : `${target}: ${act.reason}`;
        await writeEvents(client, runId, writer, [{ step: act.step, kind: 'action', message }]);
        await auditRun(client, view.run, act.actor, `run.${act.action}`);
      },
    });
    if (written) return await loadView(deps.catalog.pool, runId, deps.readOutcome);
  }
  throw new HoldfastError('BUSY', 'the run changes all the time: try again');
}
