// A MariaDB server of a test's own: private data directory, unix socket, binary log in rows, every commit synced.
//
// Hazard: see own-server.ts. The client is told the socket, and reads no option file.

import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Account } from '../os/account.ts';
import { OwnServer, serverAccount, serverDirectory } from './own-server.ts';

/** Whether the programs are installed; `.ci/run` installs them. */
export const mariadbInstalled = ['mariadbd', 'mariadb-install-db', 'mariadb', 'mariadb-dump', 'mariadb-binlog'].every(
  (program) => ['/usr/sbin', '/usr/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, program))),
);

const START_MS = 30_000;
/** Not the test's TMPDIR: the account of the server may not write there. */
const ENVIRONMENT = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8' };

export class MariadbServer extends OwnServer {
  readonly dataDir: string;
  readonly socket: string;
  readonly #arguments: readonly string[];

  private constructor(directory: string, extra: readonly string[]) {
    super(directory, account(), 'SIGTERM');
    this.dataDir = join(directory, 'data');
    this.socket = join(directory, 'server.sock');
    this.#arguments = extra;
  }

  /** Initialises and starts one. `extra`: further options of mariadbd, the last word wins. */
  static async start(extra: readonly string[] = []): Promise<MariadbServer> {
    const server = new MariadbServer(serverDirectory('holdfast-mariadb-', account()), extra);
    const made = spawnSync(
      'mariadb-install-db',
      [
        '--no-defaults',
        ...userOption(),
        `--datadir=${server.dataDir}`,
        '--auth-root-authentication-method=normal',
        '--skip-test-db',
      ],
      { encoding: 'utf8', env: ENVIRONMENT },
    );
    if (made.status !== 0) throw new Error(`mariadb-install-db: ${made.stderr}${made.stdout}`);
    await server.runOrRemove();
    return server;
  }

  /** Words of a source's `dsn` setting. */
  get dsn(): string {
    return `socket=${this.socket} user=root`;
  }

  /** Starts it (again) and returns when it answers. */
  async run(): Promise<void> {
    const log = openSync(this.logPath, 'a');
    const child = spawn(
      'mariadbd',
      [
        '--no-defaults',
        ...userOption(),
        `--datadir=${this.dataDir}`,
        `--socket=${this.socket}`,
        `--pid-file=${join(this.directory, 'server.pid')}`,
        '--skip-networking',
        '--server-id=7',
        '--log-bin=mysql-bin',
        '--binlog-format=ROW',
        '--sync-binlog=1',
        '--innodb-buffer-pool-size=64M',
        ...this.#arguments,
      ],
      { stdio: ['ignore', log, log], env: ENVIRONMENT },
    );
    closeSync(log);
    this.runs(child);
    const until = performance.now() + START_MS;
    while (!this.#answers()) {
      if (child.exitCode !== null || performance.now() > until) throw new Error(`mariadbd did not start:\n${this.log}`);
      await wait(100);
    }
  }

  /** Runs statements through the client program; rows as it prints them in batch mode, without column names. */
  sql(text: string, database?: string): string {
    const done = this.#client(text, database);
    if (done.status !== 0) throw new Error(`mariadb: ${done.stderr}`);
    return done.stdout.trimEnd();
  }

  #answers(): boolean {
    return existsSync(this.socket) && this.#client('SELECT 1').status === 0;
  }

  #client(text: string, database?: string) {
    return spawnSync(
      'mariadb',
      [
        '--no-defaults',
        `--socket=${this.socket}`,
        '--user=root',
        '--batch',
        '--skip-column-names',
        '--default-character-set=utf8mb4',
        ...(database === undefined ? [] : [database]),
      ],
      { input: text, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 },
    );
  }
}

function userOption(): string[] {
  return account() === undefined ? [] : ['--user=mysql'];
}

function account(): Account | undefined {
  return serverAccount(['mysql']);
}
