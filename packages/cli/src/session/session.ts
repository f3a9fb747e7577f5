// One run of the command line: what every verb is given. It knows the global options, speaks to the controller once
// asked to, and prints either words for people or documents for programs.

import { once } from 'node:events';
import type { OperatorClient } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { RecoveryClient } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import type { Connection } from './connection.ts';
import type { Environment } from './environment.ts';
import type { GlobalOptions } from './global-options.ts';

export class Session {
  readonly environment: Environment;
  /** What the shell gets; a verb raises it to 3 for "done with warnings". */
  exitCode = 0;
  readonly #options: () => GlobalOptions;
  #connection: Promise<Connection> | undefined;

  constructor(environment: Environment, options: () => GlobalOptions) {
    this.environment = environment;
    this.#options = options;
  }

  get json(): boolean {
    return this.#options().json === true;
  }

  get contextName(): string | undefined {
    return this.#options().context;
  }

  get domainOption(): string | undefined {
    return this.#options().domain;
  }

  /** Connects at the first call. gRPC is loaded only then: help and completion must not wait for it. */
  async connect(): Promise<Connection> {
    this.#connection ??= import('./connection.ts').then((module) =>
      module.openConnection(this.environment, this.#options()),
    );
    return await this.#connection;
  }

  async operator(): Promise<OperatorClient> {
    return (await this.connect()).operator;
  }

  async recovery(): Promise<RecoveryClient> {
    return (await this.connect()).recovery;
  }

  /** The domain to name in requests; empty lets the controller take the caller's only one. */
  async domain(): Promise<string> {
    return (await this.connect()).domain;
  }

  /** What was called, if anything was. */
  async address(): Promise<string | undefined> {
    return (await this.#connection?.catch(() => undefined))?.address;
  }

  /** How wide a table may be; undefined when nobody looks at it on a terminal. */
  get width(): number | undefined {
    return this.environment.stdoutIsTerminal ? this.environment.columns() : undefined;
  }

  /** To standard output, waiting while the reader is slow. */
  async write(text: string): Promise<void> {
    if (!this.environment.stdout.write(text)) await once(this.environment.stdout, 'drain');
  }

  /** The one document of a `--json` run. */
  async document(value: unknown): Promise<void> {
    await this.write(`${JSON.stringify(value, null, this.environment.stdoutIsTerminal ? 2 : 0)}\n`);
  }

  /** One line of a `--json` run that reports as it goes. */
  async event(value: object): Promise<void> {
    await this.write(`${JSON.stringify(value)}\n`);
  }

  /** A document whose list may be too long to hold: `{"name":[item,…]}` written as the items come. Returns how many. */
  async documentOfList<T>(name: string, items: AsyncIterable<T>): Promise<number> {
    let count = 0;
    for await (const item of items) {
      await this.write(`${count === 0 ? `{${JSON.stringify(name)}:[` : ','}\n${JSON.stringify(item)}`);
      count += 1;
    }
    await this.write(count === 0 ? `{${JSON.stringify(name)}:[]}\n` : '\n]}\n');
    return count;
  }

  /** A remark for people: to standard error, not in `--json`. */
  remark(text: string): void {
    if (!this.json) this.environment.stderr.write(`${text}\n`);
  }

  async close(): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined);
    connection?.close();
  }
}
