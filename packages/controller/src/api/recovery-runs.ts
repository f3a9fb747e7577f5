// The Recovery service's calls about runs.
//
// Hazards: somebody who may look, and acts; and a watcher that reads slowly while a run writes much. What is sent is read from the rows when the
// watcher takes it, so nothing is collected for it.
//
// Tested in recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';
import { MODES } from '@holdfast/shared/recovery/step-types';
import type { RecoveryServiceImplementation, RunNews } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import type { DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import { isRole, roleReaches, type Role } from '../fleet/roles.ts';
import { appliedPlan, findPlan } from '../recovery/plans/plan-store.ts';
import { ACTIONS } from '../recovery/runs/actions.ts';
import { actOnRun, startRun } from '../recovery/runs/run-desk.ts';
import { isEnd } from '../recovery/runs/run-states.ts';
import { findRun, findRunByPrefix, listEvents, listRuns, listSteps } from '../recovery/runs/run-store.ts';
import type { OperatorContext } from './permissions.ts';
import type { RecoveryDeps } from './recovery-deps.ts';
import { eventToWire, runToWire, stepToWire } from './recovery-wire.ts';

type Calls = Pick<
  RecoveryServiceImplementation<OperatorContext>,
  'startRun' | 'listRuns' | 'getRun' | 'watchRun' | 'actOnRun' | 'getReport'
>;

const LIST_MAX = 1_000;
const EVENTS_MAX = 10_000;

export function runCalls(deps: RecoveryDeps): Calls {
  const { pool } = deps.catalog;
  return {
    async startRun(request, context) {
      const scope = context.scope();
      const domain = scope.domain(request.domain);
      const mode = MODES.find((one) => one === request.mode);
      if (mode === undefined) throw new HoldfastError('INVALID_ARGUMENT', `a mode is one of ${MODES.join(', ')}`);
      if (mode !== 'drill') requireApprover(context, domain.id, 'start what changes who serves');
      const plan = await findPlan(pool, domain.id, request.plan);
      const { latestClean, fenceConfirmed } = request;
      const actor = `operator ${scope.caller.name}`;
      const atMs = Number(request.atMs);
      const { plan: newest } = await appliedPlan(pool, plan.id);
      const agrees = mayApprove(context, domain.id, newest);
      return { run: await startRun(deps, { planId: plan.id, mode, atMs, latestClean, fenceConfirmed, actor, agrees }) };
    },
    async listRuns(request, context) {
      const domain = context.scope().domain(request.domain);
      const plan = request.plan === '' ? undefined : await findPlan(pool, domain.id, request.plan);
      const limit = Math.min(request.limit === 0 ? 50 : request.limit, LIST_MAX);
      const filter = { domainId: domain.id, limit, ...(plan === undefined ? {} : { planId: plan.id }) };
      return { runs: (await listRuns(pool, filter)).map(runToWire) };
    },
    async getRun(request, context) {
      const run = await findRunByPrefix(pool, context.scope().domain(request.domain).id, request.run);
      const [steps, events] = await Promise.all([listSteps(pool, run.id), listEvents(pool, run.id, 0, EVENTS_MAX)]);
      return { run: runToWire(run), steps: steps.map(stepToWire), events: events.map(eventToWire) };
    },
    async *watchRun(request, context) {
      const run = await findRunByPrefix(pool, context.scope().domain(request.domain).id, request.run);
      yield* watch(deps, run.id, Number(request.after), context.signal);
    },
    async actOnRun(request, context) {
      const scope = context.scope();
      const domain = scope.domain(request.domain);
      const action = ACTIONS.find((one) => one === request.action);
      if (action === undefined)
        throw new HoldfastError('INVALID_ARGUMENT', `an action is one of ${ACTIONS.join(', ')}`);
      const run = await findRunByPrefix(pool, domain.id, request.run);
      if (action === 'approve') await requireRoleOfPlan(deps, context, run);
      const act = { action, step: request.step, reason: request.reason.slice(0, 1000) };
      const view = await actOnRun(deps, run.id, { ...act, actor: `operator ${scope.caller.name}` });
      return { run: runToWire(view.run) };
    },
    async getReport(request, context) {
      const domain = context.scope().domain(request.domain);
      // No run: the key alone, for somebody who has a report already.
      if (request.run === '') return { publicKey: deps.evidence.publicKey };
      const run = await findRunByPrefix(pool, domain.id, request.run);
      return await deps.evidence.reportOf(run.id);
    },
  };
}

function requireApprover(context: OperatorContext, domainId: string, what: string): void {
  const role = context.scope().caller.roles.get(domainId);
  if (role !== undefined && roleReaches(role, 'approver')) return;
  throw new HoldfastError('NOT_ALLOWED', `to ${what} needs the role approver`, { hint: 'Ask an approver.' });
}

/** Who may agree is the plan's to say. */
function mayApprove(context: OperatorContext, domainId: string, plan: Plan): boolean {
  const role = context.scope().caller.roles.get(domainId);
  const wanted = rolesOf(plan);
  return role !== undefined && (wanted.length === 0 || wanted.some((one) => roleReaches(role, one)));
}

function rolesOf(plan: Plan): Role[] {
  return (plan.approvals?.roles ?? ['approver']).filter(isRole);
}

/** Of the pinned revision. */
async function requireRoleOfPlan(
  { catalog }: RecoveryDeps,
  context: OperatorContext,
  run: { readonly planId: string; readonly revision: number; readonly domainId: string },
): Promise<void> {
  const { plan } = await appliedPlan(catalog.pool, run.planId, run.revision);
  if (mayApprove(context, run.domainId, plan)) return;
  throw new HoldfastError('NOT_ALLOWED', `the plan wants the role ${rolesOf(plan).join(' or ')} for this`);
}

const LOOK_AGAIN_MS = 5_000;
/** Well below the time after which a silent connection is closed. */
const SAY_AGAIN_MS = 30_000;
const BATCH = 200;

/** The run first, and everything that changes; ends after the last event of a run that is over. */
async function* watch(
  deps: RecoveryDeps,
  runId: string,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<DeepPartial<RunNews>> {
  const { pool } = deps.catalog;
  let wake: () => void = () => undefined;
  let changed = true;
  const unsubscribe = deps.events.subscribe((event) => {
    if (event.kind !== 'run' || event.runId !== runId) return;
    changed = true;
    wake();
  });
  const sent = new Map<string, string>();
  let last = after;
  let saidAtMs = 0;
  try {
    while (!signal.aborted) {
      changed = false;
      const run = await findRun(pool, runId);
      const isLate = performance.now() - saidAtMs >= SAY_AGAIN_MS;
      if (isLate || sent.get('') !== String(run.version)) {
        sent.set('', String(run.version));
        saidAtMs = performance.now();
        yield { kind: { $case: 'run', value: runToWire(run) } };
      }
      for (const step of await listSteps(pool, runId)) {
        const state = `${step.state} ${step.attempt} ${step.phase} ${step.message}`;
        if (sent.get(`step ${step.id}`) === state) continue;
        sent.set(`step ${step.id}`, state);
        yield { kind: { $case: 'step', value: stepToWire(step) } };
      }
      const events = await listEvents(pool, runId, last, BATCH);
      for (const event of events) {
        last = event.sequence;
        yield { kind: { $case: 'event', value: eventToWire(event) } };
      }
      if (isEnd(run.state) && events.length === 0) return;
      if (changed || events.length > 0) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_AGAIN_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  } finally {
    unsubscribe();
  }
}
