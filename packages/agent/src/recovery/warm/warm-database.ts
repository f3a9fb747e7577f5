// One warm copy of a PostgreSQL source: a standby server that replays the vault's log on and on, and takes over within a moment.
//
// Hazard: a copy that stands still and nobody knows. A server that ended is started again, a few times; what can't go on (a hole in the log, a
// history that it does not share) makes the copy *broken*, is reported, and the next `keep` brings a new base.
//
// Invariants (warm-postgres.db.test.ts): WP1 what was committed and stored is replayed soon after; WP2 `finish` replays all that is stored, also
// of a file of the log that is not whole, and the server takes writes; WP3 a restart of the agent, or of the server, loses nothing; WP4 a
// hole breaks the copy, and is never passed over; WP5 what `finish` takes does not grow with the data.

import { chmodSync, chownSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { LogPosition, LogStream } from '@holdfast/shared/format/log-point';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { AgentIdentity } from '../../link/identity.ts';
import type { LogReadSession } from '../../link/log-port.ts';
import type { VaultClient } from '../../link/vault-port.ts';
import { KeyRing } from '../../restore/key-ring.ts';
import { parseLsn, positionOf } from '../../sources/postgres/log/lsn.ts';
import { replaceSettings } from '../../sources/postgres/restore/data-directory.ts';
import { LOG_FOLDER, promotedSettings } from '../../sources/postgres/restore/recovery-settings.ts';
import { StandbyServer } from './standby-server.ts';
import { findWay, type WalWay } from './stored-wal.ts';
import type { WarmReport } from './warm-report.ts';
import { WalSender } from './wal-sender.ts';
import type { WarmRecord } from './warm-record.ts';

export interface WarmDatabaseDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly vault: VaultClient;
  readonly identity: () => AgentIdentity;
  /** Durable when it returns. */
  readonly save: (record: WarmRecord) => void;
  readonly report: (report: WarmReport) => void;
}

const WATCH_MS = 1000;
/** Starts within RESTART_WINDOW_MS before the server counts as one that will not stay. */
const RESTARTS_MAX = 5;
const RESTART_WINDOW_MS = 300_000;
/** In the data directory's own folder: only the server's account gets there. */
export const SENDER_PORT = 1;

/** How the standby reaches its sender, in libpq's words. */
export function conninfoOf(dataDir: string): string {
  const folder = join(dataDir, LOG_FOLDER).replaceAll(/['\\]/g, (sign) => `\\${sign}`);
  return `host='${folder}' port=${SENDER_PORT} user=holdfast application_name=holdfast sslmode=disable gssencmode=disable`;
}

export class WarmDatabase {
  readonly #deps: WarmDatabaseDeps;
  readonly #over = new AbortController();
  readonly #sender: WalSender;
  readonly #server: StandbyServer;
  readonly #starts: number[] = [];
  #record: WarmRecord;
  #reading: { readonly session: LogReadSession; readonly way: WalWay } | undefined;
  /** Of the order before, closed once the next one is open. */
  #outdated: LogReadSession | undefined;
  #note = '';
  #finishing = false;
  #watching: Promise<void> = Promise.resolve();

  constructor(record: WarmRecord, deps: WarmDatabaseDeps) {
    this.#record = record;
    this.#deps = deps;
    this.#server = new StandbyServer(record, deps.clock);
    const { domainSecret, domainId } = deps.identity();
    if (domainSecret === undefined) {
      throw new HoldfastError('FAILED_PRECONDITION', 'this host has no key of its domain: it can read no log');
    }
    this.#sender = new WalSender({
      clock: deps.clock,
      log: deps.log,
      keys: new KeyRing(domainSecret, domainId),
      baseStart: parseLsn(record.baseStart),
      serverVersion: record.serverVersion,
      walFileBytes: record.walFileBytes,
      source: () => this.#source(),
      failed: (error) => this.#failed(error),
    });
  }

  get record(): WarmRecord {
    return this.#record;
  }

  get broken(): string {
    return this.#record.broken;
  }

  get connect(): string {
    return this.#server.connect;
  }

  get state(): WarmReport {
    const { application, sourceId, systemIdentifier, timeline, broken } = this.#record;
    const replayed = this.#sender.replayed;
    return {
      application,
      sourceId,
      state: broken === '' ? 'replaying' : 'broken',
      stream: { systemIdentifier, timeline: replayed?.timeline || timeline },
      replayed: replayed === undefined ? undefined : positionOf(replayed.applied),
      completeToMs: replayed?.completeToMs ?? 0,
      note: broken === '' ? this.#note : broken,
    };
  }

  /** Opens the socket, starts the server where it does not run, and watches both until `stop`. */
  async start(): Promise<void> {
    const { dataDir, account } = this.#record;
    const folder = join(dataDir, LOG_FOLDER);
    const socket = join(folder, `.s.PGSQL.${SENDER_PORT}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    rmSync(socket, { force: true });
    await this.#sender.listen(socket);
    if (process.getuid?.() === 0) {
      chownSync(folder, account.uid, account.gid);
      chownSync(socket, account.uid, account.gid);
    }
    chmodSync(socket, 0o600);
    this.#watching = this.#watch();
  }

  /** What a newer order brings: a grant that lasts longer, a stream that has forked from the one before. */
  renew(grant: Uint8Array, stream: LogStream): void {
    this.#record = { ...this.#record, grant: Buffer.from(grant).toString('base64'), timeline: stream.timeline };
    this.#deps.save(this.#record);
    // What is being read goes on: a session that is closed in the middle of it costs a pause.
    this.#outdated ??= this.#reading?.session;
    this.#reading = undefined;
  }

  /** Resolves when the standby has replayed something and says so. Throws FAILED_PRECONDITION when it is broken, CANCELLED. */
  async replaying(signal: AbortSignal): Promise<WarmReport> {
    for (;;) {
      if (signal.aborted) throw new HoldfastError('CANCELLED', 'cancelled before the standby replayed');
      if (this.broken !== '') throw new HoldfastError('FAILED_PRECONDITION', this.broken);
      if (this.#sender.replayed !== undefined) return this.state;
      await sleep(this.#deps.clock, 50, signal);
    }
  }

  /**
   * Replays the rest of what is stored and promotes; from then on the server is nobody's copy.
   * @param atLeast what the order knows to be stored. Throws FAILED_PRECONDITION, DAMAGED, CANCELLED.
   */
  async finish(atLeast: LogPosition | undefined, signal: AbortSignal): Promise<LogPosition> {
    try {
      const end = await Promise.race([this.#sender.drain(signal), this.#breaks(signal)]);
      if (typeof end === 'string') throw new HoldfastError('FAILED_PRECONDITION', end);
      if (atLeast !== undefined && end < atLeast.order) {
        throw new HoldfastError(
          'DAMAGED',
          `the log that can be read ends at ${positionOf(end).text}, before ${atLeast.text}`,
        );
      }
      this.#finishing = true;
      replaceSettings(this.#record.dataDir, promotedSettings(this.#record.tablespacesInPlace));
      await this.#server.promote(signal);
      this.#server.reload();
      return positionOf(end);
    } catch (error) {
      this.#finishing = false;
      throw error;
    }
  }

  query(text: string): Promise<Record<string, unknown>[]> {
    return this.#server.query(text);
  }

  /** Stops following; the server goes on, unless it is to end as well. */
  async stop(server: 'goes-on' | 'ends'): Promise<void> {
    this.#over.abort();
    await this.#sender.close();
    this.#forgetReading();
    await this.#watching;
    if (server === 'ends') await this.#server.stop();
    rmSync(join(this.#record.dataDir, LOG_FOLDER, `.s.PGSQL.${SENDER_PORT}`), { force: true });
  }

  async #breaks(signal: AbortSignal): Promise<string> {
    while (!signal.aborted && !this.#over.signal.aborted) {
      if (this.broken !== '') return this.broken;
      await sleep(this.#deps.clock, 100, signal);
    }
    return 'cancelled';
  }

  async #watch(): Promise<void> {
    const { clock } = this.#deps;
    while (!this.#over.signal.aborted) {
      if (this.broken === '' && this.#server.pid === undefined && !this.#finishing) this.#restart();
      this.#deps.report(this.state);
      await sleep(clock, WATCH_MS, this.#over.signal);
    }
  }

  #restart(): void {
    const nowMs = this.#deps.clock.monotonicMs();
    while (this.#starts[0] !== undefined && this.#starts[0] < nowMs - RESTART_WINDOW_MS) this.#starts.shift();
    if (this.#starts.length >= RESTARTS_MAX) {
      this.#break(`the standby server does not stay: ${this.#server.lastWords()}`);
      return;
    }
    if (this.#starts.length > 0) this.#deps.log.warn('warm.server-ended', { said: this.#server.lastWords() });
    this.#starts.push(nowMs);
    try {
      this.#server.start();
    } catch (error) {
      this.#note = toHoldfastError(error).message;
    }
  }

  async #source(): Promise<{ readonly session: LogReadSession; readonly way: WalWay }> {
    if (this.#reading !== undefined) return this.#reading;
    const { grant, systemIdentifier, baseTimeline, baseStart, timeline } = this.#record;
    const session = await this.#deps.vault.openLogRead(Buffer.from(grant, 'base64'), { signal: this.#over.signal });
    try {
      const base = { stream: { systemIdentifier, timeline: baseTimeline }, start: positionOf(parseLsn(baseStart)) };
      const way = await findWay(session, base, { systemIdentifier, timeline });
      this.#note = '';
      this.#outdated?.close();
      this.#outdated = undefined;
      return (this.#reading = { session, way });
    } catch (error) {
      session.close();
      throw error;
    }
  }

  #failed(error: HoldfastError): void {
    if (this.#over.signal.aborted || error.code === 'CANCELLED') return;
    this.#forgetReading();
    if (error.code === 'DAMAGED') this.#break(error.message);
    else this.#note = `waits: ${error.message}`;
  }

  /** WP4. */
  #break(why: string): void {
    if (this.broken !== '') return;
    this.#deps.log.warn('warm.broken', { sourceId: this.#record.sourceId, why });
    this.#record = { ...this.#record, broken: why };
    this.#deps.save(this.#record);
    this.#deps.report(this.state);
  }

  #forgetReading(): void {
    this.#reading?.session.close();
    this.#outdated?.close();
    this.#reading = undefined;
    this.#outdated = undefined;
  }
}
