// Which catalog this is: its server's system identifier and timeline. Both change when a catalog is restored or its standby promoted, and
// then what hosts were told may be missing in it.
//
// Tested in api/recovery.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

/** SYSTEM-IDENTIFIER/TIMELINE. */
export async function catalogIdentity(client: pg.ClientBase | pg.Pool): Promise<string> {
  // From the log's position, not from the last checkpoint, which is older than a promotion at first.
  const { rows } = await client.query<{ identity: string }>(
    `select (select system_identifier::text from pg_control_system()) || '/' ||
       ('x' || lpad(substring(pg_walfile_name(pg_current_wal_insert_lsn()) from 1 for 8), 16, '0'))::bit(64)::bigint as identity`,
  );
  if (rows[0] === undefined) throw new HoldfastError('INTERNAL', 'the catalog does not say who it is');
  return rows[0].identity;
}
