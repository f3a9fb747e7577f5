// The lease row in the catalog: read, and changed by one conditional transaction for each operation of shared/failover/lease-row.ts.
//
// Hazard: two replicas share nothing but this row. So the row is locked, the pure function decides on what is there now, and the catalog's
// identity is read in the same transaction: a row that was read before a restore changes nothing after it.
//
// Invariants (lease-rows.db.test.ts): LR1 each operation does to the row what the pure function does, or nothing; LR2 of two replicas that
// both try, one succeeds; LR3 what was written is durable before it is told, whatever the catalog's default is; LR4 a replica that stands still
// while it holds the row does not keep another one from driving.

import { applyToRow, type LeaseRow, type RowOperation } from '@holdfast/shared/failover/lease-row';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

import { catalogIdentity } from '../../catalog/catalog-identity.ts';
import type { Catalog } from '../../catalog/catalog.ts';

export interface LeaseLook {
  readonly row: LeaseRow;
  /** Of the catalog, at that moment. */
  readonly identity: string;
}

const COLUMNS = `identity, phase, primary_host as "primary", standby_host as standby, epoch, next_epoch as "nextEpoch",
  grant_seq as "grantSeq", attempt, serial, disarmed, order_serial as "orderSerial", confirmed, automatic, driver, term, beat,
  skipped_above as "skippedAbove", skipped_below as "skippedBelow"`;

/**
 * LR4. A replica that was paused between two statements holds what it locked; the catalog ends its transaction after this time, well within
 * the lease of a controller that drives. For PostgreSQL's `idle_in_transaction_session_timeout`, and for the transaction alone.
 */
export const HELD_IDLE_MS = 3_000;

/** Undefined when there is no such application. */
export async function readLease(catalog: Catalog, planId: string): Promise<LeaseLook | undefined> {
  return await catalog.transaction(async (client) => {
    const row = await selectRow(client, planId, '');
    return row === undefined ? undefined : { row, identity: await catalogIdentity(client) };
  });
}

/**
 * The row after the operation, and whether its condition held (then with what `alongside` writes); the row as it is when not. Throws NOT_FOUND, and whatever the catalog throws:
 * then it may have been written or not.
 */
export async function changeLease(
  catalog: Catalog,
  planId: string,
  assumedIdentity: string,
  operation: RowOperation,
  alongside?: (client: pg.ClientBase) => Promise<void>,
): Promise<LeaseLook & { readonly ok: boolean }> {
  return await catalog.transaction(async (client) => {
    // LR3. A catalog that waits for its standbys goes on doing so.
    await client.query(
      `set local idle_in_transaction_session_timeout = ${HELD_IDLE_MS};
       select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') in ('off', 'local')`,
    );
    const before = await selectRow(client, planId, 'for update');
    if (before === undefined) throw new HoldfastError('NOT_FOUND', 'there is no such application');
    const identity = await catalogIdentity(client);
    const after = applyToRow(before, operation, assumedIdentity, identity);
    if (after === undefined) return { ok: false, row: before, identity };
    await updateRow(client, planId, after);
    await alongside?.(client);
    return { ok: true, row: after, identity };
  });
}

async function selectRow(
  client: pg.ClientBase,
  planId: string,
  lock: '' | 'for update',
): Promise<LeaseRow | undefined> {
  // A removed plan's hosts were told to forget it: nothing is granted or ordered any more.
  const { rows } = await client.query<LeaseRow>(
    `select ${COLUMNS} from application a where plan_id = $1
       and exists (select from plan p where p.id = a.plan_id and p.removed_at is null) ${lock}`,
    [planId],
  );
  return rows[0];
}

async function updateRow(client: pg.ClientBase, planId: string, row: LeaseRow): Promise<void> {
  await client.query(
    `update application set identity = $2, phase = $3, primary_host = $4, standby_host = $5, epoch = $6, next_epoch = $7,
       grant_seq = $8, attempt = $9, serial = $10, disarmed = $11, order_serial = $12, confirmed = $13, automatic = $14,
       driver = $15, term = $16, beat = $17, skipped_above = $18, skipped_below = $19 where plan_id = $1`,
    [
      planId,
      row.identity,
      row.phase,
      row.primary,
      row.standby,
      row.epoch,
      row.nextEpoch,
      row.grantSeq,
      row.attempt,
      row.serial,
      row.disarmed,
      row.orderSerial,
      row.confirmed,
      row.automatic,
      row.driver,
      row.term,
      row.beat,
      row.skippedAbove ?? 0,
      row.skippedBelow ?? 0,
    ],
  );
}

/** Plans of this host that were removed, the latest ones. */
export async function removedApplications(client: pg.ClientBase | pg.Pool, hostId: string): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select p.id from application a join plan p on p.id = a.plan_id
     where p.removed_at is not null and $1 in (a.primary_host, a.standby_host) order by p.removed_at desc limit 200`,
    [hostId],
  );
  return rows.map(({ id }) => id);
}

/**
 * Whether what is committed here survives the catalog's own failover. A catalog without a streaming standby has none; one that
 * waits for at least one standby is asked no further.
 */
export async function catalogIsSynchronous(client: pg.ClientBase | pg.Pool): Promise<boolean> {
  const { rows } = await client.query<{ standbys: number; waits: boolean }>(
    `select (select count(*) from pg_stat_replication r left join pg_replication_slots s on s.active_pid = r.pid
         where coalesce(s.slot_type, 'physical') = 'physical' and r.application_name not in ('pg_receivewal', 'pg_basebackup'))
         as standbys,
       current_setting('synchronous_standby_names') <> '' and current_setting('synchronous_commit') not in ('off', 'local') as waits`,
  );
  const row = rows[0];
  return row !== undefined && (row.standbys === 0 || row.waits);
}
