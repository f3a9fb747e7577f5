// Applications in a test's catalog: a domain, hosts of any id, a plan and its lease row, disarmed as an apply leaves it.

import { randomUUID } from 'node:crypto';

import { catalogIdentity } from '../../../catalog/catalog-identity.ts';
import type { Catalog } from '../../../catalog/catalog.ts';

/** The id of a new plan with these hosts as primary and standby, driven by `driver` under term 1. */
export async function addApplication(
  catalog: Catalog,
  name: string,
  hosts: readonly [string, string],
  driver = 'a',
): Promise<string> {
  const { pool } = catalog;
  await pool.query(`insert into domain (id, name, managed) values ('d1', 'd1', false) on conflict do nothing`);
  for (const host of [...hosts, 'h3']) {
    await pool.query(
      `insert into host (id, domain_id, name, state) values ($1, 'd1', $1, 'enrolled') on conflict do nothing`,
      [host],
    );
  }
  const id = randomUUID();
  await pool.query(`insert into plan (id, domain_id, name, revision) values ($1, 'd1', $2, 1)`, [id, name]);
  await pool.query(
    `insert into application (plan_id, identity, phase, primary_host, standby_host, epoch, next_epoch, grant_seq, attempt, serial,
       disarmed, order_serial, confirmed, automatic, driver, term, beat)
     values ($1, $2, 'open', $3, $4, 1, 2, 0, 0, 1, 1, 0, false, false, $5, 1, 0)`,
    [id, await catalogIdentity(pool), hosts[0], hosts[1], driver],
  );
  return id;
}
