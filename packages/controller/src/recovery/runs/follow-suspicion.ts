// From the suspicion of a primary to a preparation (preparation.ts): begun by whoever drives the application.
//
// Hazard: a suspicion that nobody acts on because something was in the way when it was told. So while it lasts it is looked at again; one that
// has got its preparation, or a run, gets no second one.
//
// Tested in preparation.db.test.ts.

import { toHoldfastError } from '@holdfast/shared/base/errors';
import { preparesAhead } from '@holdfast/shared/recovery/run-ahead';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { LogFields } from '@holdfast/shared/runtime/log';

import type { Catalog } from '../../catalog/catalog.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import type { AppliedPlan, Failover } from '../contract.ts';
import { appliedPlan } from '../plans/plan-store.ts';
import type { Engine } from './engine-contract.ts';
import { chanceOf, type Chance } from './preparation-rows.ts';
import { holdStarts, insertRun } from './start-run.ts';
import { runsIn } from './step-policy.ts';
import { holdTerm } from './transitions.ts';

export interface SuspicionDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  readonly replica: string;
  readonly clock: Clock;
  /** Preparations of one domain that are at work at the same time, as runs. */
  readonly atOnce: number;
  readonly failover: Pick<Failover, 'look' | 'subscribe'>;
  readonly engine: Pick<Engine, 'termOf'>;
  readonly log: (event: string, fields: LogFields) => void;
}

export interface SuspicionFollower {
  /** Of a plan that this replica drives already: what was told before it listened. */
  look(planId: string): void;
  /** Begins nothing any more. */
  stop(): Promise<void>;
}

const LOOK_AGAIN_MS = 5_000;

export function followSuspicion(deps: SuspicionDeps): SuspicionFollower {
  const open = new Set<string>();
  /** Each once: where a look takes longer than it is until the next one, they would pile up. */
  const queued = new Set<string>();
  let timer: Timer | undefined;
  let busy: Promise<void> = Promise.resolve();
  let stopped = false;

  const follower: SuspicionFollower = {
    look(planId) {
      if (deps.failover.look(planId)?.suspected !== true || stopped) return;
      open.add(planId);
      enqueue(planId);
    },
    async stop() {
      stopped = true;
      unsubscribe();
      timer?.cancel();
      await busy;
    },
  };
  const unsubscribe = deps.failover.subscribe(({ kind, planId }) => {
    if (kind === 'suspected' || kind === 'driving') follower.look(planId);
    if (kind === 'lost' || kind === 'promoted') open.delete(planId);
  });

  function enqueue(planId: string): void {
    if (queued.has(planId)) return;
    queued.add(planId);
    busy = busy.then(() => consider(planId));
  }

  async function consider(planId: string): Promise<void> {
    queued.delete(planId);
    if (stopped || !open.has(planId)) return;
    const chance = await begin(deps, planId).catch((error: unknown): Chance => {
      deps.log('run.preparation-failed', { plan: planId, error });
      return 'later';
    });
    if (chance !== 'later') open.delete(planId);
    if (open.size > 0 && !stopped) timer ??= deps.clock.after(LOOK_AGAIN_MS, lookAgain, { background: true });
  }

  function lookAgain(): void {
    timer = undefined;
    for (const planId of open) enqueue(planId);
  }

  return follower;
}

/** now: it has begun. */
async function begin(deps: SuspicionDeps, planId: string): Promise<Chance> {
  const { catalog, events, failover, engine, replica } = deps;
  const look = failover.look(planId);
  if (look?.suspected !== true || !look.driving) return 'never';
  const term = engine.termOf(planId);
  if (term === undefined || look.splitBrain || look.unreported.length > 0) return 'later';
  const applied = await appliedPlan(catalog.pool, planId);
  if (!hasWork(applied)) return 'never';
  const writer = { kind: 'driver', replica, term } as const;
  const nothing = { atMs: 0, sources: [], findings: [] };
  try {
    return await catalog.transaction(async (client) => {
      // Nobody is promoted, and no run is started, between the look and the beginning.
      await holdStarts(client, planId);
      await holdTerm(client, planId, writer);
      const chance = await chanceOf(client, applied, look.row.primary, deps.atOnce);
      if (chance !== 'now') return chance;
      const start = { applied, mode: 'unplanned', ahead: true, approvalsNeeded: 0, fenceConfirmed: false } as const;
      const runId = await insertRun(client, { ...start, signs: undefined, point: nothing, writer });
      await events.tell(client, { kind: 'run', runId, planId, version: 0 });
      deps.log('run.prepares', { run: runId, plan: applied.name });
      return chance;
    });
  } catch (thrown) {
    const { code } = toHoldfastError(thrown);
    if (code === 'BUSY' || code === 'NOT_FOUND') return 'never';
    throw thrown;
  }
}

function hasWork({ plan }: AppliedPlan): boolean {
  return plan.steps.some((step) => runsIn(step, 'unplanned') && preparesAhead(step, plan));
}
