// Looks at the plans that this replica drives, again and again, and tells people what they should know; and sees to it that a run that has
// ended has its report.
//
// Hazards: a message for every hiccup (what is wrong must be wrong for several looks in a row); a look that fails, and with it the watch
// (it is logged, and the next plan is looked at).
//
// Tested in look-at-plan.db.test.ts.

import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { LogFields } from '@holdfast/shared/runtime/log';

import type { AppliedPlan, Notifier } from '../contract.ts';
import type { Evidence } from '../evidence/evidence.ts';
import { lookAtPlan, type LookDeps, type Serving } from './look-at-plan.ts';
import { alertsOf, healthOf, type PlanHealth } from './plan-health.ts';

export interface PlanWatchDeps extends LookDeps {
  /** The plans that this replica drives now, and who is which. */
  readonly driven: () => Promise<readonly DrivenPlan[]>;
  readonly notifier: Notifier;
  /** Of runs that have ended, whoever drove them. */
  readonly evidence: Pick<Evidence, 'sealEnded'>;
  readonly clock: Clock;
  /** After every look: for readiness, and whatever else depends on it. */
  readonly heard: (planId: string, health: PlanHealth) => void;
  readonly log: (event: string, fields: LogFields) => void;
  readonly everyMs?: number;
}

export interface DrivenPlan {
  readonly applied: AppliedPlan;
  readonly serving: Serving;
  /** A run of it is going on: people know, and what is wrong then is the run's to tell. */
  readonly running: boolean;
}

const EVERY_MS = 30_000;
/** So many looks in a row. */
const PERSISTS = 3;

export interface PlanWatch {
  /** Ends after the look that is under way. */
  stop(): Promise<void>;
}

/** Looks at once, and then every half minute. */
export function watchPlans(deps: PlanWatchDeps): PlanWatch {
  const stopping = new AbortController();
  const work = watch(deps, stopping.signal);
  return {
    async stop() {
      stopping.abort();
      await work;
    },
  };
}

async function watch(deps: PlanWatchDeps, signal: AbortSignal): Promise<void> {
  /** What was wrong at the last looks → how many in a row. */
  let seen: ReadonlyMap<string, number> = new Map();
  while (!signal.aborted) {
    try {
      const wrong = new Map<string, number>();
      for (const driven of await deps.driven()) {
        if (signal.aborted) break;
        for (const key of await lookAndTell(deps, driven, seen)) wrong.set(key, (seen.get(key) ?? 0) + 1);
      }
      seen = wrong;
      await deps.evidence.sealEnded();
    } catch (error) {
      deps.log('plan-watch.catalog-away', { error });
    }
    await sleep(deps.clock, deps.everyMs ?? EVERY_MS, signal);
  }
}

/** The keys of what is wrong with it now. */
async function lookAndTell(
  deps: PlanWatchDeps,
  driven: DrivenPlan,
  seen: ReadonlyMap<string, number>,
): Promise<string[]> {
  const { applied, serving, running } = driven;
  try {
    const look = await lookAtPlan(deps, applied, serving);
    const health = healthOf(look);
    deps.heard(applied.id, health);
    if (running) return [];
    const alerts = alertsOf(applied.id, look, health);
    for (const alert of alerts) {
      if ((seen.get(alert.key) ?? 0) + 1 < PERSISTS) continue;
      await deps.notifier.notify({ ...alert, planId: applied.id, runId: undefined, contacts: 'everybody' });
    }
    return alerts.map(({ key }) => key);
  } catch (error) {
    deps.log('plan-watch.look-failed', { plan: applied.id, error });
    return [];
  }
}
