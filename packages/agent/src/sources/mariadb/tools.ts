// The server's own programs: which are there, and how they are run.
//
// Hazards: a secret in a process list (options name a file, never a password); a program that goes on after its job (its end is
// waited for, its signal is ours); an error of any length (the last words alone are kept).

import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';

export type ToolName = 'dump' | 'client' | 'binlog' | 'backup' | 'server' | 'install';

const NAMES: Readonly<Record<ToolName, readonly string[]>> = {
  dump: ['mariadb-dump', 'mysqldump'],
  client: ['mariadb', 'mysql'],
  binlog: ['mariadb-binlog', 'mysqlbinlog'],
  backup: ['mariadb-backup', 'mariabackup'],
  server: ['mariadbd', 'mysqld'],
  install: ['mariadb-install-db', 'mysql_install_db'],
};

/** Where servers are installed besides what the agent's own PATH has. */
const FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin', '/usr/libexec'];

/** The program's path; undefined: it is not installed. */
export function findTool(tool: ToolName): string | undefined {
  for (const name of NAMES[tool]) {
    for (const folder of FOLDERS) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not there: the next place.
      }
    }
  }
  return undefined;
}

/** Throws FAILED_PRECONDITION with the package that has it. */
export function requireTool(tool: ToolName): string {
  const path = findTool(tool);
  if (path !== undefined) return path;
  throw new HoldfastError('FAILED_PRECONDITION', `${NAMES[tool][0]} is not installed on this host`, {
    hint: `Install it: apt-get install ${packageOf(tool)}`,
  });
}

export function packageOf(tool: ToolName): string {
  if (tool === 'backup') return 'mariadb-backup';
  return tool === 'server' || tool === 'install' ? 'mariadb-server' : 'mariadb-client';
}

const ERROR_BYTES = 4096;

/** Nothing of the agent's own: a server that runs as another account can't write the agent's TMPDIR, say. */
export const TOOL_ENVIRONMENT: NodeJS.ProcessEnv = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C.UTF-8',
};

/** A program that runs, with the end of what it says on its standard error. */
export class RunningTool {
  readonly child: ChildProcess;
  readonly name: string;
  #words = Buffer.alloc(0);
  readonly #ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  /** @param stdio of standard input and output; the error output is kept here */
  constructor(
    path: string,
    args: readonly string[],
    stdio: readonly ['pipe' | 'ignore', 'pipe' | 'ignore'],
    options: { readonly cwd?: string; readonly keepErrors?: (text: Buffer) => void } = {},
  ) {
    this.name = path.slice(path.lastIndexOf('/') + 1);
    this.child = spawn(path, [...args], {
      stdio: [...stdio, 'pipe'],
      env: TOOL_ENVIRONMENT,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const ended = Promise.withResolvers<{ code: number | null; signal: NodeJS.Signals | null }>();
    this.#ended = ended.promise;
    this.#ended.catch(() => undefined);
    this.child.once('error', (cause) => {
      ended.reject(new HoldfastError('FAILED_PRECONDITION', `${this.name} could not be run`, { cause }));
    });
    this.child.once('close', (code, signal) => ended.resolve({ code, signal }));
    this.child.stderr?.on('data', (bytes: Buffer) => {
      options.keepErrors?.(bytes);
      this.#words = Buffer.concat([this.#words, bytes]).subarray(-ERROR_BYTES);
    });
    // What a program that ended early did not read is told by its end.
    this.child.stdin?.on('error', () => undefined);
  }

  /** The last of what it said on its standard error. */
  get words(): string {
    return this.#words.toString('utf8').trim();
  }

  /** Resolves when it has ended well. Throws FAILED_PRECONDITION with its last words. */
  async done(): Promise<void> {
    const { code, signal } = await this.#ended;
    if (code === 0) return;
    const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
    throw new HoldfastError('FAILED_PRECONDITION', `${this.name} ${how}: ${lastLines(this.words)}`);
  }

  /** Ends it, however it goes on. */
  async end(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.#ended.catch(() => undefined);
  }
}

/** Runs a program to its end. Throws FAILED_PRECONDITION with its last words, CANCELLED. */
export async function runTool(path: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  const tool = new RunningTool(path, args, ['ignore', 'ignore']);
  const cancel = (): void => void tool.child.kill('SIGTERM');
  signal.addEventListener('abort', cancel, { once: true });
  try {
    if (signal.aborted) cancel();
    await tool.done();
  } catch (error) {
    if (signal.aborted) throw new HoldfastError('CANCELLED', 'the job was cancelled', { cause: error });
    throw error;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

function lastLines(text: string): string {
  return text.split('\n').slice(-4).join(' · ');
}
