// What the standby said last of the places that the plan's restores go to, as facts of readiness. Rows, and what they mean.
//
// Hazard: a host that was the primary still holds most of what a cold restore brings, so little room is no reason to disarm there; elsewhere the
// restore would fail in the middle of a failover.
//
// Tested in standby-watch.db.test.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Step } from '@holdfast/shared/recovery/step-types';
import type pg from 'pg';

import { isRestore } from '../runs/step-policy.ts';
import type { Fact } from './plan-look.ts';

export interface StandbyLook {
  readonly stepId: string;
  readonly hostId: string;
  readonly hostName: string;
  /** Of the catalog's clock. */
  readonly ageMs: number;
  readonly ok: boolean;
  readonly message: string;
  readonly remedy: string;
  /** The host served this application once. */
  readonly hasServed: boolean;
}

/** What is well is looked at again after this; what is not, at the next look, so that mending it shows. */
export const WELL_FOR_MS = 600_000;
/** A host that is away says so by being away. */
const STALE_MS = 3_600_000;

/** The steps that the standby is asked about. */
export function lookedAt({ steps }: Pick<Plan, 'steps'>): Step[] {
  return steps.filter((step) => isRestore(step.type) && step.in.some((mode) => mode !== 'drill'));
}

export function isDue(look: StandbyLook | undefined, standby: string): boolean {
  return look === undefined || look.hostId !== standby || !look.ok || look.ageMs >= WELL_FOR_MS;
}

/** @param standby the id of who it is now */
export function standbyFacts(plan: Pick<Plan, 'steps'>, looks: readonly StandbyLook[], standby: string): Fact[] {
  return lookedAt(plan).flatMap(({ id }): Fact[] => {
    const look = looks.find(({ stepId }) => stepId === id);
    if (look === undefined || look.hostId !== standby || look.ageMs >= STALE_MS) return [];
    const message = `${look.hostName}: ${look.message}`;
    if (look.ok) return [{ level: 'ok', subject: id, message, remedy: '' }];
    return [{ level: look.hasServed ? 'warning' : 'error', subject: id, message, remedy: look.remedy }];
  });
}

export async function standbyLooks(pool: pg.Pool, planId: string): Promise<StandbyLook[]> {
  const { rows } = await pool.query<StandbyLook>(
    `select l.step_id as "stepId", l.host_id as "hostId", h.name as "hostName", l.ok, l.message, l.remedy,
       floor(extract(epoch from now() - l.looked_at) * 1000)::bigint as "ageMs",
       exists (select from run r where r.plan_id = l.plan_id and r.from_host = l.host_id and r.mode <> 'drill') as "hasServed"
     from standby_look l join host h on h.id = l.host_id where l.plan_id = $1`,
    [planId],
  );
  return rows;
}

export async function keepLook(
  client: pg.ClientBase,
  look: Pick<StandbyLook, 'stepId' | 'hostId' | 'ok' | 'message' | 'remedy'> & { readonly planId: string },
): Promise<void> {
  await client.query(
    `insert into standby_look (plan_id, step_id, host_id, looked_at, ok, message, remedy) values ($1, $2, $3, now(), $4, $5, $6)
     on conflict (plan_id, step_id) do update set host_id = excluded.host_id, looked_at = excluded.looked_at, ok = excluded.ok,
       message = excluded.message, remedy = excluded.remedy`,
    [look.planId, look.stepId, look.hostId, look.ok, look.message.slice(0, 1000), look.remedy.slice(0, 1000)],
  );
}
