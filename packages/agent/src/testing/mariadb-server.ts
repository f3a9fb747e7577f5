// A MariaDB server of a test's own: private data directory, unix socket, binary log in rows, every commit synced.
//
// Hazard: a test that speaks to the machine's own server, or ends it. Everything is below one new directory, the client is told
// the socket and reads no option file, and processes are ended by the id that this module started.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** Whether the programs are installed; `.ci/run` installs them. */
export const mariadbInstalled = ['mariadbd', 'mariadb-install-db', 'mariadb', 'mariadb-dump', 'mariadb-binlog'].every(
  (program) => ['/usr/sbin', '/usr/bin', '/usr/local/bin'].some((folder) => existsSync(join(folder, program))),
);

const START_MS = 30_000;
/** Not the test's TMPDIR: the account of the server may not write there. */
const ENVIRONMENT = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8' };

export class MariadbServer {
  /** Everything of this server; owned by the account that it runs as. */
  readonly directory: string;
  readonly dataDir: string;
  readonly socket: string;
  readonly #arguments: readonly string[];
  #process: ChildProcess | undefined;

  private constructor(directory: string, extra: readonly string[]) {
    this.directory = directory;
    this.dataDir = join(directory, 'data');
    this.socket = join(directory, 'server.sock');
    this.#arguments = extra;
  }

  /** Initialises and starts one. `extra`: further options of mariadbd, the last word wins. */
  static async start(extra: readonly string[] = []): Promise<MariadbServer> {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-mariadb-'));
    chmodSync(directory, 0o755);
    const account = serverAccount();
    if (account !== undefined) chownSync(directory, account.uid, account.gid);
    const server = new MariadbServer(directory, extra);
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
    await server.run();
    return server;
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('the server does not run');
    return pid;
  }

  /** Words of a source's `dsn` setting. */
  get dsn(): string {
    return `socket=${this.socket} user=root`;
  }

  get log(): string {
    return readFileSync(join(this.directory, 'server.log'), 'utf8');
  }

  /** Starts it (again) and returns when it answers. */
  async run(): Promise<void> {
    const log = openSync(join(this.directory, 'server.log'), 'a');
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
    this.#process = child;
    const killWithUs = (): void => void child.kill('SIGKILL');
    process.once('exit', killWithUs);
    child.once('exit', () => process.off('exit', killWithUs));
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

  /** A clean shutdown. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  /** As a power failure would end it. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** A new folder below, which the server may write. */
  folder(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path);
    const account = serverAccount();
    if (account !== undefined) chownSync(path, account.uid, account.gid);
    return path;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
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
  return serverAccount() === undefined ? [] : ['--user=mysql'];
}

/** The server refuses to run as root: the account `mysql`, when this process is root. */
function serverAccount(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('mysql:'));
  const [, , uid, gid] = line?.split(':') ?? [];
  if (uid === undefined || gid === undefined) throw new Error('there is no account mysql for the server to run as');
  return { uid: Number(uid), gid: Number(gid) };
}
