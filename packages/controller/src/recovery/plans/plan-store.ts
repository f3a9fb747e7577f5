// Plans as rows: the newest revision of each, every revision's document, and who its hosts are.
//
// Tested in api/recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { didYouMean, nearNames } from '@holdfast/shared/base/near-names';
import { checkPlan } from '@holdfast/shared/recovery/check-plan';
import type { Plan } from '@holdfast/shared/recovery/plan';
import type pg from 'pg';

import type { AppliedPlan } from '../contract.ts';

export type Queryable = pg.ClientBase | pg.Pool;

export interface PlanRow {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  /** The newest. */
  readonly revision: number;
  readonly document: string;
  /** Every step's precheck was well then, on the real hosts; null: it is unverified. */
  readonly verifiedAt: Date | null;
  readonly unverifiedBecause: string;
}

export interface RevisionRow {
  readonly revision: number;
  readonly appliedAt: Date;
  readonly appliedBy: string;
}

const SELECT_PLAN = `
  select p.id, p.domain_id as "domainId", p.name, p.revision, r.document, p.verified_at as "verifiedAt",
    p.unverified_because as "unverifiedBecause"
  from plan p join plan_revision r on r.plan_id = p.id and r.revision = p.revision`;

/** By name. */
export async function listPlans(client: Queryable, domainId: string): Promise<PlanRow[]> {
  const { rows } = await client.query<PlanRow>(
    `${SELECT_PLAN} where p.domain_id = $1 and p.removed_at is null order by p.name`,
    [domainId],
  );
  return rows;
}

/** Throws NOT_FOUND. */
export async function findPlan(client: Queryable, domainId: string, name: string): Promise<PlanRow> {
  const plans = await listPlans(client, domainId);
  const found = plans.find((plan) => plan.name === name);
  if (found !== undefined) return found;
  const near = didYouMean(
    nearNames(
      name,
      plans.map((plan) => plan.name),
    ),
  );
  throw new HoldfastError('NOT_FOUND', `there is no plan ${JSON.stringify(name.slice(0, 80))}`, {
    hint: near || 'See: holdfast plan ls',
  });
}

/** Newest first. */
export async function listRevisions(client: Queryable, planId: string): Promise<RevisionRow[]> {
  const { rows } = await client.query<RevisionRow>(
    `select revision, applied_at as "appliedAt", applied_by as "appliedBy" from plan_revision where plan_id = $1
     order by revision desc limit 1000`,
    [planId],
  );
  return rows;
}

/** Throws NOT_FOUND. */
export async function documentOf(client: Queryable, planId: string, revision: number): Promise<string> {
  const { rows } = await client.query<{ document: string }>(
    'select document from plan_revision where plan_id = $1 and revision = $2',
    [planId, revision],
  );
  if (rows[0] === undefined) throw new HoldfastError('NOT_FOUND', `the plan has no revision ${revision}`);
  return rows[0].document;
}

/** Every plan that is applied and not removed, in all domains. One whose document this program can't read any more is left out, and told. */
export async function appliedPlans(
  client: Queryable,
  unreadable: (planId: string, name: string) => void,
): Promise<AppliedPlan[]> {
  const { rows } = await client.query<PlanRow>(`${SELECT_PLAN} where p.removed_at is null order by p.id`);
  const applied: AppliedPlan[] = [];
  for (const row of rows) {
    const read = readPlan(row);
    if (read === undefined) unreadable(row.id, row.name);
    else applied.push(await asApplied(client, row, read));
  }
  return applied;
}

/** The plan in this revision, or the newest. Throws NOT_FOUND, FAILED_PRECONDITION for a document that can't be read any more. */
export async function appliedPlan(client: Queryable, planId: string, revision?: number): Promise<AppliedPlan> {
  const { rows } = await client.query<PlanRow>(
    `select p.id, p.domain_id as "domainId", p.name, r.revision, r.document, p.verified_at as "verifiedAt",
       p.unverified_because as "unverifiedBecause"
     from plan p join plan_revision r on r.plan_id = p.id and r.revision = coalesce($2, p.revision) where p.id = $1`,
    [planId, revision ?? null],
  );
  const row = rows[0];
  if (row === undefined) throw new HoldfastError('NOT_FOUND', 'there is no such plan');
  const read = readPlan(row);
  if (read === undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', `revision ${row.revision} of ${row.name} can't be read any more`, {
      hint: 'See what is wrong with: holdfast plan check FILE; then apply it again.',
    });
  }
  return await asApplied(client, row, read);
}

/** Of revisions, each once; those that can't be read any more are left out. One query for what was not read before. */
export async function plansAt(
  client: Queryable,
  revisions: readonly { readonly planId: string; readonly revision: number }[],
): Promise<ReadonlyMap<string, Plan>> {
  const unread = revisions.filter(({ planId, revision }) => !parsed.has(`${planId} ${revision}`));
  if (unread.length > 0) {
    const { rows } = await client.query<Pick<PlanRow, 'id' | 'revision' | 'document'>>(
      `select r.plan_id as id, r.revision, r.document from plan_revision r
         join unnest($1::text[], $2::int[]) as w (id, revision) on w.id = r.plan_id and w.revision = r.revision`,
      [unread.map(({ planId }) => planId), unread.map(({ revision }) => revision)],
    );
    for (const row of rows) readPlan(row);
  }
  return new Map(
    revisions.flatMap(({ planId, revision }): [string, Plan][] => {
      const read = parsed.get(`${planId} ${revision}`);
      return read === undefined ? [] : [[planId, read.plan]];
    }),
  );
}

async function asApplied(client: Queryable, row: PlanRow, { plan, findings }: ReadPlan): Promise<AppliedPlan> {
  const { id, domainId, name, revision } = row;
  return { id, domainId, name, revision, plan, findings, hostIds: await hostIdsOf(client, domainId, plan) };
}

/** Of those that there are. */
async function hostIdsOf(client: Queryable, domainId: string, plan: Plan): Promise<Map<string, string>> {
  const names = [...plan.placement.hosts, ...(plan.detect.witnesses?.hosts ?? [])];
  const { rows } = await client.query<{ id: string; name: string }>(
    'select id, name from host where domain_id = $1 and name = any($2)',
    [domainId, names],
  );
  return new Map(rows.map((host) => [host.name, host.id]));
}

const PARSED_MAX = 512;
const parsed = new Map<string, ReadPlan>();

type ReadPlan = Pick<AppliedPlan, 'plan' | 'findings'>;

/**
 * A revision never changes, and reading one takes milliseconds. What a newer version would refuse was accepted when it was applied: a host
 * that dies after an upgrade is no time to say so. People hear of it while all is well (readiness.ts).
 */
function readPlan(row: Pick<PlanRow, 'id' | 'revision' | 'document'>): ReadPlan | undefined {
  const key = `${row.id} ${row.revision}`;
  const known = parsed.get(key);
  if (known !== undefined) return known;
  const { plan, findings } = checkPlan(row.document);
  if (plan === undefined) return undefined;
  if (parsed.size >= PARSED_MAX) parsed.clear();
  const read = { plan, findings };
  parsed.set(key, read);
  return read;
}
