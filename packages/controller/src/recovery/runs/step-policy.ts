// What is particular about a type of step: where it runs, in which phases, how long it may take, how often it is tried.
//
// Pure. Tested in step-policy.test.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Mode, Step } from '@holdfast/shared/recovery/step-types';

import type { Phase } from './run-view.ts';

type StepType = Step['type'];

/** Waits for a person, or for time to pass. */
export function waits(type: StepType): boolean {
  return type === 'approval' || type === 'manual' || type === 'wait';
}

/** The controller does it itself, without a job. */
export function isOwn(type: StepType): boolean {
  return waits(type) || type === 'fence' || type === 'notify';
}

export function isRestore(type: StepType): boolean {
  return type.startsWith('restore.');
}

export function isCheck(type: StepType): boolean {
  return type.startsWith('check.');
}

/** Its host answers whether it is done already. */
export function canProbe(type: StepType): boolean {
  return !isOwn(type) && !isRestore(type) && !isCheck(type) && type !== 'snapshot';
}

export function canPrecheck(type: StepType): boolean {
  return !isOwn(type) && type !== 'snapshot';
}

/** What a precheck misses may be what an earlier step of the plan brings: then it is no reason not to begin. */
export function standsOnOthers(step: Step, plan: Pick<Plan, 'steps'>): boolean {
  const byId = new Map(plan.steps.map((one) => [one.id, one]));
  const open = [...step.needs];
  const seen = new Set<string>();
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    const needed = byId.get(id);
    if (needed === undefined || seen.has(id)) continue;
    if (needed.type === 'rebuild' || needed.type === 'command' || isRestore(needed.type)) return true;
    seen.add(id);
    open.push(...needed.needs);
  }
  return false;
}

/** Where it makes sense. What was restored stays; an epoch can't be taken back. */
export function canUndo(step: Step): boolean {
  switch (step.type) {
    case 'service.start':
    case 'service.stop':
    case 'traffic':
      return true;
    case 'command':
      return step.undo !== undefined;
    default:
      return false;
  }
}

/**
 * In turn; none for what the controller does itself.
 * @param copyReplays a warm copy replays where the step restores to. Then what runs there is the copy's own server, which the restore itself ends:
 *   to stop it as the unit would make it start anew, replay again, and be in the way
 */
export function phasesOf(step: Step, plan: Pick<Plan, 'render'>, copyReplays: boolean): Phase[] {
  if (isOwn(step.type)) return [];
  if ('unit' in step || isRestore(step.type)) {
    const unit = 'unit' in step ? step.unit : undefined;
    const render = step.type === 'restore.files' && plan.render.length > 0;
    return [
      ...(unit === undefined || copyReplays ? [] : (['stop-unit'] as const)),
      'apply',
      ...(render ? (['render'] as const) : []),
      ...(unit === undefined ? [] : (['start-unit'] as const)),
    ];
  }
  return canProbe(step.type) ? ['apply', 'verify'] : ['apply'];
}

/** Undefined: the step stays. Actions on the primary, fences and traffic are refused in a drill whatever the plan says. */
export function refusedInDrill(step: Step, onPrimary: boolean): string | undefined {
  if (step.type === 'fence' || step.type === 'traffic') return `no ${step.type} in a drill`;
  return onPrimary ? 'a drill does nothing on the primary' : undefined;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** When the plan does not say. Undefined: it may take for ever. */
export function timeoutMs(step: Step, plan: Pick<Plan, 'approvals'>): number | undefined {
  if (step.type === 'wait') return step.for;
  if (step.timeout !== undefined) return step.timeout;
  switch (step.type) {
    case 'manual':
    case 'fence':
      return undefined;
    case 'approval':
      return plan.approvals?.timeout ?? 10 * MINUTE_MS;
    case 'snapshot':
      return 6 * HOUR_MS;
    case 'rebuild':
      return 30 * MINUTE_MS;
    case 'service.start':
    case 'service.stop':
      return 2 * MINUTE_MS;
    case 'command':
      return 10 * MINUTE_MS;
    default:
      return isRestore(step.type) ? 24 * HOUR_MS : MINUTE_MS;
  }
}

/** The host keeps the time itself, and answers; this much later the controller does not wait for that any more. */
export const ANSWER_GRACE_MS = 10_000;
/** A probe, a precheck: a look. */
export const LOOK_MS = 30_000;

/** In all, without anybody asking. A check that fails has looked for as long as it may already. */
export function attemptsOf(step: Step): number {
  if (isCheck(step.type) || waits(step.type) || step.type === 'fence') return 1;
  if (step.type === 'command') return step.probe === undefined ? 1 : 2;
  return 3;
}

/** Before the attempt that follows `attempt`: doubling, without chance, because one engine alone tries. */
export function retryDelayMs(attempt: number): number {
  return Math.min(10_000, 500 * 2 ** Math.min(attempt - 1, 10));
}

export function runsIn(step: Pick<Step, 'in'>, mode: Mode): boolean {
  return step.in.includes(mode);
}
