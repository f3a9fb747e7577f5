// A restored server on a private socket in its own directory: started, watched while it replays, asked where it stands.
//
// It is a process of its own: it goes on when the agent ends. Until it takes connections its end is an error, said in its own words.

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, fchownSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogStream } from '@holdfast/shared/format/log-point';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { sleep } from '@holdfast/shared/runtime/clock';
import { Client } from 'pg';
import type { ReachedPoint, ServerPlace } from '../../../jobs/job.ts';
import type { Account } from '../../../os/account.ts';
import { parseLsn, positionOf } from '../log/lsn.ts';

export const DEFAULT_PORT = 5432;
const LOG_FILE = 'holdfast_recovery.log';
const LOG_TAIL_BYTES = 16 * 1024;
const LOOK_MS = 100;
const STOP_MS = 60_000;

export interface RestoredServer {
  readonly dataDir: string;
  /** A role that it lets in. */
  readonly user: string;
  readonly port: number;
  /** "host=DIR port=5502" */
  readonly connect: string;
  /** Resolves when recovery has ended and it takes connections. Throws FAILED_PRECONDITION with the server's words, CANCELLED. */
  ready(signal: AbortSignal, onLook: (replayed: string) => void): Promise<void>;
  /** @param database template1, which every cluster has, unless another is named */
  query(text: string, database?: string): Promise<Record<string, unknown>[]>;
  /** A fast shutdown; by force when that takes too long. */
  stop(): Promise<void>;
}

export interface ServerOrder {
  readonly bin: string;
  readonly dataDir: string;
  readonly port: number;
  readonly account: Account;
  readonly clock: Clock;
  /** The cluster's own superuser. */
  readonly user: string;
  /** Absent: here. */
  readonly place?: ServerPlace;
}

export function startServer(order: ServerOrder): RestoredServer {
  const { bin, dataDir, port, account, clock, place } = order;
  const itsDir = place?.target ?? dataDir;
  const log = openSync(join(dataDir, LOG_FILE), 'a', 0o600);
  // A base backup of the restored server takes every file of its directory.
  if (account !== undefined) fchownSync(log, account.uid, account.gid);
  const settings = {
    listen_addresses: '',
    unix_socket_directories: itsDir,
    // A configuration that names its own directory would start the old server's, and a pid file elsewhere is the old server's.
    data_directory: itsDir,
    hba_file: join(itsDir, 'pg_hba.conf'),
    ident_file: join(itsDir, 'pg_ident.conf'),
    external_pid_file: '',
    // What only the old host has: its certificate, its log's directory, its memory to the last byte.
    ssl: 'off',
    logging_collector: 'off',
    log_destination: 'stderr',
    // Nobody reads from it before it has reached its point, so it needs no settings as large as the old one's.
    hot_standby: 'off',
  };
  const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = [join(bin, 'postgres'), '-D', itsDir, '-p', String(port), ...words];
  const [program = '', ...args] = place === undefined ? server : place.wrap(server, account);
  const child = spawn(program, args, {
    cwd: place === undefined ? dataDir : '/',
    detached: true,
    stdio: ['ignore', log, log],
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C.UTF-8' },
    ...(place === undefined && process.getuid?.() === 0 ? account : {}),
  });
  closeSync(log);
  child.unref();
  const ended = endOf(child);
  let end: string | undefined;
  void ended.then((how) => (end = how));

  const query = (text: string, database?: string): Promise<Record<string, unknown>[]> =>
    askServer({ dataDir, port, user: order.user }, text, database);
  return {
    dataDir,
    user: order.user,
    port,
    connect: `host=${itsDir} port=${port}`,
    query,
    async ready(signal, onLook) {
      for (;;) {
        if (signal.aborted)
          throw new HoldfastError('CANCELLED', 'the restore was cancelled while the log was replayed');
        if (end !== undefined) throw notStarted(dataDir, end);
        try {
          const [row] = await query('select pg_is_in_recovery() as recovering');
          if (row?.['recovering'] === false) return;
        } catch (error) {
          // Not yet: it says so until recovery has ended.
          if (refusesForGood(error)) throw notLetIn(dataDir, error);
          onLook(error instanceof Error ? error.message : '');
        }
        await Promise.race([sleep(clock, LOOK_MS, signal), ended]);
      }
    },
    async stop() {
      if (end !== undefined) return;
      kill(child, 'SIGINT');
      await Promise.race([ended, sleep(clock, STOP_MS)]);
      if (end === undefined) kill(child, 'SIGQUIT');
      await ended;
    },
  };
}

/** Asks a server on the socket in its directory. @param database template1, which every cluster has, unless another is named */
export async function askServer(
  { dataDir, port, user }: Pick<RestoredServer, 'dataDir' | 'port' | 'user'>,
  text: string,
  database = 'template1',
): Promise<Record<string, unknown>[]> {
  const client = new Client({ host: dataDir, port, user, database, connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Where it stands. `stream` is that of the log that was replayed: its own timeline begins now. */
export async function reachedPoint(
  server: Pick<RestoredServer, 'query' | 'connect'>,
  stream: LogStream,
  replayMs: number,
  facts: Readonly<Record<string, string>>,
): Promise<ReachedPoint> {
  const [row] = await server.query(`select coalesce(pg_last_wal_replay_lsn()::text, pg_current_wal_lsn()::text) as lsn,
    coalesce(floor(extract(epoch from pg_last_xact_replay_timestamp()) * 1000), 0)::text as commit`);
  return {
    stream,
    position: positionOf(parseLsn(String(row?.['lsn']))),
    lastCommitAtMs: Number(row?.['commit']),
    running: true,
    connect: server.connect,
    replayMs: Math.round(replayMs),
    facts,
  };
}

/** A server that is up and does not take us will never take us. */
function refusesForGood(error: unknown): boolean {
  const state: unknown = typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : undefined;
  return typeof state === 'string' && /^(28|3D|42)/.test(state);
}

function notLetIn(dataDir: string, cause: unknown): HoldfastError {
  const said = cause instanceof Error ? cause.message : '';
  return new HoldfastError('FAILED_PRECONDITION', `the restored server runs and lets nobody in: ${said}`, {
    hint: `Look into ${join(dataDir, 'pg_hba.conf')}, and start it there.`,
    cause,
  });
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal === null ? `exit code ${code}` : signal));
    child.once('error', (error) => resolve(error.message));
  });
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    // Its group: between it and us may be what brought it to another place.
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // It has ended by itself.
  }
}

function notStarted(dataDir: string, how: string): HoldfastError {
  const tail = logTail(dataDir);
  const fatal = tail.filter((line) => /(FATAL|PANIC):/.test(line)).at(-1);
  const said = fatal === undefined ? how : fatal.replace(/^.*?(FATAL|PANIC):\s*/, '');
  const unreached = said.includes('recovery ended before configured recovery target was reached');
  return new HoldfastError(
    'FAILED_PRECONDITION',
    unreached
      ? 'the log that there is ends before the point that was asked for'
      : `the restored server did not start: ${said}`,
    { hint: `Its log is ${join(dataDir, LOG_FILE)}. The files are restored; mend what it names and start it there.` },
  );
}

function logTail(dataDir: string): string[] {
  try {
    const file = openSync(join(dataDir, LOG_FILE), 'r');
    try {
      const { size } = fstatSync(file);
      const bytes = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
      readSync(file, bytes, 0, bytes.length, Math.max(0, size - LOG_TAIL_BYTES));
      return bytes.toString('utf8').split('\n');
    } finally {
      closeSync(file);
    }
  } catch {
    return [];
  }
}
