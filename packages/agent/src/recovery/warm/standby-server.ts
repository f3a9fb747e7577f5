// The server of a warm copy, by its directory: whichever agent started it, it is found again by its own pid file.

import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import { askServer, startServer } from '../../sources/postgres/restore/server-run.ts';
import type { WarmRecord } from './warm-record.ts';

const POLL_MS = 20;
const STOP_MS = 60_000;
const LOG_FILE = 'holdfast_recovery.log';

export class StandbyServer {
  readonly #record: WarmRecord;
  readonly #clock: Clock;

  constructor(record: WarmRecord, clock: Clock) {
    this.#record = record;
    this.#clock = clock;
  }

  get connect(): string {
    return `host=${this.#record.dataDir} port=${this.#record.port}`;
  }

  /** Its postmaster; undefined: none runs there. */
  get pid(): number | undefined {
    const { dataDir } = this.#record;
    try {
      const pid = Number(readFileSync(join(dataDir, 'postmaster.pid'), 'latin1').split('\n')[0]);
      return Number.isInteger(pid) && pid > 1 && readlinkSync(`/proc/${pid}/cwd`) === dataDir ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  /** Starts it when it does not run. */
  start(): void {
    if (this.pid !== undefined) return;
    const { bin, dataDir, port, account, superuser } = this.#record;
    startServer({ bin, dataDir, port, account, clock: this.#clock, user: superuser });
  }

  query(text: string): Promise<Record<string, unknown>[]> {
    const { dataDir, port, superuser } = this.#record;
    return askServer({ dataDir, port, user: superuser }, text);
  }

  /** Ends the replay at what is on its disk; resolves when it takes writes. Throws CANCELLED, FAILED_PRECONDITION. */
  async promote(signal: AbortSignal): Promise<void> {
    const pid = this.pid;
    if (pid === undefined) throw new HoldfastError('FAILED_PRECONDITION', 'the standby server does not run');
    writeFileSync(join(this.#record.dataDir, 'promote'), '');
    process.kill(pid, 'SIGUSR1');
    for (;;) {
      if (signal.aborted) throw new HoldfastError('CANCELLED', 'cancelled while the standby was promoted');
      if (this.pid !== pid)
        throw new HoldfastError('FAILED_PRECONDITION', `the standby server ended: ${this.lastWords()}`);
      try {
        const [row] = await this.query('select pg_is_in_recovery() as recovering');
        if (row?.['recovering'] === false) return;
      } catch {
        // It lets nobody in before.
      }
      await sleep(this.#clock, POLL_MS, signal);
    }
  }

  reload(): void {
    const pid = this.pid;
    if (pid !== undefined) process.kill(pid, 'SIGHUP');
  }

  /** A fast shutdown; by force when that takes too long. */
  async stop(): Promise<void> {
    const pid = this.pid;
    if (pid === undefined) return;
    process.kill(pid, 'SIGINT');
    const until = this.#clock.monotonicMs() + STOP_MS;
    let forced = false;
    while (this.pid === pid) {
      if (!forced && this.#clock.monotonicMs() > until) {
        forced = true;
        process.kill(pid, 'SIGQUIT');
      }
      await sleep(this.#clock, POLL_MS);
    }
  }

  /** The last that it complained about. */
  lastWords(): string {
    try {
      const lines = readFileSync(join(this.#record.dataDir, LOG_FILE), 'utf8').slice(-8192).split('\n');
      const said = lines.filter((line) => /(FATAL|PANIC|ERROR):/.test(line)).at(-1);
      return said?.replace(/^.*?(FATAL|PANIC|ERROR):\s*/, '') ?? 'it said nothing';
    } catch {
      return 'it said nothing';
    }
  }
}
