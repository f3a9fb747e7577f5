// The guard of a source that has no log to follow: a backup every so often, and soon again after one that failed.
//
// Invariants (rhythm.test.ts): R1 one backup at a time, and never two closer than the rhythm unless the first failed; R2 after a
// stop nothing runs and no timer is set; R3 a restart of the agent does not start every source at once.

import type { Timer } from '@holdfast/shared/runtime/clock';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import type { SourceSpec } from '../jobs/job.ts';
import type { Guard, GuardDeps } from './engine.ts';

const RETRY = { firstMs: 60_000, capMs: 3_600_000 };
/** The first backup after a start comes within this, at random: an agent with many sources spreads them. */
const FIRST_WITHIN_MS = 30_000;
/** Timers hold 2^31 ms at most, and a host that slept has a clock that did not. */
const LONGEST_WAIT_MS = 3_600_000;

/** @param everyMs 0: never by itself */
export function backUpEvery(source: SourceSpec, everyMs: number, deps: GuardDeps): Guard {
  const { sourceId } = source;
  let timer: Timer | undefined;
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  let failures = 0;
  let note = '';

  const report = (): void => {
    deps.report({ sourceId, watching: everyMs === 0 ? 'off' : 'scheduled', note });
  };
  const schedule = (atMs: number): void => {
    if (stopped) return;
    const waitMs = Math.max(0, atMs - deps.clock.monotonicMs());
    timer = deps.clock.after(
      Math.min(waitMs, LONGEST_WAIT_MS),
      () => {
        if (waitMs > LONGEST_WAIT_MS) schedule(atMs);
        else running = backUp();
      },
      { background: true },
    );
  };
  const backUp = async (): Promise<void> => {
    const startedAt = deps.clock.monotonicMs();
    const { failure } = await deps.runBackup({ kind: 'backup', jobId: '', source, fullRead: false });
    if (stopped) return;
    failures = failure === undefined ? 0 : failures + 1;
    const before = note;
    note = failure === undefined ? '' : `the last backup failed: ${failure.message}`;
    if (note !== before) report();
    schedule(
      failure === undefined
        ? startedAt + everyMs
        : deps.clock.monotonicMs() + Math.min(everyMs, backoffMs(RETRY, failures, deps.random())),
    );
  };

  report();
  if (everyMs > 0) schedule(deps.clock.monotonicMs() + deps.random() * Math.min(everyMs, FIRST_WITHIN_MS));
  return {
    async stop() {
      stopped = true;
      timer?.cancel();
      await running;
    },
  };
}
