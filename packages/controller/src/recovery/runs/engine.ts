// The engine: drives the runs of the applications that this replica drives, from row to row.
//
// Hazards: a controller killed at any moment, and another one that goes on; one that was paused and wakes up; a decision made on old rows.
// Nothing is kept here that isn't in rows: a view is loaded, what is due is decided (run-machine.ts), and written under this replica's term
// (transitions.ts), until nothing is due. What is asked of others (effects.ts) may be asked twice, and its answer is a row, too.
//
// Invariants (engine.db.test.ts): EN1 killed between any two transitions, another replica goes on and applies nothing a second time that a
// probe finds done; EN2 one pump a run at a time; EN3 news that get lost cost a few seconds, never a run.

import { toHoldfastError, HoldfastError } from '@holdfast/shared/base/errors';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { LogFields } from '@holdfast/shared/runtime/log';

import type { Catalog } from '../../catalog/catalog.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import type { Failover, Notifier } from '../contract.ts';
import { advance, type Advanced, type JobOrder } from './advance.ts';
import { startEffects } from './effects.ts';
import type { Engine } from './engine-contract.ts';
import { endOf, whyNeedless } from './preparation.ts';
import { whatCameMeanwhile } from './preparation-rows.ts';
import { afterWriting } from './run-alerts.ts';
import { decide } from './run-machine.ts';
import { isEnd } from './run-states.ts';
import type { Decision, RunView } from './run-view.ts';
import { liveRuns, loadView, realRunIsLive, type ReadOutcome } from './run-store.ts';
import { writeTransition, type OrderedJob } from './transitions.ts';
import type { TurnRules } from './turn-rows.ts';

export interface EngineDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  /** As the application's row names its driver. */
  readonly replica: string;
  readonly failover: Failover;
  readonly notifier: Notifier;
  readonly clock: Clock;
  /** Runs of one domain that work at the same time. */
  readonly atOnce: number;
  readonly log: (event: string, fields: LogFields) => void;
  readonly readOutcome: ReadOutcome;
  /** Throws what makes the step impossible. */
  readonly jobsFor: (
    view: RunView,
    order: JobOrder,
    numbers: { readonly term: number; readonly epoch: number },
  ) => Promise<OrderedJob[]>;
  /** The new primary gets the plan's sources; after the commit, what the old one held is kept. Undefined: nothing is due. */
  readonly reprotect: (view: RunView) => Promise<Decision[] | undefined>;
}

/** While anything is under way: hosts go away without a word, and news get lost. */
const LOOK_AGAIN_MS = 2_000;
/** A source that is being backed up, a queue that is full. */
const BUSY_MS = 500;
/** Runs that were started or changed at another replica, whose news got lost. */
const SWEEP_MS = 5_000;
const TURNS_MAX = 2_000;

interface Pump {
  /** What it waits for, as it was told. */
  waits?: string;
  again: boolean;
  timer: Timer | undefined;
  busy: Promise<void> | undefined;
}

export function openEngine(deps: EngineDeps): Engine {
  const terms = new Map<string, number>();
  const pumps = new Map<string, Pump>();
  const effects = new Set<string>();
  const rules: TurnRules = {
    atOnce: deps.atOnce,
    look: (planId) => deps.failover.look(planId),
    wallMs: () => deps.clock.wallMs(),
  };
  let stopped = false;

  const pumpOf = (runId: string): Pump => {
    const known = pumps.get(runId) ?? { again: false, timer: undefined, busy: undefined };
    pumps.set(runId, known);
    return known;
  };
  const later = (runId: string, ms: number): void => {
    const pump = pumpOf(runId);
    pump.timer?.cancel();
    if (!stopped) pump.timer = deps.clock.after(ms, () => void engine.pump(runId), { background: true });
  };

  const engine: Engine = {
    async pump(runId) {
      if (stopped) return;
      const pump = pumpOf(runId);
      pump.again = true;
      pump.busy ??= turn(pump, runId).finally(() => (pump.busy = undefined));
      await pump.busy;
    },
    async drive(planId, term) {
      terms.set(planId, term);
      for (const runId of await liveRuns(deps.catalog.pool, planId)) void engine.pump(runId);
    },
    lose: (planId) => void terms.delete(planId),
    termOf: (planId) => terms.get(planId),
    async apply(runId, decideOn) {
      for (let tries = 0; tries < 20; tries++) {
        const view = await loadView(deps.catalog.pool, runId, deps.readOutcome, rules);
        const decisions = decideOn(view);
        if (decisions.length === 0) return false;
        const term = terms.get(view.run.planId);
        if (term === undefined || stopped) return false;
        if (await write(view, decisions, term)) return true;
      }
      return false;
    },
    async stop() {
      stopped = true;
      sweep.cancel();
      for (const pump of pumps.values()) pump.timer?.cancel();
      await Promise.allSettled([...pumps.values()].flatMap((pump) => (pump.busy === undefined ? [] : [pump.busy])));
    },
  };

  let sweep = deps.clock.after(SWEEP_MS, sweepRuns, { background: true });
  function sweepRuns(): void {
    const work = [...terms.keys()].map(async (planId) => {
      for (const runId of await liveRuns(deps.catalog.pool, planId)) void engine.pump(runId);
    });
    Promise.all(work)
      .catch((error: unknown) => deps.log('run.sweep-failed', { error }))
      .finally(() => {
        if (!stopped) sweep = deps.clock.after(SWEEP_MS, sweepRuns, { background: true });
      });
  }

  async function turn(pump: Pump, runId: string): Promise<void> {
    try {
      // What stops it is looked at inside.
      while (pump.again) {
        pump.again = false;
        pump.timer?.cancel();
        await untilQuiet(runId);
      }
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      const isBusy = error.code === 'BUSY' || error.code === 'LIMIT_EXCEEDED';
      if (!isBusy) deps.log('run.failed', { run: runId, error });
      else await tellWaiting(pump, runId, error.message);
      later(runId, isBusy ? BUSY_MS : LOOK_AGAIN_MS);
    }
  }

  /** A run that stands still looks like one that works: what it waits for is said, once. */
  async function tellWaiting(pump: Pump, runId: string, message: string): Promise<void> {
    if (pump.waits === message) return;
    pump.waits = message;
    const note: Decision = { kind: 'note', step: '', message: `it waits: ${message}` };
    await engine.apply(runId, () => [note]).catch((error: unknown) => deps.log('run.failed', { run: runId, error }));
  }

  async function untilQuiet(runId: string): Promise<void> {
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      const view = await loadView(deps.catalog.pool, runId, deps.readOutcome, rules);
      const term = terms.get(view.run.planId);
      if (isEnd(view.run.state)) return void pumps.delete(runId);
      if (term === undefined || stopped) return;
      const decisions = await dueNow(view);
      if (decisions.length === 0) return rest(view);
      if (!(await write(view, decisions, term))) await refreshTerm(view.run.planId, term);
    }
    deps.log('run.spins', { run: runId });
    later(runId, LOOK_AGAIN_MS);
  }

  async function dueNow(view: RunView): Promise<readonly Decision[]> {
    const { run } = view;
    if (run.mode === 'drill' && run.state !== 'cleaning' && (await realRunIsLive(deps.catalog.pool, run.planId))) {
      return [{ kind: 'run', event: 'tidy', reason: 'a real run came' }];
    }
    if (run.state === 'preparing') {
      const came = await whatCameMeanwhile(deps.catalog.pool, run);
      const needless = whyNeedless(run, { look: deps.failover.look(run.planId), ...came });
      if (needless !== undefined) return endOf(view, needless);
    }
    const decisions = decide(view);
    return decisions.length > 0 ? decisions : ((await deps.reprotect(view)) ?? []);
  }

  /** Written in vain: either the rows changed, or somebody else drives. */
  async function refreshTerm(planId: string, term: number): Promise<void> {
    const { rowCount } = await deps.catalog.pool.query(
      'select 1 from application where plan_id = $1 and driver = $2 and term = $3',
      [planId, deps.replica, term],
    );
    if (rowCount === 0 && terms.get(planId) === term) terms.delete(planId);
  }

  async function write(view: RunView, decisions: readonly Decision[], term: number): Promise<boolean> {
    const { advanced, jobs } = await prepare(view, decisions, term);
    const writer = { kind: 'driver', replica: deps.replica, term } as const;
    const written = await writeTransition(deps, { view, advanced, jobs, writer });
    if (written) await afterWriting(deps, view, advanced);
    return written;
  }

  /** Jobs are looked up before anything is written. What can't be asked of a host has failed. */
  async function prepare(
    view: RunView,
    decisions: readonly Decision[],
    term: number,
  ): Promise<{ advanced: Advanced; jobs: OrderedJob[] }> {
    const advanced = advance(view, decisions);
    // What a snapshot has just brought is restored by the next decision, not by this one.
    const after = { ...view, run: advanced.run };
    const jobs: OrderedJob[] = [];
    for (const order of advanced.orders) {
      try {
        jobs.push(...(await deps.jobsFor(after, order, { term, epoch: view.serving.epoch })));
      } catch (thrown) {
        const error = toHoldfastError(thrown);
        if (error.code === 'INTERNAL' || error.code === 'UNREACHABLE') throw error;
        return prepare(view, withFailure(view, decisions, order.step, error), term);
      }
    }
    return { advanced, jobs };
  }

  function rest(view: RunView): void {
    for (const { key, work } of startEffects(deps, engine, view)) {
      if (effects.has(key)) continue;
      effects.add(key);
      void work()
        .catch((error: unknown) => deps.log('run.effect-failed', { run: view.run.id, effect: key, error }))
        .finally(() => {
          effects.delete(key);
          void engine.pump(view.run.id);
        });
    }
    if (view.notYet !== undefined) void tellWaiting(pumpOf(view.run.id), view.run.id, view.notYet);
    const now = view.now.getTime();
    const dues = [view.run.dueAt, ...view.steps.map((step) => step.dueAt)].flatMap((due) =>
      due === null ? [] : Math.max(0, due.getTime() - now),
    );
    const moving =
      view.steps.some(({ state }) => MOVING.has(state)) || WATCHED.has(view.run.state) || view.notYet !== undefined;
    const next = Math.min(...dues.filter((ms) => ms > 0), moving ? LOOK_AGAIN_MS : Infinity);
    if (Number.isFinite(next)) later(view.run.id, Math.min(next + 5, 60_000));
  }

  return engine;
}

const MOVING = new Set(['dispatched', 'running', 'verifying', 'undoing', 'unknown', 'retrying']);
const WATCHED = new Set([
  'preparing',
  'prechecking',
  'running',
  'rolling-back',
  'reprotecting',
  'cleaning',
  'awaiting-commit',
]);

/** The same decisions, but that the step has failed because its jobs can't be made. */
function withFailure(
  view: RunView,
  decisions: readonly Decision[],
  stepId: string,
  error: HoldfastError,
): readonly Decision[] {
  const report = { message: error.message, remedy: error.hint };
  const fail: Decision = { kind: 'step', step: stepId, event: 'fail', report };
  return decisions.flatMap((decision): Decision[] => {
    switch (decision.kind) {
      case 'step': {
        if (decision.step !== stepId || decision.phase === undefined) return [decision];
        const { phase: _phase, ...bare } = decision;
        return [bare, fail];
      }
      case 'phase':
        return decision.step === stepId ? [fail] : [decision];
      case 'prechecks': {
        if (!decision.steps.includes(stepId)) return [decision];
        const reason = `"${stepId}": ${error.message}`;
        return [{ kind: 'run', event: view.run.mode === 'drill' ? 'tidy' : 'fail', reason }];
      }
      case 'sandbox':
        if (stepId !== '') return [decision];
        return [{ kind: 'run', event: decision.phase === 'open' ? 'fail' : 'left-over', reason: error.message }];
      default:
        return [decision];
    }
  });
}
