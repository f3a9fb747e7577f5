// The audit trail: one row for every change, each holding the hash of the one before.
//
// Hazard: an insider who edits or removes a row. The chain makes that visible to whoever kept an earlier hash: no row can
// be changed without changing every hash after it.
//
// Invariants (audit.db.test.ts):
//   AU1 concurrent changes make one chain without gaps;
//   AU2 verifyAudit names the first row that was changed, removed or inserted.

import { createHash } from 'node:crypto';

import type pg from 'pg';

export interface AuditRow {
  readonly sequence: number;
  readonly at: Date;
  /** Null: the controller as a whole. */
  readonly domainId: string | null;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly hash: Buffer;
}

/** A row that is to be written. `actor` is 'operator NAME', 'host NAME' or 'controller'. */
export type NewAuditRow = Pick<AuditRow, 'domainId' | 'actor' | 'action' | 'subject'>;

const GENESIS = Buffer.alloc(32);

/** Appends a row within the transaction of the change that it describes; appends wait for each other until it ends. */
export async function appendAudit(client: pg.ClientBase, row: NewAuditRow): Promise<void> {
  await client.query('lock table audit in exclusive mode');
  const last = await client.query<{ sequence: number; hash: Buffer }>(
    'select sequence, hash from audit order by sequence desc limit 1',
  );
  const sequence = (last.rows[0]?.sequence ?? 0) + 1;
  const at = new Date();
  const hash = hashRow(last.rows[0]?.hash ?? GENESIS, { ...row, sequence, at });
  await client.query(
    'insert into audit (sequence, at, domain_id, actor, action, subject, hash) values ($1, $2, $3, $4, $5, $6, $7)',
    [sequence, at, row.domainId, row.actor, row.action, row.subject, hash],
  );
}

/** The newest rows first; of some domains (and of the controller, if `whole`). */
export async function listAudit(
  client: pg.ClientBase | pg.Pool,
  options: { readonly domainIds: readonly string[]; readonly whole: boolean; readonly limit: number },
): Promise<AuditRow[]> {
  const { rows } = await client.query<AuditRow>(
    `select sequence, at, domain_id as "domainId", actor, action, subject, hash from audit
     where domain_id = any($1) or ($2 and domain_id is null) order by sequence desc limit $3`,
    [options.domainIds, options.whole, options.limit],
  );
  return rows;
}

/** Sequence number of the first row that breaks the chain; undefined when it is whole. */
export async function verifyAudit(client: pg.ClientBase | pg.Pool): Promise<number | undefined> {
  let previous: Buffer = GENESIS;
  for (let expected = 1; ;) {
    const { rows } = await client.query<AuditRow>(
      `select sequence, at, domain_id as "domainId", actor, action, subject, hash from audit
       where sequence >= $1 order by sequence limit 1000`,
      [expected],
    );
    if (rows.length === 0) return undefined;
    for (const row of rows) {
      if (row.sequence !== expected || !row.hash.equals(hashRow(previous, row))) return expected;
      previous = row.hash;
      expected++;
    }
  }
}

function hashRow(previous: Buffer, row: Omit<AuditRow, 'hash'>): Buffer {
  const fields = [row.sequence, row.at.getTime(), row.domainId, row.actor, row.action, row.subject];
  return createHash('sha256').update(previous).update(JSON.stringify(fields)).digest();
}
