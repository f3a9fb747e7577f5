// What failover says, as runs: this replica drives, a primary is dead, a standby was promoted, two hosts claim to serve.
//
// Hazard: a promotion whose run nobody starts, because the replica that was told died at that moment. So who begins to drive looks at the
// row, too: an epoch that came by itself has a run, or gets one.
//
// Tested in run-news.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { LogFields } from '@holdfast/shared/runtime/log';

import type { Catalog } from '../../catalog/catalog.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import type { AppliedPlan, Failover, FailoverNews, Notifier, SignsOfDeath } from '../contract.ts';
import { appliedPlan } from '../plans/plan-store.ts';
import type { Engine } from './engine-contract.ts';
import { pinPoint, type CandidatesOf } from './run-desk.ts';
import { isEnd } from './run-states.ts';
import { liveRuns, realRunIsLive } from './run-store.ts';
import type { Decision } from './run-view.ts';
import { insertRun } from './start-run.ts';

export interface RunNewsDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  readonly replica: string;
  readonly failover: Failover;
  readonly notifier: Notifier;
  readonly engine: Engine;
  readonly candidates: CandidatesOf;
  readonly log: (event: string, fields: LogFields) => void;
}

/** Returns the function that ends it. */
export function followNews(deps: RunNewsDeps): () => void {
  const { engine, catalog, failover, events } = deps;
  const heard = (news: FailoverNews): void => {
    take(deps, news).catch((error: unknown) =>
      deps.log('run.news-failed', { plan: news.planId, news: news.kind, error }),
    );
  };
  const unsubscribes = [
    failover.subscribe(heard),
    events.subscribe((event) => {
      if (event.kind === 'run' && engine.termOf(event.planId) !== undefined) void engine.pump(event.runId);
      if (event.kind !== 'job') return;
      runOfJob(catalog, event.jobId).then(
        (runId) => (runId === undefined ? undefined : void engine.pump(runId)),
        (error: unknown) => deps.log('run.news-failed', { job: event.jobId, error }),
      );
    }),
  ];
  return () => {
    for (const unsubscribe of unsubscribes) unsubscribe();
  };
}

async function runOfJob({ pool }: Catalog, jobId: string): Promise<string | undefined> {
  const { rows } = await pool.query<{ run: string }>('select run_id as run from run_job where job_id = $1', [jobId]);
  return rows[0]?.run;
}

async function take(deps: RunNewsDeps, news: FailoverNews): Promise<void> {
  const { engine, catalog } = deps;
  switch (news.kind) {
    case 'driving':
      await engine.drive(news.planId, news.term);
      return await startForgotten(deps, news.planId, news.term);
    case 'lost':
      return engine.lose(news.planId);
    case 'suspected':
      // follow-suspicion.ts
      return;
    case 'dead':
      return await dead(deps, await appliedPlan(catalog.pool, news.planId), news.signs);
    case 'promoted': {
      const term = engine.termOf(news.planId);
      if (news.automatic && term !== undefined) await startPromoted(deps, news.planId, news.epoch, news.signs, term);
      for (const runId of await liveRuns(catalog.pool, news.planId)) void engine.pump(runId);
      return;
    }
    default:
      for (const runId of await liveRuns(catalog.pool, news.planId)) {
        await engine.apply(runId, (view): Decision[] => {
          const { state, mode, ahead } = view.run;
          const frozen = state === 'split-brain-suspected' || mode === 'drill' || ahead || isEnd(state);
          return frozen ? [] : [{ kind: 'run', event: 'freeze', reason: 'two hosts claim to serve' }];
        });
      }
  }
}

/** An epoch that came by itself, and has no run: whoever drove died in between. */
async function startForgotten(deps: RunNewsDeps, planId: string, term: number): Promise<void> {
  const { rows } = await deps.catalog.pool.query<{ epoch: number }>(
    `select epoch from application a where plan_id = $1 and automatic and phase = 'open'
       and not exists (select from run r where r.plan_id = a.plan_id and r.mode <> 'drill' and not r.ahead and r.epoch >= a.epoch)`,
    [planId],
  );
  if (rows[0] !== undefined) {
    await startPromoted(deps, planId, rows[0].epoch, deps.failover.look(planId), term);
  }
}

/** SR2. Another run that is live is of an earlier epoch: it has come to nothing. */
async function startPromoted(
  deps: RunNewsDeps,
  planId: string,
  epoch: number,
  signs: SignsOfDeath | undefined,
  term: number,
): Promise<void> {
  const { catalog, engine } = deps;
  const applied = await appliedPlan(catalog.pool, planId);
  for (const runId of await liveRuns(catalog.pool, planId)) {
    await engine.apply(runId, ({ run }): Decision[] => {
      if (run.mode === 'drill' || run.ahead || run.epoch >= epoch || isEnd(run.state)) return [];
      return [{ kind: 'run', event: 'fail', reason: `epoch ${epoch} has come meanwhile: another failover` }];
    });
  }
  const asked = { mode: 'unplanned', atMs: 0, latestClean: false } as const;
  const point = await pinPoint(deps, applied, asked, true);
  await insert(deps, applied, { promoted: epoch, approvalsNeeded: 0, signs, point, term });
}

/** Without leases a person decides: the run waits for that, or people are told. */
async function dead(deps: RunNewsDeps, applied: AppliedPlan, signs: SignsOfDeath): Promise<void> {
  const term = deps.engine.termOf(applied.id);
  if (term === undefined || (await realRunIsLive(deps.catalog.pool, applied.id))) return;
  const { mode } = applied.plan.detect;
  if (mode === 'approve') {
    const asked = { mode: 'unplanned', atMs: 0, latestClean: false } as const;
    const point = await pinPoint(deps, applied, asked, false);
    const approvalsNeeded = Math.max(1, applied.plan.approvals?.need ?? 1);
    return await insert(deps, applied, { approvalsNeeded, signs, point, term });
  }
  if (mode !== 'manual') return;
  const since = signs.lastSignOfLifeAt?.toISOString() ?? '';
  await deps.notifier.notify({
    planId: applied.id,
    runId: undefined,
    contacts: 'everybody',
    template: 'primary-dead',
    facts: {
      plan: applied.name,
      'last-sign-of-life': since,
      remedy: `holdfast plan run ${applied.name} --mode unplanned`,
    },
    key: `dead/${applied.id}/${since}`,
  });
}

async function insert(
  deps: RunNewsDeps,
  applied: AppliedPlan,
  start: {
    readonly promoted?: number;
    readonly approvalsNeeded: number;
    readonly signs: SignsOfDeath | undefined;
    readonly point: Awaited<ReturnType<typeof pinPoint>>;
    readonly term: number;
  },
): Promise<void> {
  const writer = { kind: 'driver', replica: deps.replica, term: start.term } as const;
  const { term: _term, ...rest } = start;
  try {
    await deps.catalog.transaction(async (client) => {
      const runId = await insertRun(client, { applied, mode: 'unplanned', fenceConfirmed: false, writer, ...rest });
      await deps.events.tell(client, { kind: 'run', runId, planId: applied.id, version: 0 });
    });
  } catch (thrown) {
    const error = toHoldfastError(thrown);
    // Told before: it has its run.
    if (!(thrown instanceof HoldfastError) || (error.code !== 'ALREADY_EXISTS' && error.code !== 'BUSY')) throw thrown;
  }
}
