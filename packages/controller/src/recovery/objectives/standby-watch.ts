// Asks the standby of each plan that this replica drives, again and again, whether its restores could go where they are to go: the same
// question as a live check's, a few calls to its file system.
//
// Hazards: a standby that is asked while a run needs it (then it is left alone); a job that every question leaves behind (its answer is kept in
// one row, and the job goes); a host that does not answer, and with it all other plans (each has its own time, and the next look).
//
// Invariant (standby-watch.db.test.ts): SW1 an answer is kept as one row of the step, and leaves no job.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep } from '@holdfast/shared/runtime/clock';
import type { LogFields } from '@holdfast/shared/runtime/log';

import { listHosts } from '../../fleet/hosts.ts';
import { askPrecheck, type LiveCheckDeps } from '../plans/live-check.ts';
import { isDue, keepLook, lookedAt, standbyLooks } from './standby-looks.ts';
import type { DrivenPlan } from './plan-watch.ts';

export interface StandbyWatchDeps extends LiveCheckDeps {
  readonly driven: () => Promise<readonly DrivenPlan[]>;
  readonly log: (event: string, fields: LogFields) => void;
  readonly everyMs?: number;
}

const EVERY_MS = 30_000;
const LEAST_MS = 1000;
const ANSWER_MS = 15_000;

/** Looks at once, every half minute, and when plans or connections change. Returns what ends it, after what is under way. */
export function watchStandbys(deps: StandbyWatchDeps): { stop(): Promise<void> } {
  const stopping = new AbortController();
  let woken = Promise.withResolvers<void>();
  const unsubscribe = deps.events.subscribe((event) => {
    if (event.kind === 'plans' || event.kind === 'connected') woken.resolve();
  });
  const work = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      woken = Promise.withResolvers();
      try {
        await lookAtStandbys(deps, stopping.signal);
      } catch (error) {
        deps.log('standby-watch.catalog-away', { error });
      }
      await Promise.race([sleep(deps.clock, deps.everyMs ?? EVERY_MS, stopping.signal), woken.promise]);
      // What was just applied is driven by then.
      await sleep(deps.clock, LEAST_MS, stopping.signal);
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

/** One look at all of them. */
export async function lookAtStandbys(deps: StandbyWatchDeps, signal?: AbortSignal): Promise<void> {
  for (const { applied, serving, running } of await deps.driven()) {
    if (signal?.aborted === true) return;
    if (running) continue;
    try {
      await lookAtStandby(deps, { applied, standby: serving.standby }, signal);
    } catch (error) {
      deps.log('standby-watch.look-failed', { plan: applied.id, error });
    }
  }
}

async function lookAtStandby(
  deps: StandbyWatchDeps,
  { applied, standby }: { readonly applied: DrivenPlan['applied']; readonly standby: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { catalog, clock } = deps;
  const looks = new Map((await standbyLooks(catalog.pool, applied.id)).map((look) => [look.stepId, look]));
  const due = lookedAt(applied.plan).filter(({ id }) => isDue(looks.get(id), standby));
  // Most of the time nothing is, and the domain's hosts need not be listed for that.
  if (due.length === 0) return;
  const host = (await listHosts(catalog.pool, applied.domainId)).find(({ id }) => id === standby);
  if (host?.state !== 'online') return;
  for (const step of due) {
    if (signal?.aborted === true) return;
    const deadline = clock.monotonicMs() + ANSWER_MS;
    const asked = await askPrecheck(deps, applied, step, randomUUID(), deadline).catch(unaskable);
    if (asked === undefined) continue;
    const { host: who, jobId, report } = asked;
    await catalog.transaction(async (client) => {
      // Whatever else it is, its host did not say it.
      if (who === host.name && (report?.state === 'ok' || report?.state === 'failed')) {
        const { state, message, remedy } = report;
        const look = { planId: applied.id, stepId: step.id, hostId: standby, ok: state === 'ok', message, remedy };
        await keepLook(client, look);
      }
      // SW1. One that is not over is cancelled, and stays.
      await client.query(`delete from job where id = $1 and state not in ('queued', 'running')`, [jobId]);
    });
    if (report === undefined) return;
  }
}

/** What makes it impossible (nothing is stored yet, a secret is missing) is a fact of its own. */
function unaskable(thrown: unknown): undefined {
  if (!(thrown instanceof HoldfastError)) throw thrown;
}
