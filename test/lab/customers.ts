// The customers, from a test: they order until they are stopped. Those on the host `client` do so through the service address.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { siblingModule } from '@holdfast/shared/runtime/sibling-module';
import { systemEnvironment } from './command.ts';
import type { Host } from './host.ts';
import type { Lab } from './lab.ts';
import {
  lostOrders,
  overlaps,
  parseLines,
  reportOf,
  type HostWrite,
  type LoadReport,
  type OrderAttempt,
  type Overlap,
} from './load-report.ts';
import { SERVICE_ADDRESS } from './machines.ts';

const LOG = '/var/log/load.log';
const REQUEST_LOG = '/var/log/shop/requests.log';
const PATIENCE_MS = 10_000;
const POLL_MS = 50;
const INSIDE_PER_SECOND = 20;

/** Where customers order, and from where. */
interface Counter {
  readonly host: string;
  readonly address: string;
}

const ALL_THE_WORLD: Counter = { host: 'client', address: SERVICE_ADDRESS };

export class Customers {
  readonly #lab: Lab;
  readonly #host: Host;
  readonly #process: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #pid: Promise<number>;

  private constructor(lab: Lab, host: Host, child: ChildProcess) {
    this.#lab = lab;
    this.#host = host;
    this.#process = child;
    this.#pid = new Promise((resolve) =>
      child.stdout?.once('data', (line: Buffer) => resolve(Number(line.toString()))),
    );
    this.#ended = new Promise((resolve) => child.once('close', () => resolve()));
  }

  /** Lets customers come, that many orders a second while all is well. Resolves with the first acknowledged order. */
  static async come(lab: Lab, ordersPerSecond = 40, counter = ALL_THE_WORLD): Promise<Customers> {
    const host = lab.host(counter.host);
    rmSync(host.file(LOG), { force: true });
    const program = fileURLToPath(siblingModule(import.meta.url, './load'));
    const words = [process.execPath, program, `http://${counter.address}`, LOG, String(ordersPerSecond)];
    const child = spawn('nsenter', host.entering(words), {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: systemEnvironment(),
    });
    const customers = new Customers(lab, host, child);
    await customers.untilServed('', 0);
    return customers;
  }

  /** Those who sit on this host itself, and order at its own address: no cable that is cut keeps them away. */
  static async comeInside(lab: Lab, name: string): Promise<Customers> {
    return await Customers.come(lab, INSIDE_PER_SECOND, { host: name, address: lab.host(name).address });
  }

  /** Every order that is over by now. */
  attempts(): OrderAttempt[] {
    const file = this.#host.file(LOG);
    return existsSync(file) ? parseLines<OrderAttempt>(readFileSync(file, 'utf8')) : [];
  }

  report(): LoadReport {
    return reportOf(this.attempts());
  }

  /**
   * Resolves when an order that was sent after `sinceMs` was acknowledged by `host` ('': by any).
   * @param sinceMs of the machine's monotonic clock, as `monotonicMs` tells it
   */
  async untilServed(host: string, sinceMs: number, withinMs = PATIENCE_MS): Promise<OrderAttempt> {
    const until = performance.now() + withinMs;
    for (;;) {
      const found = this.attempts().find(
        (attempt) => attempt.status === 201 && attempt.sentMs >= sinceMs && (host === '' || attempt.host === host),
      );
      if (found !== undefined) return found;
      if (performance.now() > until) {
        const last = this.attempts().at(-1);
        throw new Error(`no order was acknowledged by ${host || 'anybody'}; the last one: ${JSON.stringify(last)}`);
      }
      await sleep(POLL_MS);
    }
  }

  /** They finish what they ordered and go. */
  async leave(): Promise<void> {
    const { exitCode, signalCode } = this.#process;
    // nsenter waits for the program on the host, which is the one to be told, by its pid there.
    if (exitCode === null && signalCode === null) await this.#host.exec(['kill', String(await this.#pid)]);
    await this.#ended;
  }

  /** Orders that were acknowledged and that the database on `host` does not have. */
  async lostOn(host: string): Promise<OrderAttempt[]> {
    return lostOrders(this.attempts(), await ordersOn(this.#lab, host));
  }

  /** @param switches how often the service has moved on purpose */
  overlaps(switches: number): Overlap[] {
    return overlaps([...writesOf(this.#lab, 'web-1'), ...writesOf(this.#lab, 'web-2')], switches);
  }
}

/** The clock of all times in reports: one for all hosts, because they are on one kernel. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

export async function ordersOn(lab: Lab, host: string): Promise<Set<string>> {
  const said = await lab
    .host(host)
    .ok('psql', '-qtAU', 'shop', '-h', '/run/postgresql', 'shop', '-c', 'SELECT id FROM orders');
  return new Set(said.split('\n').filter((line) => line !== ''));
}

/** What a host says that it took, also when it is dead. */
export function writesOf(lab: Lab, host: string): HostWrite[] {
  const file = lab.host(host).file(REQUEST_LOG);
  if (!existsSync(file)) return [];
  return parseLines<Omit<HostWrite, 'host'>>(readFileSync(file, 'utf8')).map((line) => ({ ...line, host }));
}
