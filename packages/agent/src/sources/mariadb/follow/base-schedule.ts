// When a log's base is taken: at once when there is none from which it could be replayed, and every so often, so that a replay
// stays short. One at a time; a failed one is tried again with backoff.
//
// Hazard: an agent that is restarted more often than a base is due. When the last one was is kept in its state directory.
//
// Tested in base-schedule.test.ts.

import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import type { BackupJob, EngineSpec, JobOutcome } from '../../../jobs/job.ts';
import { keepLastBase, readLastBase } from '../../last-base.ts';
import { folderOf } from './stream-record.ts';

export interface BaseScheduleDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly stateDir: string;
  runBackup(job: BackupJob): Promise<JobOutcome>;
  /** `note` changed. */
  onNote(): void;
}

const RETRY = { firstMs: 15_000, capMs: 900_000 };
const FILE = 'base.json';

export class BaseSchedule {
  readonly #source: EngineSpec;
  readonly #deps: BaseScheduleDeps;
  #timer: Timer | undefined;
  #running = false;
  #again = false;
  #failures = 0;
  #stopped = false;
  #note = '';
  /** 0: only when needed. */
  everyMs = 0;

  constructor(source: EngineSpec, deps: BaseScheduleDeps) {
    this.#source = source;
    this.#deps = deps;
  }

  /** In words, why the newest base could not be taken; '' when it could. */
  get note(): string {
    return this.#note;
  }

  /** The log is followed. @param now it can't be replayed from any base */
  need(now: boolean): void {
    if (this.#stopped) return;
    if (now && this.#running) this.#again = true;
    // However often the log begins again: a base that fails costs the server a whole dump each time.
    else if (this.#failures > 0 && this.#timer !== undefined) return;
    else if (now) this.#after(0);
    else if (this.#timer === undefined && !this.#running && this.everyMs > 0) this.#after(this.#regularInMs());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #after(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timer = undefined;
      void this.#take();
    });
  }

  async #take(): Promise<void> {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    this.#again = false;
    const { failure } = await this.#deps.runBackup({
      kind: 'backup',
      jobId: '',
      source: this.#source,
      fullRead: false,
    });
    this.#running = false;
    if (this.#stopped) return;
    this.#failures = failure === undefined ? 0 : this.#failures + 1;
    if (failure === undefined) this.#remember();
    const note = failure === undefined ? '' : `the last base failed: ${failure.message}`;
    if (failure !== undefined) {
      this.#deps.log.warn('mariadb.base-failed', {
        sourceId: this.#source.sourceId,
        code: failure.code,
        error: failure.message,
      });
    }
    if (note !== this.#note) {
      this.#note = note;
      this.#deps.onNote();
    }
    if (this.#failures > 0) this.#after(RETRY.firstMs / 2 + backoffMs(RETRY, this.#failures, this.#deps.random()));
    else if (this.#again) this.#after(0);
    else if (this.everyMs > 0) this.#after(this.everyMs);
  }

  /** From the last one on, of which an earlier agent may have been the one. A clock that was set back costs one interval at most. */
  #regularInMs(): number {
    const { stateDir, clock } = this.#deps;
    const now = clock.wallMs();
    const last = readLastBase(folderOf(stateDir, this.#source.sourceId), FILE);
    // Nobody knows, so it counts as just now; the next agent knows.
    if (last === undefined) this.#remember();
    const since = Math.max(0, now - (last ?? now));
    return Math.max(0, this.everyMs - since);
  }

  #remember(): void {
    const { stateDir, clock, log } = this.#deps;
    const { sourceId } = this.#source;
    try {
      keepLastBase(folderOf(stateDir, sourceId), FILE, clock.wallMs());
    } catch (error) {
      // The next base is then taken earlier or later than it would be.
      log.warn('mariadb.state-not-kept', { sourceId, error });
    }
  }
}
