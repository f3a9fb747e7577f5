// One continuous source: watched while that is affordable, scanned on a schedule while it is not, and saying which.
//
// Hazard: protection that silently is less than what was asked for. Whatever keeps the source from being watched (too many
// directories, a watcher that failed) becomes a scheduled scan and a SourceReport. Watching may lose events (a full kernel
// queue), so a whole scan runs at the start and once a day all the same.
//
// Invariants (continuous-source.test.ts): P1 at every moment either a watcher or a scan timer is set; P2 one backup at a
// time, and what changed meanwhile is in the next; P3 what a failed backup had taken is taken again; P4 after a stop
// nothing runs and no timer is set.

import { displayPath } from '@holdfast/shared/base/byte-string';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import type { BackupJob, FilesSpec, JobOutcome } from '../../jobs/job.ts';
import type { Guard } from '../engine.ts';
import type { SourceReport } from '../../link/control-wire.ts';
import { dueAt, giveBack, noteChanges, takenPaths, type Changes } from './change-collector.ts';
import type { TreeWatcher, WatchMessage, WatchTree } from './tree-watcher.ts';
import type { WatchPool } from './watch-budget.ts';

export interface ContinuousDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly watchTree: WatchTree;
  readonly pool: WatchPool;
  /** In turn with the controller's jobs. */
  runBackup(job: BackupJob): Promise<JobOutcome>;
  report(report: SourceReport): void;
}

export const DEFAULT_SCAN_SECONDS = 15 * 60;
const DAY_MS = 86_400_000;
/** What changed may be heard of so much later: the watcher gathers for a quarter of that (tree-watch-worker.ts), and may be busy. */
export const HEARD_AFTER_MS = 1000;
const RETRY = { firstMs: 30_000, capMs: 600_000 };

export function protectContinuously(source: FilesSpec, deps: ContinuousDeps): Guard {
  const protection = new Protection(source, deps);
  protection.start();
  return { stop: () => protection.stop() };
}

class Protection {
  readonly #source: FilesSpec;
  readonly #deps: ContinuousDeps;
  readonly #scanEveryMs: number;
  #watcher: TreeWatcher | undefined;
  #changes: Changes | undefined;
  #backup: Timer | undefined;
  #scan: Timer | undefined;
  #safety: Timer | undefined;
  #running = false;
  #failures = 0;
  #notBeforeMs = 0;
  #stopped = false;
  #watching: SourceReport['watching'] = 'off';
  #note = '';
  #lastResult = '';

  constructor(source: FilesSpec, deps: ContinuousDeps) {
    this.#source = source;
    this.#deps = deps;
    const seconds = source.files.scanEverySeconds;
    this.#scanEveryMs = (seconds > 0 ? seconds : DEFAULT_SCAN_SECONDS) * 1000;
  }

  start(): void {
    this.#becomeScheduled('the watcher is starting');
    this.#note = '';
    this.#startWatcher();
    this.#changed('everything');
    this.#safety = this.#deps.clock.after(DAY_MS, () => this.#daily(), { background: true });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of [this.#backup, this.#scan, this.#safety]) timer?.cancel();
    await this.#endWatcher();
  }

  #startWatcher(): void {
    const { pool, watchTree } = this.#deps;
    const order = { files: this.#source.files, maxDirectories: pool.allowance(this.#source.sourceId) };
    const watcher = watchTree(order, (message) => {
      if (!this.#stopped && watcher === this.#watcher) this.#heard(message);
    });
    this.#watcher = watcher;
  }

  #heard(message: WatchMessage): void {
    const { pool } = this.#deps;
    if (message.kind === 'ended') {
      this.#fallBack(message.why === 'over' ? this.#overBudget() : `the watcher failed (${message.note})`);
      return;
    }
    if (!pool.hold(this.#source.sourceId, message.directories)) {
      this.#fallBack(this.#overBudget());
      return;
    }
    if (message.kind === 'changes') {
      this.#changed(message.paths);
      return;
    }
    this.#scan?.cancel();
    this.#scan = undefined;
    this.#watching = 'continuous';
    this.#note = '';
    if (message.unwatchable.length > 0) {
      this.#note = `${message.unwatchable.length} directories have names that are not UTF-8 (the first: ${displayPath(message.unwatchable[0] ?? '')}): they are scanned ${this.#rhythm()}`;
      this.#scanRegularly(message.unwatchable);
    }
    this.#deps.log.info('source.watching', { sourceId: this.#source.sourceId, directories: message.directories });
    // What changed before the watches were set was seen by nobody.
    this.#changed('everything');
    this.#report();
  }

  #fallBack(why: string): void {
    this.#deps.log.warn('source.not-watched', { sourceId: this.#source.sourceId, why });
    void this.#endWatcher();
    this.#becomeScheduled(`${why}: it is scanned ${this.#rhythm()} instead`);
    this.#report();
  }

  #becomeScheduled(note: string): void {
    this.#watching = 'scheduled';
    this.#note = note;
    this.#scanRegularly('everything');
  }

  #scanRegularly(paths: readonly string[] | 'everything'): void {
    this.#scan?.cancel();
    this.#scan = this.#deps.clock.after(this.#scanEveryMs, () => {
      this.#changed(paths);
      this.#scanRegularly(paths);
    });
  }

  #daily(): void {
    this.#changed('everything');
    if (this.#watcher === undefined) this.#startWatcher();
    this.#safety = this.#deps.clock.after(DAY_MS, () => this.#daily(), { background: true });
  }

  async #endWatcher(): Promise<void> {
    const watcher = this.#watcher;
    this.#watcher = undefined;
    this.#deps.pool.release(this.#source.sourceId);
    await watcher?.stop();
  }

  #changed(paths: readonly string[] | 'everything'): void {
    this.#changes = noteChanges(this.#changes, paths, this.#deps.clock.monotonicMs());
    this.#schedule();
  }

  #schedule(): void {
    if (this.#stopped || this.#running || this.#changes === undefined) return;
    const now = this.#deps.clock.monotonicMs();
    this.#backup?.cancel();
    const at = Math.max(dueAt(this.#changes), this.#notBeforeMs);
    this.#backup = this.#deps.clock.after(at - now, () => void this.#backUp());
  }

  async #backUp(): Promise<void> {
    const taken = this.#changes;
    if (this.#stopped || this.#running || taken === undefined) return;
    this.#running = true;
    this.#changes = undefined;
    const changedPaths = takenPaths(taken);
    const changesUpToMs = this.#deps.clock.wallMs() - HEARD_AFTER_MS;
    const outcome = await this.#deps.runBackup({
      kind: 'backup',
      jobId: '',
      source: this.#source,
      fullRead: false,
      ...(changedPaths === undefined ? {} : { changedPaths, changesUpToMs }),
    });
    this.#running = false;
    if (!this.#stopped) this.#backedUp(taken, outcome);
  }

  #backedUp(taken: Changes, outcome: JobOutcome): void {
    const { clock, random, log } = this.#deps;
    const { sourceId } = this.#source;
    const now = clock.monotonicMs();
    if (outcome.failure === undefined) {
      this.#failures = 0;
      const { filesChanged, bytesNew, durationMs } = outcome.summary;
      log.info('source.backed-up', { sourceId, result: outcome.result, filesChanged, bytesNew, durationMs });
    } else {
      this.#failures++;
      this.#notBeforeMs = now + RETRY.firstMs / 2 + backoffMs(RETRY, this.#failures, random());
      this.#changes = giveBack(taken, this.#changes, now);
      log.warn('source.backup-failed', { sourceId, code: outcome.failure.code, error: outcome.failure.message });
    }
    const result = outcome.failure === undefined ? '' : `the last backup failed: ${outcome.failure.message}`;
    if (result !== this.#lastResult) {
      this.#lastResult = result;
      this.#report();
    }
    this.#schedule();
  }

  #report(): void {
    const note = [this.#note, this.#lastResult].filter((text) => text !== '').join('; ');
    this.#deps.report({ sourceId: this.#source.sourceId, watching: this.#watching, note });
  }

  #overBudget(): string {
    return `over the budget of ${this.#deps.pool.budget.toLocaleString('en')} watches`;
  }

  #rhythm(): string {
    const seconds = this.#scanEveryMs / 1000;
    return seconds % 60 === 0 ? `every ${seconds / 60} min` : `every ${seconds} s`;
  }
}
