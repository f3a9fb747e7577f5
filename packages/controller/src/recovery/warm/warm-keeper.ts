// Keeps the warm copies of the plans that this replica drives: looks every few seconds and after every job, and queues what is due.
//
// Hazards: a copy that is made while a run needs the standby (its jobs are cancelled); a plan that can't be read, or a host that is gone, and
// with it all other copies (each is tried by itself).
//
// Invariants (warm-keeper.db.test.ts): WR1 what is queued is noted in the same transaction, once, however many replicas look; WR2 a copy counts
// as brought on only by a job that ended well; WR3 a real run cancels what is under way; WR4 a copy that is to be released is asked for that until
// its host, which may be away, has done it; WR5 a copy whose host was promoted stays until the run that needs it is over, also before that
// has begun.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { LogFields } from '@holdfast/shared/runtime/log';

import type { Catalog } from '../../catalog/catalog.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import { askCancel, queueJob, type NewJob } from '../../fleet/jobs.ts';
import { dueOf, type WarmCopy, type WarmWish } from './due.ts';
import {
  jobsInTheWay,
  noteFailure,
  noteKeep,
  noteRelease,
  plansAtWork,
  settleJobs,
  takeCopy,
  takeForRelease,
  warmCopies,
  wasPrimary,
  type QueuedKeep,
} from './warm-rows.ts';

export interface PlannedKeep extends Omit<QueuedKeep, 'jobId'> {
  readonly job: NewJob;
}

export interface WarmKeeperDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  readonly clock: Clock;
  readonly log: (event: string, fields: LogFields) => void;
  /** Of the plans that this replica drives; and those plans, for a copy whose plan is another's is left to it. */
  readonly wishes: () => Promise<{ readonly wishes: readonly WarmWish[]; readonly mine: (planId: string) => boolean }>;
  /** Throws what makes it impossible now. */
  readonly planKeep: (wish: WarmWish, takeOver: boolean) => Promise<PlannedKeep>;
  readonly planRelease: (copy: WarmCopy) => Promise<NewJob>;
  readonly everyMs?: number;
}

export interface WarmKeeper {
  /** Ends after what is under way. */
  stop(): Promise<void>;
}

const EVERY_MS = 3000;

export function keepWarmCopies(deps: WarmKeeperDeps): WarmKeeper {
  const stopping = new AbortController();
  let woken = Promise.withResolvers<void>();
  const unsubscribe = deps.events.subscribe((event) => {
    if (event.kind === 'run' || event.kind === 'plans' || event.kind === 'job') woken.resolve();
  });
  const work = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      woken = Promise.withResolvers();
      try {
        await lookOnce(deps);
      } catch (error) {
        deps.log('warm.look-failed', { error: toHoldfastError(error).message });
      }
      // What happens often is looked at together.
      await sleep(deps.clock, LEAST_MS, stopping.signal);
      await Promise.race([sleep(deps.clock, deps.everyMs ?? EVERY_MS, stopping.signal), woken.promise]);
    }
  };
  const running = work();
  return {
    async stop() {
      stopping.abort();
      unsubscribe();
      await running;
    },
  };
}

const LEAST_MS = 250;

/** One look, and what is due after it. */
export async function lookOnce(deps: WarmKeeperDeps): Promise<void> {
  const { pool } = deps.catalog;
  await settleJobs(pool);
  await clearTheWay(deps);
  const { wishes, mine } = await deps.wishes();
  const copies = (await warmCopies(pool)).filter(({ planId }) => mine(planId));
  const actions = dueOf({ wishes, copies, running: await plansAtWork(pool), nowMs: await catalogNowMs(deps.catalog) });
  for (const action of actions) {
    try {
      if (action.kind === 'keep') await keep(deps, action.wish);
      else await release(deps, action.copy);
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      const { planId, sourceId } = action.kind === 'keep' ? action.wish : action.copy;
      deps.log(`warm.${action.kind}-failed`, { plan: planId, source: sourceId, error: error.message });
      if (action.kind === 'keep') await noteFailure(pool, action.wish, error.message);
    }
  }
}

/** WR3. */
async function clearTheWay({ catalog, events }: WarmKeeperDeps): Promise<void> {
  for (const { id, hostId } of await jobsInTheWay(catalog.pool)) {
    await catalog.transaction(async (client) => {
      await askCancel(client, id);
      await events.tell(client, { kind: 'jobs', hostId });
      await events.tell(client, { kind: 'job', jobId: id });
    });
  }
}

/** WR1. */
async function keep(deps: WarmKeeperDeps, wish: WarmWish): Promise<void> {
  const { catalog, events } = deps;
  const planned = await tryPlan(deps, wish);
  await catalog.transaction(async (client) => {
    if (!(await takeCopy(client, wish))) return;
    if (planned instanceof HoldfastError) return;
    const jobId = await queueJob(client, planned.job);
    await noteKeep(client, wish, { ...planned, jobId });
    await events.tell(client, { kind: 'jobs', hostId: wish.hostId });
  });
  if (planned instanceof HoldfastError) throw planned;
}

/** Its row is made even when nothing can be asked for, so that people see why. */
async function tryPlan(deps: WarmKeeperDeps, wish: WarmWish): Promise<PlannedKeep | HoldfastError> {
  try {
    return await deps.planKeep(wish, await wasPrimary(deps.catalog.pool, wish.planId, wish.hostId));
  } catch (error) {
    return toHoldfastError(error);
  }
}

async function release({ catalog, events, planRelease }: WarmKeeperDeps, copy: WarmCopy): Promise<void> {
  const job = await planRelease(copy);
  await catalog.transaction(async (client) => {
    if (!(await takeForRelease(client, copy))) return;
    await noteRelease(client, copy, await queueJob(client, job));
    await events.tell(client, { kind: 'jobs', hostId: copy.hostId });
  });
}

async function catalogNowMs({ pool }: Catalog): Promise<number> {
  const { rows } = await pool.query<{ now: Date }>('select now() as now');
  return rows[0]?.now.getTime() ?? 0;
}
