// Preparations in the catalog: whether one may begin, whether it is still wanted, and how a run adopts it.
//
// Hazard: a preparation that its driver ends in the moment in which a run adopts it. Its row is locked first, and its version goes up with the
// adoption: whichever comes second finds that it came too late (transitions.ts).
//
// Tested in preparation.db.test.ts.

import type pg from 'pg';

import { OFFLINE_AFTER_MS } from '../../fleet/hosts.ts';
import type { Queryable } from '../plans/plan-store.ts';
import { FORGOTTEN_AFTER_MS, restMs, type Present } from './preparation.ts';
import type { RunRow } from './run-view.ts';

/** later: something is in the way, and may not be for long. never: the suspicion has its run. */
export type Chance = 'now' | 'later' | 'never';

const ENDED_MAX = 20;

/**
 * PR2, PR7.
 * @param primary the host that is suspected
 * @param atOnce so many of a domain are at work at the same time
 */
export async function chanceOf(
  client: Queryable,
  plan: { id: string; domainId: string },
  primary: string,
  atOnce: number,
): Promise<Chance> {
  const { rows } = await client.query<{
    placed: boolean;
    there: boolean;
    anyRun: boolean;
    realRun: boolean;
    working: number;
    now: Date;
  }>(
    `select a.primary_host = $3 as placed, h.connection_id <> '' and h.last_seen_at > now() - interval '${OFFLINE_AFTER_MS} ms' as there,
       exists (select from run r where r.plan_id = a.plan_id and r.finished_at is null) as "anyRun",
       exists (select from run r where r.plan_id = a.plan_id and r.finished_at is null and r.mode <> 'drill') as "realRun",
       (select count(*) from run r join plan p on p.id = r.plan_id where p.domain_id = $2 and r.ahead and r.finished_at is null
          and exists (select from run_step s where s.run_id = r.id and s.state in ('dispatched', 'running', 'verifying', 'retrying'))) as working,
       now()
     from application a join host h on h.id = a.standby_host where a.plan_id = $1`,
    [plan.id, plan.domainId, primary],
  );
  const [row] = rows;
  if (row === undefined || !row.placed || row.realRun) return 'never';
  // When a site is lost its standbys are not all set to work at once.
  if (row.anyRun || !row.there || row.working >= atOnce) return 'later';
  const { rows: ended } = await client.query<{ at: Date }>(
    `select finished_at as at from run where plan_id = $1 and ahead and finished_at > now() - interval '${FORGOTTEN_AFTER_MS} ms'
     order by finished_at desc limit ${ENDED_MAX}`,
    [plan.id],
  );
  return restMs(
    ended.map(({ at }) => at),
    row.now,
  ) === 0
    ? 'now'
    : 'later';
}

export async function whatCameMeanwhile(
  client: Queryable,
  { id, planId, fromHost }: RunRow,
): Promise<Pick<Present, 'isHeard' | 'otherRun'>> {
  const { rows } = await client.query<{ isHeard: boolean; hasReal: boolean; hasDrill: boolean }>(
    `select coalesce(h.last_seen_at > r.started_at, false) as "isHeard",
       exists (select from run o where o.plan_id = $2 and o.id <> $1 and o.finished_at is null and o.mode <> 'drill') as "hasReal",
       exists (select from run o where o.plan_id = $2 and o.finished_at is null and o.mode = 'drill') as "hasDrill"
     from run r join host h on h.id = $3 where r.id = $1`,
    [id, planId, fromHost],
  );
  const { isHeard = false, hasReal = false, hasDrill = false } = rows[0] ?? {};
  return { isHeard, otherRun: hasReal ? 'real' : hasDrill ? 'drill' : undefined };
}

/** The id of the one that a run of this revision and direction adopts: its row is locked. */
export async function lockPreparation(
  client: pg.ClientBase,
  plan: { readonly id: string; readonly revision: number },
  way: { readonly from: string; readonly to: string },
): Promise<string | undefined> {
  const { rows } = await client.query<{ id: string }>(
    `select id from run where plan_id = $1 and state = 'preparing' and revision = $2 and from_host = $3 and to_host = $4 for update`,
    [plan.id, plan.revision, way.from, way.to],
  );
  return rows[0]?.id;
}

/** What did not go well ahead is tried once more at once: nobody was told that it failed, or asked what to do. How long it took is counted from then. */
export async function tryAgainWhatFailed(client: pg.ClientBase, runId: string): Promise<void> {
  await client.query(
    `update run_step set state = 'retrying', due_at = now(), started_at = null, finished_at = null
     where run_id = $1 and state in ('failed', 'timed-out', 'unknown')`,
    [runId],
  );
}
