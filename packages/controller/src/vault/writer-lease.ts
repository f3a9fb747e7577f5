// The right of this process to append to packs: a row with an expiry, renewed while the process lives.
//
// Hazard: two controllers on one catalog, or one that was thought dead, appending to the same pack. A pack belongs to the
// writer that made it and to nobody else ever: whoever takes over a dead writer's pack copies it and never appends
// (pack-recovery.ts). A process that was away too long finds its row gone, and goes on under a new id with new packs.
//
// All times are the catalog's (I7). Tested in recovery.db.test.ts.

import type { Queries } from './object-index.ts';

/** Registers a writer for `leaseMs`. */
export async function registerWriter(queries: Queries, id: string, leaseMs: number): Promise<void> {
  await queries.query(`insert into vault_writer (id, expires_at) values ($1, now() + $2 * interval '1 millisecond')`, [
    id,
    leaseMs,
  ]);
}

/** False when the row is gone: another controller has declared this writer dead. */
export async function renewWriter(queries: Queries, id: string, leaseMs: number): Promise<boolean> {
  const { rowCount } = await queries.query(
    `update vault_writer set expires_at = now() + $2 * interval '1 millisecond' where id = $1`,
    [id, leaseMs],
  );
  return rowCount === 1;
}

export async function removeWriter(queries: Queries, id: string): Promise<void> {
  await queries.query('delete from vault_writer where id = $1', [id]);
}

/**
 * Declares dead every writer whose lease has run out, or every one but `own` when `soleWriter`, and takes its packs from it.
 * From then on no acknowledgement of such a writer succeeds.
 */
export async function buryDeadWriters(queries: Queries, own: string, soleWriter: boolean): Promise<void> {
  await queries.query(`delete from vault_writer where id <> $1 and ($2 or expires_at < now())`, [own, soleWriter]);
  await queries.query(
    `update pack set state = 'abandoned', writer_id = null
     where state = 'open' and (writer_id is null or writer_id not in (select id from vault_writer))`,
  );
}
