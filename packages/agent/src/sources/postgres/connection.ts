// Connections to a PostgreSQL server, with its errors in words for people.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { Client } from 'pg';
import type { Settings } from '../../jobs/job.ts';
import { addressText, parseDsn, passwordFor, type ServerAddress } from './dsn.ts';

const CONNECT_MS = 10_000;

/** The address in a source's settings. Throws INVALID_ARGUMENT. */
export function addressOf(settings: Settings): ServerAddress {
  return parseDsn(settings['dsn'] ?? '', userInfo().username);
}

/** By which servers are told apart: another role, or another database, is the same server. */
export function serverOf(settings: Settings): string {
  const { host, port } = addressOf(settings);
  return `${host}:${port}`;
}

/** What our connections are called: a server that waits for standbys by name must not wait for us. */
export function applicationNameOf(sourceId: string): string {
  return `holdfast_${createHash('sha256').update(sourceId).digest('hex').slice(0, 12)}`;
}

export interface ConnectOptions {
  readonly kind: 'ordinary' | 'replication';
  /** As it stands in pg_stat_activity and pg_stat_replication. */
  readonly applicationName: string;
  readonly database?: string;
}

/** A connection, made; end it. Throws UNREACHABLE, UNAUTHENTICATED, NOT_ALLOWED, FAILED_PRECONDITION, each with what to do. */
export async function connect(address: ServerAddress, options: ConnectOptions): Promise<Client> {
  const password = passwordFor(address);
  const client = new Client({
    host: address.host,
    port: address.port,
    user: address.user,
    database: options.database ?? address.database,
    application_name: options.applicationName,
    connectionTimeoutMillis: CONNECT_MS,
    keepAlive: true,
    ssl: sslOf(address),
    ...(password === undefined ? {} : { password }),
    ...(options.kind === 'replication' ? { replication: 'true' } : {}),
  });
  // A connection that breaks between two queries has nobody else who hears of it; the next query says so.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    throw connectionError(address, options.kind, error);
  }
}

function sslOf({ sslMode, sslRootCertificate, host }: ServerAddress): false | Record<string, unknown> {
  if (sslMode === 'disable' || host.startsWith('/')) return false;
  if (sslMode === 'require') return { rejectUnauthorized: false };
  return {
    rejectUnauthorized: true,
    ...(sslRootCertificate === undefined ? {} : { ca: readFileSync(sslRootCertificate, 'utf8') }),
    ...(sslMode === 'verify-ca' ? { checkServerIdentity: () => undefined } : { servername: host }),
  };
}

/** What a failed connection means, and what to do about it. Never repeats a password: the server's words hold none. */
export function connectionError(address: ServerAddress, kind: ConnectOptions['kind'], thrown: unknown): HoldfastError {
  const where = addressText(address);
  const { user } = address;
  const said = thrown instanceof Error ? thrown.message : String(thrown);
  const state: unknown = typeof thrown === 'object' && thrown !== null ? Reflect.get(thrown, 'code') : undefined;
  const refuse = (code: HoldfastError['code'], message: string, hint: string): HoldfastError =>
    new HoldfastError(code, message, {
      hint,
      cause: thrown,
      details: { sqlState: typeof state === 'string' ? state : '' },
    });
  switch (state) {
    case '28P01':
      return refuse(
        'UNAUTHENTICATED',
        `PostgreSQL at ${where} refused the password of ${user}`,
        'Write it into the passfile that the DSN names: passfile=/etc/holdfast/db.pass, a line *:*:*:' +
          user +
          ':PASSWORD',
      );
    case '28000':
      // With `trust` the server says the same of a role that there is not.
      if (/^role ".*" does not exist$/.test(said)) {
        return refuse(
          'UNAUTHENTICATED',
          `PostgreSQL at ${where} has no role ${user}`,
          `CREATE ROLE ${quoted(user)} LOGIN REPLICATION;\nGRANT pg_monitor TO ${quoted(user)};`,
        );
      }
      return refuse(
        'UNAUTHENTICATED',
        `PostgreSQL at ${where} does not let ${user} in from here: ${said}`,
        hbaHint(address, kind),
      );
    case '3D000':
      return refuse(
        'FAILED_PRECONDITION',
        `PostgreSQL at ${where}: ${said}`,
        'Name a database that is there in the DSN: dbname=postgres',
      );
    case '53300':
      return refuse(
        'UNREACHABLE',
        `PostgreSQL at ${where} has no connection left: ${said}`,
        kind === 'replication'
          ? 'ALTER SYSTEM SET max_wal_senders = 10; then restart the server'
          : 'Raise max_connections.',
      );
    default:
      return refuse(
        'UNREACHABLE',
        `PostgreSQL at ${where} cannot be reached: ${said}`,
        'Is it running, and does the DSN name its socket’s directory (host=/run/postgresql) or its address, and its port?',
      );
  }
}

function ownAccount(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without a name.
    return String(process.getuid?.() ?? '');
  }
}

/** A name in a statement. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/**
 * The line of pg_hba.conf that lets the agent in. It goes before the others, because the first one that fits decides; and `peer`
 * knows the account of the operating system, so that one of another name needs a map.
 *
 * @param account that the agent runs as
 */
export function hbaHint(
  { host, user }: ServerAddress,
  kind: ConnectOptions['kind'],
  account: string = ownAccount(),
): string {
  const database = kind === 'replication' ? 'replication' : 'all';
  const local = host.startsWith('/');
  const map = local && account !== user;
  const line = local
    ? `local ${database} ${user} peer${map ? ' map=holdfast' : ''}`
    : `hostssl ${database} ${user} AGENT-ADDRESS/32 scram-sha-256`;
  return [
    `Write into pg_hba.conf, before all other lines: ${line}`,
    ...(map ? [`and into pg_ident.conf: holdfast ${account} ${user}`] : []),
    'then: SELECT pg_reload_conf();',
  ].join('\n');
}
