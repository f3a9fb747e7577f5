// The demo's database: a PostgreSQL cluster of its own on web-1 loses rows, and comes back on web-2 to the second before.
//
// Debian's server when it is installed, else the one that the controller brings along. Nothing listens on the network.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { DEBIAN_POSTGRES, embeddedPostgres, PostgresServer, queryAt } from '@holdfast/agent/testing/postgres-server';
import { holdfast } from '../fleet/fleet.ts';

export const DATABASE = 'web-1/db';
export const RESTORED_PORT = 5502;

const ORDERS = 20_000;
const LATER_ORDERS = 1_000;
const STORED_MS = 60_000;
const POLL_MS = 100;
const END_MS = 30_000;

export interface Orders {
  readonly count: number;
  /** Over every column of every row. */
  readonly sum: string;
}

export async function startDatabase(parent: string): Promise<PostgresServer> {
  const server = await PostgresServer.start({
    bin: existsSync(join(DEBIAN_POSTGRES, 'postgres')) ? DEBIAN_POSTGRES : embeddedPostgres(),
    parent,
    settings: { max_slot_wal_keep_size: '1GB' },
  });
  await server.query('CREATE ROLE holdfast LOGIN REPLICATION');
  await server.query('GRANT pg_monitor TO holdfast');
  await server.query('CREATE TABLE orders (id bigserial PRIMARY KEY, cents int NOT NULL, at timestamptz NOT NULL)');
  await addOrders(server, ORDERS);
  return server;
}

export function dsnOf(server: PostgresServer): string {
  return `host=${server.directory} port=${server.port} user=holdfast dbname=postgres`;
}

/** Orders that no base has: what brings them back is the log. */
export async function addLaterOrders(server: PostgresServer): Promise<void> {
  await addOrders(server, LATER_ORDERS);
}

async function addOrders(server: PostgresServer, count: number): Promise<void> {
  const rows = 'SELECT (random() * 100000)::int, clock_timestamp() FROM generate_series(1, $1::int)';
  await server.query(`INSERT INTO orders (cents, at) ${rows}`, [count]);
}

/** By the directory of its socket, because one of the servers is the product's. */
export async function ordersIn(directory: string, port: number): Promise<Orders> {
  const sum = 'coalesce(sum(hashtextextended(orders::text, 0)::numeric), 0)::text AS sum';
  const text = `SELECT count(*)::int AS count, ${sum} FROM orders`;
  const [row] = await queryAt<{ count: number; sum: string }>(directory, port, text);
  return row!;
}

/** Deletes all orders. Returns when that was, less a second: ISO 8601 by the server's clock. */
export async function loseOrders(server: PostgresServer): Promise<string> {
  // The second before is one in which the last orders were there already.
  await pause(1_500);
  const [row] = await server.query<{ before: Date }>("SELECT clock_timestamp() - interval '1 second' AS before");
  await server.query('DELETE FROM orders');
  return row!.before.toISOString();
}

/** Waits until the vault has the log up to where the server has written it. Returns that position. */
export async function untilStored(fleet: string, server: PostgresServer): Promise<string> {
  const [row] = await server.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
  const wanted = row!.lsn;
  const end = performance.now() + STORED_MS;
  for (;;) {
    const { code, stdout, stderr } = await holdfast(fleet, ['source', 'show', DATABASE, '--json']);
    if (code !== 0) throw new Error(`holdfast source show ended with ${code}: ${stderr.trim()}`);
    const { log } = JSON.parse(stdout) as { log: { position: string; state: string; note: string } | null };
    if (log !== null && log.position !== '' && positionOf(log.position) >= positionOf(wanted)) return log.position;
    if (performance.now() > end) throw new Error(`the log up to ${wanted} is not stored: ${JSON.stringify(log)}`);
    await pause(POLL_MS);
  }
}

/** "0/304A5B8": two hexadecimal halves of 32 bits. */
function positionOf(lsn: string): bigint {
  const [high, low] = lsn.split('/');
  return (BigInt(`0x${high ?? '0'}`) << 32n) | BigInt(`0x${low ?? '0'}`);
}

/** Ends the server that a restore left running in `dataDir`, if there is one: nothing of the demo lives on. */
export async function endRestored(dataDir: string): Promise<void> {
  const pidFile = join(dataDir, 'postmaster.pid');
  if (!existsSync(pidFile)) return;
  const [pid, directory] = readFileSync(pidFile, 'utf8').split('\n');
  if (directory !== dataDir || !(Number(pid) > 1)) return;
  try {
    process.kill(Number(pid), 'SIGINT');
  } catch {
    return;
  }
  const end = performance.now() + END_MS;
  while (existsSync(pidFile)) {
    if (performance.now() > end) throw new Error(`the restored server (process ${pid}) does not end`);
    await pause(POLL_MS);
  }
}
