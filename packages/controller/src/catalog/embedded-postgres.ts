// The controller's own PostgreSQL, when no DATABASE_URL is given: created, started, adopted, stopped.
//
// Hazards: the server outlives a controller that was killed, and a second server on the same files would destroy them. So
// a server that runs already on this directory is adopted. It listens on a Unix socket alone, in a directory that only its
// user may enter, and asks for a random password besides.
//
// Invariants (embedded-postgres.db.test.ts):
//   EP1 after SIGKILL of the parent the next start adopts the server and finds every acknowledged row;
//   EP2 a stale postmaster.pid, naming a process that is something else by now, does not stop a start;
//   EP3 stop() returns only after the server's process has ended, adopted or not.

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  readlinkSync,
  renameSync,
} from 'node:fs';
import { realpathSync, rmSync, writeFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { CATALOG_CLUSTER } from '@holdfast/shared/base/catalog-cluster';
import { HoldfastError } from '@holdfast/shared/base/errors';
import pg from 'pg';

import { choosePostgresUser, commandAs, findPostgresBinaries, type PostgresUser } from './postgres-binaries.ts';

export interface EmbeddedPostgresOptions {
  /** Absolute. Holds `data/` (the cluster), `password` and `server.log`. */
  readonly directory: string;
  /** For tests: nothing is synced to the disk. A power cut may destroy such a cluster. */
  readonly unsafeNoSync?: boolean;
  readonly startTimeoutMs?: number;
}

export interface EmbeddedPostgres {
  /** For `pg`: host is the socket's directory. */
  readonly connection: { host: string; port: number; user: string; password: string; database: string };
  readonly pid: number;
  /** Whether the server was running already. */
  readonly adopted: boolean;
  /** Disconnects every client, flushes, and returns when the server's process has ended. */
  stop(): Promise<void>;
}

/** The same wherever the controller runs: where `setpriv` is, and messages in one language. */
const SERVER_ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

const DATABASE_USER = 'holdfast';
const OLD_SERVER_DIES_MS = 20_000;
const PORT_IN_SOCKET_NAME = 5432;
/** sun_path has 108 bytes; "/.s.PGSQL.5432" and its lock take 19 of them. */
const SOCKET_DIRECTORY_MAX_BYTES = 85;

/** Starts the server, after creating its files on the first call, or adopts the one that runs. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const user = choosePostgresUser();
  mkdirSync(options.directory, { recursive: true, mode: 0o755 });
  const directory = realpathSync(options.directory);
  const data = join(directory, 'data');
  const password = await createCluster(directory, data, user, options.unsafeNoSync === true);

  const running = runningPostmaster(data);
  const socket = running?.socketDirectory ?? socketDirectory(data, user);
  const connection = { host: socket, port: PORT_IN_SOCKET_NAME, user: DATABASE_USER, password, database: 'postgres' };
  const timeoutMs = options.startTimeoutMs ?? 30_000;
  const ready = async (started: number): Promise<number> => {
    await waitUntilReady(connection, started, directory, timeoutMs);
    return started;
  };
  const start = (): number => launch(directory, data, socket, user, options.unsafeNoSync === true);
  const pid =
    running === undefined ? await retryWhileOldOneDies(async () => await ready(start())) : await ready(running.pid);
  return { connection, pid, adopted: running !== undefined, stop: () => stopPostmaster(pid, data) };
}

/**
 * After SIGKILL of a server its pid stays until somebody reaps it, and its children until they notice. PostgreSQL refuses to start
 * meanwhile, as it must.
 */
async function retryWhileOldOneDies(start: () => Promise<number>): Promise<number> {
  const deadline = performance.now() + OLD_SERVER_DIES_MS;
  for (;;) {
    try {
      return await start();
    } catch (error) {
      const stillThere =
        error instanceof HoldfastError && /postmaster\.pid" already exists|shared memory block/.test(error.message);
      if (!stillThere || performance.now() > deadline) throw error;
      await sleep(200);
    }
  }
}

async function createCluster(
  directory: string,
  data: string,
  user: PostgresUser | undefined,
  noSync: boolean,
): Promise<string> {
  const passwordFile = join(directory, 'password');
  if (existsSync(join(data, 'PG_VERSION')) && existsSync(passwordFile))
    return readFileSync(passwordFile, 'utf8').trim();
  // The password file is written last, so a cluster without one is half made and holds nothing yet.
  if (existsSync(passwordFile)) rmSync(passwordFile);
  rmSync(data, { recursive: true, force: true });
  mkdirSync(data, { mode: 0o700 });
  if (user !== undefined) chownSync(data, user.uid, user.gid);

  const password = randomBytes(24).toString('base64url');
  const newFile = `${passwordFile}.new`;
  writeFileSync(newFile, `${password}\n`, { mode: 0o600, flush: true });
  if (user !== undefined) chownSync(newFile, user.uid, user.gid);
  const { initdb } = findPostgresBinaries();
  const run = commandAs(user, initdb, [data, newFile]);
  const args = [
    '-D',
    data,
    '-U',
    DATABASE_USER,
    '--auth=scram-sha-256',
    `--pwfile=${newFile}`,
    '--locale=C',
    '-E',
    'UTF8',
  ];
  if (noSync) args.push('--no-sync');
  const child = spawn(run.command, [...run.args, ...args], {
    ...run.options,
    cwd: '/',
    env: SERVER_ENVIRONMENT,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (part: Buffer) => (errors = (errors + part.toString()).slice(-4000)));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) {
    throw new HoldfastError('FAILED_PRECONDITION', `creating the catalog's database failed: ${errors.trim()}`, {
      hint: `Look at ${data}, or set DATABASE_URL to use another PostgreSQL.`,
    });
  }
  chownSync(newFile, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  renameSync(newFile, passwordFile);
  return password;
}

function launch(
  directory: string,
  data: string,
  socket: string,
  user: PostgresUser | undefined,
  noSync: boolean,
): number {
  const { postgres } = findPostgresBinaries();
  const run = commandAs(user, postgres, [data]);
  const settings: Record<string, string> = {
    cluster_name: CATALOG_CLUSTER,
    listen_addresses: '',
    unix_socket_directories: socket,
    unix_socket_permissions: '0700',
    max_connections: '60',
    shared_buffers: '32MB',
    max_wal_size: '256MB',
    autovacuum_naptime: '20s',
    lc_messages: 'C',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...(noSync ? { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off', max_connections: '200' } : {}),
  };
  const log = openSync(join(directory, 'server.log'), 'a', 0o600);
  try {
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = spawn(run.command, [...run.args, '-D', data, '-p', String(PORT_IN_SOCKET_NAME), ...flags], {
      ...run.options,
      cwd: '/',
      env: SERVER_ENVIRONMENT,
      stdio: ['ignore', log, log],
      // Its own session: Ctrl-C at the controller's terminal must not stop the catalog before the controller is done.
      detached: true,
    });
    child.on('error', () => undefined);
    child.unref();
    if (child.pid === undefined) throw new HoldfastError('INTERNAL', `could not start ${run.command}`);
    return child.pid;
  } finally {
    closeSync(log);
  }
}

/** The server that runs on `data`, by its pid file; undefined when the file is stale (EP2). */
function runningPostmaster(data: string): { pid: number; socketDirectory: string } | undefined {
  let lines: string[];
  try {
    lines = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
  } catch {
    return undefined;
  }
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 1 || !isPostmasterOf(pid, data)) return undefined;
  return { pid, socketDirectory: lines[4] ?? '' };
}

function isPostmasterOf(pid: number, data: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === data && !isZombie(pid);
  } catch {
    return false;
  }
}

function isZombie(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) === 'Z';
}

function socketDirectory(data: string, user: PostgresUser | undefined): string {
  if (Buffer.byteLength(data) <= SOCKET_DIRECTORY_MAX_BYTES) return data;

  const name = createHash('sha256').update(data).digest('hex').slice(0, 16);
  const directory = join(tmpdir(), `holdfast-${name}`);
  if (!existsSync(directory)) {
    mkdirSync(directory, { mode: 0o700 });
    if (user !== undefined) chownSync(directory, user.uid, user.gid);
  }
  const found = lstatSync(directory);
  // Anybody may write to the temporary directory, so one that somebody else made there is not used.
  if (!found.isDirectory() || found.uid !== (user?.uid ?? process.getuid?.() ?? found.uid)) {
    throw new HoldfastError('FAILED_PRECONDITION', `${directory} belongs to somebody else`, {
      hint: 'Remove it, or move the data directory to a shorter path.',
    });
  }
  chmodSync(directory, 0o700);
  return directory;
}

async function waitUntilReady(
  connection: EmbeddedPostgres['connection'],
  pid: number,
  directory: string,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const socket = join(connection.host, `.s.PGSQL.${connection.port}`);
  for (let waitMs = 5; ; waitMs = Math.min(waitMs * 1.5, 100)) {
    if (!existsSync(`/proc/${pid}`) || isZombieOrGone(pid)) {
      throw new HoldfastError(
        'FAILED_PRECONDITION',
        `the catalog's database ended while it started: ${lastLogLines(directory)}`,
      );
    }
    if (existsSync(socket) && (await canConnect(connection))) return;
    if (performance.now() > deadline) {
      throw new HoldfastError(
        'TIMED_OUT',
        `the catalog's database was not ready after ${timeoutMs} ms: ${lastLogLines(directory)}`,
      );
    }
    await sleep(waitMs);
  }
}

async function canConnect(connection: EmbeddedPostgres['connection']): Promise<boolean> {
  const client = new pg.Client({ ...connection, connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

function lastLogLines(directory: string): string {
  try {
    return readFileSync(join(directory, 'server.log'), 'utf8').trim().split('\n').slice(-3).join(' | ');
  } catch {
    return 'no log';
  }
}

async function stopPostmaster(pid: number, data: string): Promise<void> {
  if (!isPostmasterOf(pid, data)) return;
  // SIGINT is PostgreSQL's fast shutdown: roll back, disconnect, checkpoint.
  process.kill(pid, 'SIGINT');
  for (let waited = 0; !isZombieOrGone(pid); waited++) {
    if (waited === 600) process.kill(pid, 'SIGQUIT');
    await sleep(waited < 50 ? 5 : 50);
  }
  removeSocketDirectory(data);
}

function isZombieOrGone(pid: number): boolean {
  try {
    return isZombie(pid);
  } catch {
    return true;
  }
}

function removeSocketDirectory(data: string): void {
  const name = createHash('sha256').update(data).digest('hex').slice(0, 16);
  const directory = join(tmpdir(), `holdfast-${name}`);
  if (existsSync(directory) && readdirSync(directory).length === 0) rmSync(directory, { recursive: true });
}
