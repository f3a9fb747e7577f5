// What would a failover take now, and what would be lost?
//
// The time: detection, then the longest way through the steps of an unplanned run up to the one that sees the application healthy from
// outside. A step takes what it took last, a cold restore as much longer as there is more to restore; a step that never ran takes an assumed
// time, and is named. Waiting for people is not forecast.
//
// Hazard: a forecast out of nothing looks like a promise kept. So without a drill or a run there is none.
//
// Invariants (objectives.test.ts): F1 more bytes, or a slower step, never makes the forecast shorter; F2 a step that nothing healthy needs does
// not count.
//
// Pure.

import { FAILOVER_TIMING, promotionBoundMs } from '@holdfast/shared/failover/timing';
import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Step } from '@holdfast/shared/recovery/step-types';

import { hasShownItself, type PastRun, type PastStep, type PlanLook } from './plan-look.ts';

export interface Forecast {
  /** Undefined: nothing was ever measured. */
  readonly rtoMs: number | undefined;
  /** Undefined: a source has nothing stored. */
  readonly rpoMs: number | undefined;
  /** Steps on that way whose time is assumed. */
  readonly assumed: readonly string[];
}

/** For steps that no drill runs, and those that were added since. */
const ASSUMED_MS = 2000;

export function forecastOf(look: Pick<PlanLook, 'plan' | 'runs' | 'sources'>): Forecast {
  const measured = lastTimes(look.runs);
  const rpoMs = forecastRpo(look);
  if (measured.size === 0) return { rtoMs: undefined, rpoMs, assumed: [] };
  const steps = look.plan.steps.filter((step) => step.in.includes('unplanned'));
  const took = (step: Step): number => expectedMs(step, measured.get(step.id), look);
  const way = longestWay(steps, took);
  return {
    rtoMs: detectionMs(look.plan) + way.ms,
    rpoMs,
    assumed: way.steps.filter((step) => measured.get(step.id) === undefined && !isFree(step)).map(({ id }) => id),
  };
}

/** Of each step the newest time that is known. */
function lastTimes(runs: readonly PastRun[]): Map<string, PastStep> {
  const found = new Map<string, PastStep>();
  for (const run of runs.filter(hasShownItself)) {
    for (const step of run.steps) {
      if (step.tookMs !== undefined && step.state === 'ok' && !found.has(step.id)) found.set(step.id, step);
    }
  }
  return found;
}

function expectedMs(
  step: Step,
  last: PastStep | undefined,
  { plan, sources }: Pick<PlanLook, 'plan' | 'sources'>,
): number {
  if (isFree(step)) return 0;
  const took = last?.tookMs ?? (step.type === 'wait' ? step.for : ASSUMED_MS);
  if (!step.type.startsWith('restore.') || plan.placement.mode === 'warm' || !('source' in step)) return took;
  const then = last?.bytes ?? 0;
  const now = sources.get(step.source)?.bytes ?? 0;
  return then > 0 && now > then ? took * (now / then) : took;
}

/** The fence of an automatic failover is the promotion, which detection counts. People take as long as they take. */
function isFree(step: Step): boolean {
  return step.type === 'fence' || step.type === 'approval' || step.type === 'manual';
}

interface Way {
  readonly ms: number;
  readonly steps: readonly Step[];
}

/** The longest of the ways to a step that shows that the application is back. A circle, which no applied plan has, counts once. */
function longestWay(steps: readonly Step[], took: (step: Step) => number): Way {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const known = new Map<string, Way>();
  const wayTo = (step: Step): Way => {
    const before = known.get(step.id);
    if (before !== undefined) return before;
    known.set(step.id, { ms: 0, steps: [] });
    const needed = step.needs.flatMap((need) => byId.get(need) ?? []).map(wayTo);
    const longest = needed.reduce((a, b) => (b.ms > a.ms ? b : a), { ms: 0, steps: [] } as Way);
    const way = { ms: longest.ms + took(step), steps: [...longest.steps, step] };
    known.set(step.id, way);
    return way;
  };
  const ways = lastSteps(steps).map(wayTo);
  return ways.reduce((a, b) => (b.ms > a.ms ? b : a), { ms: 0, steps: [] } as Way);
}

/** What is seen from outside; or traffic; or, in a plan with neither, everything that matters. */
function lastSteps(steps: readonly Step[]): readonly Step[] {
  const outside = steps.filter((step) => step.type === 'check.http' && step.from !== undefined);
  if (outside.length > 0) return outside;
  const traffic = steps.filter((step) => step.type === 'traffic');
  return traffic.length > 0 ? traffic : steps.filter((step) => step.critical);
}

/** Until the standby is promoted; in the other modes until the primary is known to be dead. */
function detectionMs({ detect }: Plan): number {
  const timing = { ...FAILOVER_TIMING, suspectAfterMs: detect.suspectAfter ?? FAILOVER_TIMING.suspectAfterMs };
  return detect.mode === 'automatic' ? promotionBoundMs(timing) : timing.suspectAfterMs + timing.witnessMs;
}

function forecastRpo({ plan, sources }: Pick<PlanLook, 'plan' | 'sources'>): number | undefined {
  let worst = 0;
  for (const name of plan.sources) {
    const lag = sources.get(name)?.lagMs;
    if (lag === undefined) return undefined;
    worst = Math.max(worst, lag);
  }
  return worst;
}
