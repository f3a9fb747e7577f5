// Takes a source's bases: when the log needs one, and regularly.
//
// Hazard: a whole read of production's disk for nothing. A base that somebody else has asked for is as good as one of its own, when the log
// goes on from it.
//
// Invariants (base-keeper.test.ts): B1 one at a time, whoever takes it, and none before the log streams; B2 one that failed is tried again,
// ever more slowly; B3 when the last one was is known after a restart; B5 a base that begins before the log does is not the one that is needed.
//
// Elsewhere on purpose: when the next one is due (base-schedule.ts).

import { join } from 'node:path';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import { sameStream, type DatabasePoint, type LogStream } from '@holdfast/shared/format/log-point';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { EngineSpec } from '../../../jobs/job.ts';
import type { GuardDeps } from '../../engine.ts';
import { keepLastBase, readLastBase } from '../../last-base.ts';
import { nextBaseInMs } from './base-schedule.ts';

export interface BaseKeeperDeps extends Pick<GuardDeps, 'random' | 'stateDir' | 'runBackup'> {
  readonly clock: Clock;
  readonly log: Log;
  readonly source: EngineSpec;
  readonly everyMs: number;
  /** The log that a base must be followed by is being stored. */
  streaming(): boolean;
  /** Somebody else takes a base of it just now. */
  taking(): boolean;
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
const FOLDER = 'postgres-log';

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

  constructor(deps: BaseKeeperDeps) {
    this.#deps = deps;
    this.#lastAtMs = readLastBase(join(deps.stateDir, FOLDER), fileOf(deps.source));
    if (this.#lastAtMs === undefined) this.#remember();
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

  /** A base is in the vault, whoever asked for it. */
  stored(point: DatabasePoint): void {
    if (this.#running) return;
    const needed = this.#needed;
    if (needed !== undefined && !(sameStream(needed.stream, point.stream) && point.start.order >= needed.from)) return;
    this.#needed = undefined;
    this.#taken();
  }

  stop(): void {
    this.#stopped = true;
    this.#soon?.cancel();
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
    if (this.#deps.streaming() && now >= this.#dueAtMs && !this.#deps.taking()) void this.#run();
  }

  async #run(): Promise<void> {
    const { source, log } = this.#deps;
    const { sourceId } = source;
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
      log.info('postgres.base-taken', { sourceId });
      return;
    }
    this.#dueAtMs = undefined;
    this.#failures++;
    this.#needed ??= needed;
    this.#deps.noted(`the last base failed: ${failure.message}`);
    log.warn('postgres.base-failed', { sourceId, code: failure.code, error: failure.message });
  }

  #taken(): void {
    this.#failures = 0;
    this.#dueAtMs = undefined;
    this.#remember();
    this.#deps.noted('');
  }

  #remember(): void {
    const { clock, stateDir, source, log } = this.#deps;
    this.#lastAtMs = clock.wallMs();
    try {
      keepLastBase(join(stateDir, FOLDER), fileOf(source), this.#lastAtMs);
    } catch (error) {
      // The next base is then taken a little earlier or later than it would be.
      log.warn('postgres.state-not-kept', { sourceId: source.sourceId, error });
    }
  }
}

function fileOf({ sourceId }: EngineSpec): string {
  return `${sourceId}.json`;
}
