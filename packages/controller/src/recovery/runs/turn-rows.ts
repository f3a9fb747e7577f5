// The domain's other runs and the failovers that are expected, as the rule of turns (turn.ts) wants them.
//
// Hazard: a dependency that is neither here nor there: its promotion is in its row already, and its run is not made yet. So an epoch that came by
// itself and has no run counts as expected (run-news.ts makes that run).
//
// Tested in turn-rows.db.test.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';

import type { ApplicationLook } from '../contract.ts';
import { plansAt, type Queryable } from '../plans/plan-store.ts';
import { isExpected, isSilent } from './expected.ts';
import type { RunRow } from './run-view.ts';
import { turnOf, whyNotYet, type DueRun } from './turn.ts';

export interface TurnRules {
  /** Runs of one domain that work at the same time. */
  readonly atOnce: number;
  /** What this replica knows of who serves, whoever drives it. */
  readonly look: (planId: string) => ApplicationLook | undefined;
  /** The clock of those looks. */
  readonly wallMs: () => number;
}

/** Of the others: beyond it the order is not kept. */
const DUE_MAX = 200;

/** The last approval that was needed; else when it was made. */
const SINCE = `coalesce((select a.at from run_approval a where a.run_id = r.id and a.step_id = '' and r.approvals_needed > 0
  order by a.at offset greatest(r.approvals_needed - 1, 0) limit 1), r.started_at)`;

type DueRow = Pick<RunRow, 'id' | 'planId' | 'revision' | 'state' | 'mode'> & {
  readonly since: Date;
  readonly agreed: boolean;
};

/** For people: why its turn has not come; undefined: it has, or it is not its turn that it waits for. */
export async function whatComesFirst(
  client: Queryable,
  run: RunRow,
  now: Date,
  rules: TurnRules,
): Promise<string | undefined> {
  if (run.mode === 'drill' || turnOf(run.state, true) !== 'waiting') return undefined;
  const { rows } = await client.query<DueRow>(
    `select r.id, r.plan_id as "planId", r.revision, r.state, r.mode, ${SINCE} as since,
       r.approvals_needed <= (select count(*) from run_approval a where a.run_id = r.id and a.step_id = '') as agreed
     from run r join plan p on p.id = r.plan_id
     where p.domain_id = $1 and r.mode <> 'drill' and not r.ahead and r.finished_at is null
     order by (r.id = $2) desc, r.mode desc, r.started_at limit ${DUE_MAX}`,
    [run.domainId, run.id],
  );
  const plans = await plansAt(client, rows);
  const due = rows.flatMap(({ id, planId, state, agreed, mode, since }) => {
    const plan = plans.get(planId);
    if (plan === undefined) return [];
    return [dueRun(plan, { id, planned: mode === 'planned', sinceMs: since.getTime(), state: turnOf(state, agreed) })];
  });
  const own = due.find(({ id }) => id === run.id);
  if (own?.state !== 'waiting') return undefined;
  const others = due.filter((other) => other !== own);
  // Only who depends on something asks what may still come.
  const waits = due.some(({ dependsOn, state }) => state === 'waiting' && dependsOn.length > 0);
  const expected = waits ? await expectedRuns(client, run.domainId, rows, now, rules) : [];
  return whyNotYet(own, [...others, ...expected], now.getTime(), rules.atOnce);
}

function dueRun({ metadata }: Plan, is: Pick<DueRun, 'id' | 'planned' | 'sinceMs' | 'state'>): DueRun {
  const { name, priority, dependsOn } = metadata;
  return { plan: name, priority, dependsOn, ...is };
}

async function expectedRuns(
  client: Queryable,
  domainId: string,
  live: readonly DueRow[],
  now: Date,
  { look, wallMs }: TurnRules,
): Promise<DueRun[]> {
  const { rows } = await client.query<{ planId: string; revision: number; promoted: boolean }>(
    `select p.id as "planId", p.revision, a.automatic and a.phase = 'open'
       and not exists (select from run r where r.plan_id = p.id and r.mode <> 'drill' and not r.ahead and r.epoch >= a.epoch) as promoted
     from plan p join application a on a.plan_id = p.id where p.domain_id = $1 and p.removed_at is null`,
    [domainId],
  );
  const here = new Set(live.flatMap(({ planId, mode }) => (mode === 'unplanned' ? [planId] : [])));
  const nowMs = wallMs();
  const known = rows.flatMap((row) => {
    const looked = here.has(row.planId) ? undefined : look(row.planId);
    return looked !== undefined && (row.promoted || isSilent(looked, nowMs)) ? [{ ...row, looked }] : [];
  });
  const plans = await plansAt(client, known);
  return known.flatMap(({ planId, promoted, looked }) => {
    const plan = plans.get(planId);
    if (plan === undefined || !(promoted || isExpected(plan, looked, nowMs))) return [];
    return [dueRun(plan, { id: planId, planned: false, sinceMs: now.getTime(), state: 'expected' })];
  });
}
