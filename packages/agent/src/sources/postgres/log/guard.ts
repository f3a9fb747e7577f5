// Stands guard over one PostgreSQL source: follows its log whenever server and vault can be reached, watches what that costs the
// server, and has its bases taken.
//
// Hazard: production comes first. The watch over the slot runs whenever the server can be reached, also while the controller
// can't: past the bound the slot is dropped, whatever is lost for us. And no commit ever waits for us.
//
// Invariants (guard.db.test.ts): G1 what ends a stream is followed by another try, after a wait; G2 past walKeep the slot is dropped,
// and a gap recorded as soon as the vault can be reached; G3 a lost slot is a gap, and a new base; G4 after a stop nothing runs.

import { join } from 'node:path';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { seal, type SealOptions } from '@holdfast/shared/format/seal';
import { sleep } from '@holdfast/shared/runtime/clock';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import { newBandwidthLimiter } from '../../../jobs/bandwidth-limiter.ts';
import type { EngineSpec } from '../../../jobs/job.ts';
import type { LogClient } from '../../../link/log-port.ts';
import { BaseKeeper } from '../../bases/base-keeper.ts';
import type { Guard, GuardDeps } from '../../engine.ts';
import { serverOf } from '../connection.ts';
import { noteStoredLog, type StoredLogNotes } from '../stored-log.ts';
import { FollowState } from './follow-state.ts';
import { Follower } from './follower.ts';
import { OtherHistory } from './log-tail.ts';
import { newMergeThread } from './merge-thread.ts';
import { ServerConnection, sqlStateOf } from './server-connection.ts';
import { ServerWatch } from './server-watch.ts';
import { noteSlot, slotNameOf } from './own-slot.ts';
import type { ServerAccess } from './slot-watch.ts';
import type { Removed } from './start-plan.ts';
import { StatusReporter } from './status-reporter.ts';
import { VaultWriter } from './vault-writer.ts';

export interface LogGuardDeps extends GuardDeps {
  readonly logs: LogClient;
  readonly access: ServerAccess;
  readonly settings: LogSettings;
}

export interface LogSettings {
  /** Bytes; undefined: the default. */
  readonly walKeepBytes: number | undefined;
  readonly baseEveryMs: number;
  /** How often the slot is looked at. */
  readonly watchMs: number;
}

export const DEFAULT_WATCH_MS = 5000;
/** The cap is what a link that has healed may still be waited for (link/reconnect.ts). */
const RETRY = { firstMs: 500, capMs: 10_000 };
/** What only a person can change. */
const SLOW_MS = 60_000;
const LEAST_MS = 100;
const FOLDER = 'postgres-log';
/** A stream that lasted this long was sound: the next wait starts small again. */
const STABLE_MS = 60_000;
/** No file of this name, as the server says it of log that it has removed. */
const REMOVED = '58P01';

export function guardLog(source: EngineSpec, deps: LogGuardDeps): Guard {
  const guard = new LogGuard(source, deps);
  const running = guard.run();
  return {
    stop: async () => {
      guard.stop();
      await running;
    },
  };
}

class LogGuard {
  readonly #source: EngineSpec;
  readonly #deps: LogGuardDeps;
  readonly #stopping = new AbortController();
  readonly #state = new FollowState();
  readonly #notes: StoredLogNotes;
  readonly #reporter: StatusReporter;
  readonly #bases: BaseKeeper;
  readonly #watch: ServerWatch;
  #follower: Follower | undefined;
  /** Ends what runs now, with the reason. */
  #session: AbortController | undefined;
  /** Of the log before this something is gone. */
  #removed: Removed | undefined;

  constructor(source: EngineSpec, deps: LogGuardDeps) {
    const { clock, log, settings } = deps;
    const { sourceId } = source;
    this.#source = source;
    this.#deps = deps;
    this.#notes = noteStoredLog(sourceId);
    const current = () => {
      const status = this.#state.status(clock.monotonicMs());
      return { sourceId, watching: 'continuous' as const, note: status.note, log: status };
    };
    this.#reporter = new StatusReporter(clock, current, (report) => deps.report(report));
    this.#bases = new BaseKeeper({
      ...deps,
      clock,
      log,
      source,
      everyMs: settings.baseEveryMs,
      server: serverOf(source.engine.settings),
      folder: join(deps.stateDir, FOLDER),
      file: `${sourceId}.json`,
      streaming: () => this.#state.streaming,
      runBackup: (job) => deps.runBackup(job),
      noted: (note) => {
        // With a new base a gap is of the past.
        if (note === '' && this.#state.streaming) this.#state.notes.follow = '';
        this.#note('base', note);
      },
    });
    this.#watch = new ServerWatch({
      clock,
      random: deps.random,
      log,
      access: deps.access,
      slotName: slotNameOf(sourceId),
      walKeepBytes: settings.walKeepBytes,
      everyMs: settings.watchMs,
      state: this.#state,
      signal: this.#stopping.signal,
      sighted: (end, clockMs) => this.#follower?.sighted(end, clockMs),
      ticked: () => {
        this.#bases.tick();
        this.#reporter.changed();
      },
      endStream: (error) => this.#session?.abort(error),
      letGo: (before, reason) => {
        this.#removed = { before, reason };
        this.#note('follow', reason);
      },
    });
  }

  async run(): Promise<void> {
    this.#noteSlot();
    const watching = this.#watch.run();
    await this.#follow();
    await watching;
    this.#reporter.stop();
    this.#bases.stop();
    this.#notes.stop();
  }

  stop(): void {
    const stopped = new HoldfastError('CANCELLED', 'the source is not protected any more');
    this.#stopping.abort(stopped);
    this.#session?.abort(stopped);
  }

  /** Before there is a slot: one that nobody knows of would fill the server's disk. */
  #noteSlot(): void {
    const { stateDir, log } = this.#deps;
    try {
      noteSlot(stateDir, this.#source);
    } catch (error) {
      log.error('postgres.state-not-kept', { sourceId: this.#source.sourceId, error: toHoldfastError(error) });
    }
  }

  async #follow(): Promise<void> {
    const { clock, random, log } = this.#deps;
    const { signal } = this.#stopping;
    let failures = 0;
    while (!signal.aborted) {
      const startedAt = clock.monotonicMs();
      const error = await this.#followOnce();
      if (signal.aborted) return;
      this.#follower = undefined;
      if (clock.monotonicMs() - startedAt >= STABLE_MS) failures = 0;
      failures++;
      if (sqlStateOf(error) === REMOVED && this.#state.stored !== undefined) {
        const reason = `the server has not kept the log from where it was left (${error.message})`;
        this.#removed = { before: this.#state.stored + 1n, reason };
      }
      const isOther = error instanceof OtherHistory && this.#state.stored !== undefined;
      if (isOther) this.#removed = { before: this.#state.stored! + 1n, reason: error.message, isOther };
      const slow = error.code === 'FAILED_PRECONDITION' && sqlStateOf(error) === '' && !isOther;
      const waitMs = slow ? SLOW_MS * (0.5 + random() / 2) : Math.max(LEAST_MS, backoffMs(RETRY, failures, random()));
      this.#note('follow', error.message);
      log.warn('postgres.log-interrupted', {
        sourceId: this.#source.sourceId,
        code: error.code,
        error: error.message,
        retryInMs: waitMs,
      });
      await sleep(clock, waitMs, signal);
    }
  }

  /** One session of the vault and one connection to the server; answers what ended them. */
  async #followOnce(): Promise<HoldfastError> {
    const session = new AbortController();
    this.#session = session;
    const { signal } = session;
    const closing: (() => void)[] = [];
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(toHoldfastError(signal.reason)), { once: true });
    });
    aborted.catch(() => undefined);
    try {
      if (this.#stopping.signal.aborted) throw toHoldfastError(this.#stopping.signal.reason);
      const following = this.#openFollower(signal, closing);
      following.catch(() => undefined);
      return await Promise.race([following, aborted]);
    } catch (error) {
      return toHoldfastError(error);
    } finally {
      this.#session = undefined;
      this.#state.streaming = false;
      this.#state.following = false;
      session.abort(new HoldfastError('CANCELLED', 'the session has ended'));
      for (const close of closing) close();
    }
  }

  async #openFollower(signal: AbortSignal, closing: (() => void)[]): Promise<never> {
    const { clock, log, access, logs, settings } = this.#deps;
    const source = this.#source;
    const { sourceId } = source;
    const { keys, options } = this.#sealing();
    const vault = await logs.openLog({ sourceId, signal });
    closing.push(() => vault.close());
    const client = await access.connect('replication');
    const connection = new ServerConnection(client);
    closing.push(() => connection.close());
    if (signal.aborted) {
      connection.close();
      throw toHoldfastError(signal.reason);
    }
    const writer = new VaultWriter(
      vault,
      (plain) => seal(keys, ObjectKind.logSegment, [], plain, options),
      newBandwidthLimiter(source.limitBytesPerSecond, clock),
    );
    const merging = newMergeThread(keys, options, clock);
    closing.push(() => merging.close());
    const follower = new Follower({
      clock,
      log,
      sourceId,
      slotName: slotNameOf(sourceId),
      session: vault,
      writer,
      merge: merging.merge,
      connection,
      state: this.#state,
      notes: this.#notes,
      keepBytes: this.#watch.keepBytes(settings.walKeepBytes),
      removed: this.#removed,
      stateDir: this.#deps.stateDir,
      signal,
      look: () => this.#watch.look(),
      began: ({ stream, from, baseNeeded, gap }) => {
        this.#removed = undefined;
        if (baseNeeded) this.#bases.need({ stream, from });
        if (gap !== undefined)
          this.#note('follow', `a part of the log is missing, and a new base is taken: ${gap.reason}`);
      },
      changed: () => this.#reporter.changed(),
    });
    this.#follower = follower;
    return follower.run();
  }

  #sealing() {
    const { domainId, domainSecret, keyEpoch } = this.#deps.identity();
    if (domainSecret === undefined) {
      throw new HoldfastError('FAILED_PRECONDITION', 'this host does not have the secret of its domain yet', {
        hint: 'Hand it over with the recovery sheet: holdfast-agent secret',
      });
    }
    const { codec, level } = this.#source.compression;
    const options: SealOptions = { codec: codec === 'none' ? 'stored' : codec, ...(level === 0 ? {} : { level }) };
    return { keys: deriveDomainKeys(domainSecret, domainId, keyEpoch), options };
  }

  #note(of: 'follow' | 'slot' | 'base', note: string): void {
    this.#state.notes[of] = note;
    this.#reporter.changed();
  }
}
