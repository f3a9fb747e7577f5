// A server of a restore's own: started on a restored data directory, reached by a socket in it, ended by its process id.
//
// Hazards: a server that others reach while it is being filled (no network, a socket in a directory that only its account may
// enter); one that runs as root (it gives itself to the account `mysql`); one that stays behind (`end`, whatever happened).

import { spawn, type ChildProcess } from 'node:child_process';
import { chownSync, closeSync, fchmodSync, lstatSync, openSync, readFileSync, readdirSync, lchownSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep, systemClock } from '@holdfast/shared/runtime/clock';
import { accountNamed, type Account } from '../../../os/account.ts';
import { ServerSession } from '../protocol/server-session.ts';
import { requireTool, runTool, TOOL_ENVIRONMENT } from '../tools.ts';

const START_MS = 600_000;
const POLL_MS = 100;
const STOP_MS = 600_000;
const SOCKET = 'holdfast.sock';
const LOG = 'holdfast-server.log';
/** sun_path of unix(7), without its end. */
const SOCKET_PATH_MAX = 107;

export interface ServerOptions {
  /** Further options. */
  readonly extra: readonly string[];
  /** It goes on when the agent ends. */
  readonly detached: boolean;
}

export class PrivateServer {
  readonly socket: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  private constructor(socket: string, child: ChildProcess) {
    this.socket = socket;
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  /** Returns when it answers. Throws FAILED_PRECONDITION with the end of its log, CANCELLED. */
  static async start(directory: string, options: ServerOptions, signal: AbortSignal): Promise<PrivateServer> {
    const socket = socketOf(directory);
    const logPath = join(directory, LOG);
    const log = openSync(logPath, 'a', 0o640);
    fchmodSync(log, 0o640);
    const args = [
      '--no-defaults',
      ...accountOption(),
      `--datadir=${directory}`,
      `--socket=${socket}`,
      `--pid-file=${join(directory, 'holdfast.pid')}`,
      ...options.extra,
    ];
    const child = spawn(requireTool('server'), args, {
      stdio: ['ignore', log, log],
      detached: options.detached,
      env: TOOL_ENVIRONMENT,
    });
    closeSync(log);
    const server = new PrivateServer(socket, child);
    let failure: Error | undefined;
    child.once('error', (error) => (failure = error));
    const until = performance.now() + START_MS;
    while (!(await answers(socket))) {
      const gone = failure !== undefined || child.exitCode !== null || child.signalCode !== null;
      if (gone || signal.aborted || performance.now() > until) {
        await server.kill();
        if (signal.aborted) throw new HoldfastError('CANCELLED', 'the job was cancelled');
        throw new HoldfastError('FAILED_PRECONDITION', `the restored server did not start: ${lastErrors(logPath)}`, {
          hint: `Its log is ${logPath}; the account mysql must be able to enter the directories above it.`,
        });
      }
      await sleep(systemClock, POLL_MS, signal);
    }
    if (options.detached) child.unref();
    return server;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** A clean shutdown: everything is on disk when it returns. Throws FAILED_PRECONDITION when it did not end well. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#ended;
    clearTimeout(timer);
    if (this.#child.exitCode !== 0) {
      throw new HoldfastError('FAILED_PRECONDITION', 'the restored server did not shut down well');
    }
  }

  async kill(): Promise<void> {
    if (this.#child.pid === undefined) return;
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await this.#ended;
    }
  }
}

/** Throws FAILED_PRECONDITION for a path that is too long for a socket. */
export function socketOf(directory: string): string {
  const socket = join(directory, SOCKET);
  if (Buffer.byteLength(socket) <= SOCKET_PATH_MAX) return socket;
  throw new HoldfastError('FAILED_PRECONDITION', `${socket} is too long for a unix socket`, {
    hint: 'Restore into a directory with a shorter path.',
  });
}

/** An empty server's files in `directory`. Throws FAILED_PRECONDITION, CANCELLED. */
export async function installServer(directory: string, signal: AbortSignal): Promise<void> {
  const args = [
    '--no-defaults',
    ...accountOption(),
    `--datadir=${directory}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
  ];
  try {
    await runTool(requireTool('install'), args, signal);
  } catch (cause) {
    if (!(cause instanceof HoldfastError) || cause.code === 'CANCELLED') throw cause;
    throw new HoldfastError(cause.code, cause.message, {
      hint: 'The account mysql must be able to enter the directories above the target.',
      cause,
    });
  }
}

/** Gives everything below to the account that the server runs as. */
export function giveToServer(directory: string): void {
  const account = serverAccount();
  if (account === undefined) return;
  const give = (path: string): void => {
    if (lstatSync(path).isDirectory()) {
      for (const name of readdirSync(path)) give(join(path, name));
    }
    lchownSync(path, account.uid, account.gid);
  };
  give(directory);
}

/** One directory or file alone. */
export function letServerEnter(path: string): void {
  const account = serverAccount();
  if (account !== undefined) chownSync(path, account.uid, account.gid);
}

/** undefined: the agent is no root, so the server runs as the agent does. */
function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const account = accountNamed('mysql');
  if (account !== undefined) return account;
  throw new HoldfastError('FAILED_PRECONDITION', 'there is no account mysql for the restored server to run as', {
    hint: 'Install the package mariadb-server; it makes the account.',
  });
}

function accountOption(): string[] {
  return serverAccount() === undefined ? [] : ['--user=mysql'];
}

async function answers(socket: string): Promise<boolean> {
  try {
    (await ServerSession.open({ socket, host: '', port: 0, user: 'root', password: '' })).close();
    return true;
  } catch (error) {
    // Who is refused was answered.
    return error instanceof HoldfastError && error.code === 'UNAUTHENTICATED';
  }
}

function lastErrors(path: string): string {
  const lines = readFileSync(path, 'utf8').split('\n');
  const errors = lines.filter((line) => line.includes('[ERROR]'));
  return (errors.length > 0 ? errors : lines).slice(-3).join(' · ').trim();
}
