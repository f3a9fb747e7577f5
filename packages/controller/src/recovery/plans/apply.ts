// Applying and removing plans.
//
// Hazard: a document that is applied again, years later, would make the first primary the primary again, while the other one serves. So who is
// which is in the application's row, which an apply makes once and never changes.
//
// Invariants (api/recovery.db.test.ts):
//   PA1 an unchanged document makes no revision;
//   PA2 an apply never moves who is which, nor an epoch; other hosts are refused;
//   PA3 nothing is applied that the checks find an error in; nothing is removed while a run of it goes on.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';
import type pg from 'pg';

import { catalogIdentity } from '../../catalog/catalog-identity.ts';
import type { Catalog } from '../../catalog/catalog.ts';
import { appendAudit } from '../../fleet/audit.ts';
import type { FleetEvents } from '../../fleet/fleet-events.ts';
import { HELD_IDLE_MS } from '../failover/lease-rows.ts';
import { placePlan, type PlanFinding } from './placement.ts';
import type { PlanRow } from './plan-store.ts';

export interface PlanDeps {
  readonly catalog: Catalog;
  readonly events: FleetEvents;
  /** This controller process, as the application's row names its driver. */
  readonly replica: string;
}

export interface Applied {
  readonly planId: string;
  /** False: this document is the newest revision already. */
  readonly changed: boolean;
  readonly warnings: readonly PlanFinding[];
}

/** Throws INVALID_ARGUMENT with the first error that was found, FAILED_PRECONDITION for other hosts than before. */
export async function applyPlan(deps: PlanDeps, domainId: string, document: string, actor: string): Promise<Applied> {
  const { plan, findings, hosts } = await placePlan(deps.catalog.pool, domainId, document);
  const errors = findings.filter((finding) => finding.level === 'error');
  const [first] = errors;
  if (plan === undefined || first !== undefined || hosts.length !== 2) {
    const where = first === undefined || first.line === 0 ? '' : `line ${first.line}: `;
    const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
    throw new HoldfastError('INVALID_ARGUMENT', `${where}${first?.message ?? 'the plan has no two hosts'}${more}`, {
      hint: 'See all of it with: holdfast plan check FILE',
    });
  }
  const hostIds = hosts.map((host) => host.id);
  const { planId, changed } = await deps.catalog.transaction(async (client) => {
    const stored = await storeRevision(client, { domainId, plan, document, actor });
    await placeApplication(client, deps.replica, stored.planId, hostIds);
    if (stored.changed) {
      const subject = `${plan.metadata.name} revision ${stored.revision}`;
      await appendAudit(client, { domainId, actor, action: 'plan.apply', subject });
      await deps.events.tell(client, { kind: 'plans' });
    }
    return stored;
  });
  return { planId, changed, warnings: findings.filter((finding) => finding.level === 'warning') };
}

interface Revision {
  readonly planId: string;
  readonly revision: number;
  readonly changed: boolean;
}

async function storeRevision(
  client: pg.ClientBase,
  given: { domainId: string; plan: Plan; document: string; actor: string },
): Promise<Revision> {
  const { domainId, plan, document, actor } = given;
  await holdNotForLong(client);
  await client.query(
    `insert into plan (id, domain_id, name, revision) values ($1, $2, $3, 0)
     on conflict (domain_id, name) where removed_at is null do nothing`,
    [randomUUID(), domainId, plan.metadata.name],
  );
  const { rows } = await client.query<{ id: string; revision: number; document: string | null }>(
    `select p.id, p.revision, (select document from plan_revision r where r.plan_id = p.id and r.revision = p.revision)
     from plan p where p.domain_id = $1 and p.name = $2 and p.removed_at is null for update of p`,
    [domainId, plan.metadata.name],
  );
  const row = rows[0];
  if (row === undefined) throw new HoldfastError('BUSY', 'the plan was removed meanwhile: apply it again');
  if (row.document === document) return { planId: row.id, revision: row.revision, changed: false };
  const revision = row.revision + 1;
  await client.query('insert into plan_revision (plan_id, revision, document, applied_by) values ($1, $2, $3, $4)', [
    row.id,
    revision,
    document,
    actor,
  ]);
  await client.query(`update plan set revision = $2, verified_at = null, unverified_because = $3 where id = $1`, [
    row.id,
    revision,
    revision === 1 ? 'it was never checked on its hosts' : 'it was changed and not checked since',
  ]);
  return { planId: row.id, revision, changed: true };
}

/** The run of a failover waits for the plan's row: not for a replica that was paused while it held it. */
async function holdNotForLong(client: pg.ClientBase): Promise<void> {
  await client.query(`set local idle_in_transaction_session_timeout = ${HELD_IDLE_MS}`);
}

/** PA2. Disarmed: nobody promotes by himself before the primary has shaken hands. */
async function placeApplication(
  client: pg.ClientBase,
  replica: string,
  planId: string,
  hostIds: readonly string[],
): Promise<void> {
  const { rowCount } = await client.query(
    `insert into application (plan_id, identity, phase, primary_host, standby_host, epoch, next_epoch, grant_seq, attempt, serial,
       disarmed, order_serial, confirmed, automatic, driver, term, beat)
     values ($1, $2, 'open', $3, $4, 1, 2, 0, 0, 1, 1, 0, false, false, $5, 1, 0) on conflict (plan_id) do nothing`,
    [planId, await catalogIdentity(client), hostIds[0], hostIds[1], replica],
  );
  if (rowCount === 1) return;
  const { rows } = await client.query<{ primary: string; standby: string }>(
    'select primary_host as primary, standby_host as standby from application where plan_id = $1',
    [planId],
  );
  const row = rows[0];
  if (row !== undefined && hostIds.includes(row.primary) && hostIds.includes(row.standby)) return;
  if (row !== undefined && !hostIds.includes(row.primary)) {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      'the document leaves out the host that serves now: who serves is moved by a failover alone',
      {
        hint: 'Fail over first (holdfast plan run NAME --mode planned), or name the present primary in placement.hosts.',
      },
    );
  }
  throw new HoldfastError('FAILED_PRECONDITION', 'the plan is applied already, with another standby', {
    hint: 'The primary may still live on what the present standby has granted. Remove the plan, then apply it with the new one: holdfast plan rm NAME',
  });
}

/** Its revisions and runs stay as evidence; nobody fails over any more. Throws BUSY while a run goes on. */
export async function removePlan(deps: PlanDeps, plan: PlanRow, actor: string): Promise<void> {
  await deps.catalog.transaction(async (client) => {
    await holdNotForLong(client);
    await client.query('select 1 from plan where id = $1 for update', [plan.id]);
    const running = await client.query('select 1 from run where plan_id = $1 and finished_at is null', [plan.id]);
    if (running.rowCount !== 0) {
      throw new HoldfastError('BUSY', `a run of ${plan.name} goes on`, { hint: `See: holdfast run ls ${plan.name}` });
    }
    await client.query('update plan set removed_at = now() where id = $1', [plan.id]);
    await appendAudit(client, { domainId: plan.domainId, actor, action: 'plan.remove', subject: plan.name });
    await deps.events.tell(client, { kind: 'plans' });
  });
}
