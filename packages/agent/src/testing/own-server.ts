// A database server of a test's own: one new directory that holds all of it, one process, and the end of both.
//
// Hazard: a test that speaks to the machine's own server, or ends it. Everything is below the directory, and processes are ended
// by the id that was started here; they end with the test's process, too.

import type { ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { accountNamed, type Account } from '../os/account.ts';

export abstract class OwnServer {
  /** Everything of this server; owned by the account that it runs as. The socket is here, too. */
  readonly directory: string;
  readonly #account: Account | undefined;
  readonly #shutdown: NodeJS.Signals;
  #process: ChildProcess | undefined;

  /** @param shutdown by which it ends well, dropping its clients */
  protected constructor(directory: string, account: Account | undefined, shutdown: NodeJS.Signals) {
    this.directory = directory;
    this.#account = account;
    this.#shutdown = shutdown;
  }

  /** Starts it (again) and returns when it answers. */
  abstract run(): Promise<void>;

  /** The same for a new one, of which nothing stays when it does not start. */
  protected async runOrRemove(): Promise<void> {
    try {
      await this.run();
    } catch (error) {
      await this.remove();
      throw error;
    }
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('the server does not run');
    return pid;
  }

  get running(): boolean {
    return this.#process !== undefined && isRunning(this.#process);
  }

  get log(): string {
    return readFileSync(this.logPath, 'utf8');
  }

  /** A clean shutdown: everything is written. */
  async stop(): Promise<void> {
    await this.#end(this.#shutdown);
  }

  /** As a power failure would end it: it and everything below it. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Ends it, if it runs, and removes everything. */
  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  folderOf(name: string): string {
    return join(this.directory, name);
  }

  /** A new folder below, which the server may write. */
  folder(name: string): string {
    const path = this.folderOf(name);
    mkdirSync(path);
    own(path, this.#account);
    return path;
  }

  protected get logPath(): string {
    return this.folderOf('server.log');
  }

  protected runs(child: ChildProcess): void {
    this.#process = child;
    endWithUs(child);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || !isRunning(child)) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const children = signal === 'SIGKILL' && child.pid !== undefined ? childrenOf(child.pid) : [];
    child.kill(signal);
    // A killed postmaster leaves its backends to notice by themselves; a power failure does not.
    for (const pid of children) killQuietly(pid);
    await ended;
    while (children.some((pid) => existsSync(`/proc/${pid}`))) await wait(10);
  }
}

/** A new directory below `parent` that the account may enter and write. */
export function serverDirectory(name: string, account: Account | undefined, parent = tmpdir()): string {
  const directory = mkdtempSync(join(parent, name));
  chmodSync(directory, 0o755);
  own(directory, account);
  return directory;
}

/** The first of these accounts that there is; undefined when this process is no root: the server runs as it does. */
export function serverAccount(names: readonly string[]): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const account = names.map(accountNamed).find((one) => one !== undefined);
  if (account === undefined) throw new Error(`there is no account ${names[0]} for the server to run as`);
  return account;
}

export function endWithUs(child: ChildProcess): void {
  const killWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', killWithUs);
  child.once('exit', () => process.off('exit', killWithUs));
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

function own(path: string, account: Account | undefined): void {
  if (account !== undefined) chownSync(path, account.uid, account.gid);
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
