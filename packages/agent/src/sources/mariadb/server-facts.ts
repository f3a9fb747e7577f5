// What a server says of itself, asked in one place: variables, its binary logs, its clock.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { BinlogPosition } from './binlog/position.ts';
import type { ServerLog } from './follow/resume-plan.ts';
import { ServerError, type ServerSession } from './protocol/server-session.ts';

export type Asks = Pick<ServerSession, 'query' | 'version'>;

/** A server's global variables, by name. */
export async function variablesOf(server: Asks): Promise<ReadonlyMap<string, string>> {
  const rows = await server.query('SHOW GLOBAL VARIABLES');
  return new Map(rows.map((row) => [row['variable_name'] ?? '', row['value'] ?? '']));
}

export function isMariaDb(server: Pick<Asks, 'version'>): boolean {
  return server.version.includes('MariaDB');
}

/** Which server it is, across restarts: MySQL has a UUID, MariaDB its number among its replicas. */
export function serverKey(variables: ReadonlyMap<string, string>): string {
  return variables.get('server_uuid') ?? variables.get('server_id') ?? '';
}

/** Throws FAILED_PRECONDITION when the server keeps no binary log. */
export async function serverLog(server: Asks, variables: ReadonlyMap<string, string>): Promise<ServerLog> {
  if (variables.get('log_bin') !== 'ON') {
    throw new HoldfastError('FAILED_PRECONDITION', 'the server keeps no binary log', {
      hint: 'Set log_bin and restart it; `holdfast source check` shows the lines to write.',
    });
  }
  const rows = await server.query('SHOW BINARY LOGS');
  return {
    server: serverKey(variables),
    files: rows.map((row) => ({ name: row['log_name'] ?? '', bytes: Number(row['file_size']) })),
  };
}

export interface ServerMoment {
  /** Server's clock, Unix ms. */
  readonly atMs: number;
  /** Read after the clock: what was committed up to `atMs` lies before it. */
  readonly position: BinlogPosition;
}

/** Where the server's log ends now. Throws FAILED_PRECONDITION when it keeps none. */
export async function momentOf(server: Asks): Promise<ServerMoment> {
  const atMs = await serverClockMs(server);
  const [row] = await server.query('SHOW MASTER STATUS').catch((error: unknown) => {
    // MySQL 8.4 knows only the new words.
    if (error instanceof ServerError && error.number === 1064) return server.query('SHOW BINARY LOG STATUS');
    throw error;
  });
  if (row === undefined) throw new HoldfastError('FAILED_PRECONDITION', 'the server keeps no binary log');
  return { atMs, position: { file: row['file'] ?? '', offset: Number(row['position']) } };
}

export async function serverClockMs(server: Asks): Promise<number> {
  const [row] = await server.query('SELECT UNIX_TIMESTAMP(NOW(6)) AS now');
  return Math.floor(Number(row?.['now'] ?? 0) * 1000);
}

/** GTIDs up to a position; '' where the server can't tell. */
export async function gtidAt(server: Asks, { file, offset }: BinlogPosition): Promise<string> {
  if (!isMariaDb(server) || offset <= 4) return '';
  const [row] = await server.query(`SELECT BINLOG_GTID_POS(${quoted(file)}, ${offset}) AS gtid`);
  return row?.['gtid'] ?? '';
}

/** A text as a literal of SQL. */
export function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`;
}

/** Bytes of tables and indexes, as the server estimates them. */
export async function contentBytes(server: Asks): Promise<number> {
  const [row] = await server.query(
    "SELECT SUM(DATA_LENGTH + INDEX_LENGTH) AS bytes FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'",
  );
  return Number(row?.['bytes'] ?? 0);
}

const NAMED_MOST = 1000;

/** `shop.m (MyISAM)`: base tables of the users' schemas that no transaction protects; the first 1,000. */
export async function nonTransactionalTables(server: Asks): Promise<string[]> {
  const rows = await server.query(
    `SELECT t.TABLE_SCHEMA AS s, t.TABLE_NAME AS t, t.ENGINE AS e FROM information_schema.TABLES t
       JOIN information_schema.ENGINES x ON x.ENGINE = t.ENGINE
      WHERE t.TABLE_TYPE = 'BASE TABLE' AND x.TRANSACTIONS = 'NO'
        AND t.TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')
      ORDER BY 1, 2 LIMIT ${NAMED_MOST}`,
  );
  return rows.map((row) => `${row['s']}.${row['t']} (${row['e']})`);
}
