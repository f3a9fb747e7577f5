// Takes a source's bases: when the log needs one, and regularly.
//
// Invariants (base-keeper.test.ts): B1 one at a time, and none before the log streams; B2 one that failed is tried again, ever more
// slowly; B3 when the last one was is known after a restart.
//
// Elsewhere on purpose: when the next one is due (base-schedule.ts).

import { join } from 'node:path';
import { toHoldfastError } from '@holdfast/shared/base/errors';
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
  /** In words, why there is no base; '': all is well. */
  noted(note: string): void;
}

/** The log must stream first. */
const SOON_MS = 300;
const FOLDER = 'postgres-log';

export class BaseKeeper {
  readonly #deps: BaseKeeperDeps;
  #needed = false;
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

  /** Without a new base nothing, or nothing newer, can be brought back. */
  need(): void {
    if (this.#needed) return;
    this.#needed = true;
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
        { needed: this.#needed, everyMs, nowMs: clock.wallMs(), random: random() },
      );
    if (this.#deps.streaming() && now >= this.#dueAtMs) void this.#run();
  }

  async #run(): Promise<void> {
    const { source, log } = this.#deps;
    const { sourceId } = source;
    this.#running = true;
    // What is found to be missing while it runs needs another one.
    this.#needed = false;
    let failure: { readonly code: string; readonly message: string } | undefined;
    try {
      ({ failure } = await this.#deps.runBackup({ kind: 'backup', jobId: '', source, fullRead: false }));
    } catch (error) {
      failure = toHoldfastError(error);
    }
    this.#running = false;
    this.#dueAtMs = undefined;
    if (failure === undefined) {
      this.#failures = 0;
      this.#remember();
      this.#deps.noted('');
      log.info('postgres.base-taken', { sourceId });
      return;
    }
    this.#failures++;
    this.#needed = true;
    this.#deps.noted(`the last base failed: ${failure.message}`);
    log.warn('postgres.base-failed', { sourceId, code: failure.code, error: failure.message });
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
