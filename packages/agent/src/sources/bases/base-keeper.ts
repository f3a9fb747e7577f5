// Takes the bases of a source whose log is followed: when the log needs one, and regularly.
//
// Hazard: a whole read of production's disk for nothing. A base that somebody else has asked for is as good as one of its own, when the log
// goes on from it.
//
// Invariants (base-keeper.test.ts): B1 one at a time, whoever takes it, and none before the log streams; B2 one that failed is tried again,
// ever more slowly; B3 when the last one was is known after a restart; B5 a base that begins before the log does is not the one that is needed.
//
// Elsewhere on purpose: when the next one is due (base-schedule.ts).

import { toHoldfastError } from '@holdfast/shared/base/errors';
import { sameStream, type DatabasePoint, type LogStream } from '@holdfast/shared/format/log-point';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { EngineSpec } from '../../jobs/job.ts';
import type { GuardDeps } from '../engine.ts';
import { keepLastBase, readLastBase } from './last-base.ts';
import { followBases, isBaseRunning } from './base-registry.ts';
import { nextBaseInMs } from './base-schedule.ts';

export interface BaseKeeperDeps extends Pick<GuardDeps, 'random' | 'runBackup'> {
  readonly clock: Clock;
  readonly log: Log;
  readonly source: EngineSpec;
  /** 0: only when one is needed. */
  readonly everyMs: number;
  /** By which servers are told apart. */
  readonly server: string;
  /** Where the last one's time is kept. */
  readonly folder: string;
  readonly file: string;
  /** The log that a base must be followed by is being stored. */
  streaming(): boolean;
  /** In words, why there is no base; '': all is well. */
  noted(note: string): void;
}

/** Where the log begins that a base must be followed by. */
export interface LogBegin {
  readonly stream: LogStream;
  readonly from: bigint;
}

/** The log must stream first. */
const SOON_MS = 300;

export class BaseKeeper {
  readonly #deps: BaseKeeperDeps;
  #needed: LogBegin | undefined;
  #failures = 0;
  #lastAtMs: number | undefined;
  /** Monotonic; undefined: not decided since something changed. */
  #dueAtMs: number | undefined;
  #running = false;
  #stopped = false;
  #soon: Timer | undefined;
  readonly #unfollow: () => void;

  constructor(deps: BaseKeeperDeps) {
    this.#deps = deps;
    this.#lastAtMs = readLastBase(deps.folder, deps.file);
    if (this.#lastAtMs === undefined) this.#remember();
    this.#unfollow = followBases(deps.source.sourceId, deps.server, (point) => this.#stored(point));
  }

  /** Without a base that begins there, or later, nothing, or nothing newer, can be brought back. */
  need(begin: LogBegin): void {
    const known = this.#needed !== undefined;
    this.#needed = begin;
    if (known) return;
    this.#dueAtMs = undefined;
    this.tick();
    // Not only with the next tick: until then nothing can be brought back.
    const waitMs = Math.max(SOON_MS, (this.#dueAtMs ?? 0) - this.#deps.clock.monotonicMs());
    this.#soon?.cancel();
    this.#soon = this.#deps.clock.after(waitMs, () => this.tick());
  }

  stop(): void {
    this.#stopped = true;
    this.#soon?.cancel();
    this.#unfollow();
  }

  /** Called now and then. */
  tick(): void {
    if (this.#running || this.#stopped) return;
    const { clock, random, everyMs } = this.#deps;
    const now = clock.monotonicMs();
    this.#dueAtMs ??=
      now +
      nextBaseInMs(
        { lastAtMs: this.#lastAtMs, failures: this.#failures },
        { needed: this.#needed !== undefined, everyMs, nowMs: clock.wallMs(), random: random() },
      );
    if (this.#deps.streaming() && now >= this.#dueAtMs && !isBaseRunning(this.#deps.source.sourceId)) void this.#run();
  }

  /** One is in the vault, whoever asked for it. */
  #stored(point: DatabasePoint): void {
    if (this.#running) return;
    const needed = this.#needed;
    if (needed !== undefined && !(sameStream(needed.stream, point.stream) && point.start.order >= needed.from)) return;
    this.#needed = undefined;
    this.#taken();
  }

  async #run(): Promise<void> {
    const { source, log } = this.#deps;
    const { sourceId, engine } = source;
    const { type } = engine;
    this.#running = true;
    const needed = this.#needed;
    // What is found to be missing while it runs needs another one.
    this.#needed = undefined;
    let failure: { readonly code: string; readonly message: string } | undefined;
    try {
      ({ failure } = await this.#deps.runBackup({ kind: 'backup', jobId: '', source, fullRead: false }));
    } catch (error) {
      failure = toHoldfastError(error);
    }
    this.#running = false;
    if (failure === undefined) {
      this.#taken();
      log.info(`${type}.base-taken`, { sourceId });
      return;
    }
    this.#dueAtMs = undefined;
    this.#failures++;
    this.#needed ??= needed;
    this.#deps.noted(`the last base failed: ${failure.message}`);
    log.warn(`${type}.base-failed`, { sourceId, code: failure.code, error: failure.message });
  }

  #taken(): void {
    this.#failures = 0;
    this.#dueAtMs = undefined;
    this.#remember();
    this.#deps.noted('');
  }

  #remember(): void {
    const { clock, folder, file, source, log } = this.#deps;
    this.#lastAtMs = clock.wallMs();
    try {
      keepLastBase(folder, file, this.#lastAtMs);
    } catch (error) {
      // The next base is then taken a little earlier or later than it would be.
      log.warn(`${source.engine.type}.state-not-kept`, { sourceId: source.sourceId, error });
    }
  }
}
