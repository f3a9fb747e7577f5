// News of jobs for whoever watches them: changes of state, and the newest progress.
//
// Hazard: a watcher that reads slowly must not hold the agent's stream back, nor collect a day's progress in memory. So
// progress is one value, overwritten by the next (latest wins), and a state is looked up again when it is read.
//
// And a job that has nothing to say for hours (a restore at a few bytes a second) must not look like a dead connection, which a
// server ends when nothing moves on it. So its state is said again every SAY_AGAIN_MS.
//
// Tested in control-hub.db.test.ts and job-news.db.test.ts.

import type pg from 'pg';

import type { FleetEvents } from './fleet-events.ts';
import { findJob, type Job } from './jobs.ts';

export type JobNews =
  | { readonly kind: 'state'; readonly job: Job }
  /** JobProgress of the wire. */
  | { readonly kind: 'progress'; readonly progress: Uint8Array };

export interface JobNewsDesk {
  /** The newest progress of a job, from its agent or from the controller's own part of the work. */
  progress(jobId: string, progress: Uint8Array): void;
  /** The present state first, then news, and now and then the same state again; ends after a final state. */
  watch(jobId: string, signal: AbortSignal): AsyncGenerator<JobNews, void, undefined>;
}

/** Between two looks at the row when nothing was heard: notifications can be lost. */
const LOOK_AGAIN_MS = 5_000;
/** Well below the time after which a silent connection is closed (shared/rpc/connections.ts). */
const SAY_AGAIN_MS = 30_000;
const TELL_OTHERS_MS = 1_000;
const FINAL = new Set(['done', 'warnings', 'failed', 'cancelled']);

interface Watcher {
  progress: Uint8Array | undefined;
  changed: boolean;
  wake: () => void;
}

/** @param timing how long a watcher hears nothing at the most; for tests */
export function openJobNewsDesk(
  pool: pg.Pool,
  events: FleetEvents,
  timing = { lookAgainMs: LOOK_AGAIN_MS, sayAgainMs: SAY_AGAIN_MS },
): JobNewsDesk {
  const watchers = new Map<string, Set<Watcher>>();
  const toldAt = new Map<string, number>();

  const notice = (jobId: string, change: (watcher: Watcher) => void): void => {
    for (const watcher of watchers.get(jobId) ?? []) {
      change(watcher);
      watcher.wake();
    }
  };
  events.subscribe((event) => {
    if (event.kind === 'job') {
      toldAt.delete(event.jobId);
      notice(event.jobId, (watcher) => (watcher.changed = true));
    } else if (event.kind === 'progress') {
      const progress = Buffer.from(event.progress, 'base64');
      notice(event.jobId, (watcher) => (watcher.progress ??= progress));
    }
  });

  return {
    progress(jobId, progress) {
      notice(jobId, (watcher) => (watcher.progress = progress));
      const now = performance.now();
      if (now - (toldAt.get(jobId) ?? -TELL_OTHERS_MS) < TELL_OTHERS_MS) return;
      toldAt.set(jobId, now);
      const told = { kind: 'progress', jobId, progress: Buffer.from(progress).toString('base64') } as const;
      if (told.progress.length < 7000) events.tell(pool, told).catch(() => undefined);
    },
    async *watch(jobId, signal) {
      const watcher: Watcher = { progress: undefined, changed: true, wake: () => undefined };
      const ofJob = watchers.get(jobId) ?? new Set();
      watchers.set(jobId, ofJob.add(watcher));
      let state = '';
      let saidAtMs = 0;
      try {
        while (!signal.aborted) {
          if (watcher.progress !== undefined) {
            const progress = watcher.progress;
            watcher.progress = undefined;
            saidAtMs = performance.now();
            yield { kind: 'progress', progress };
          }
          if (watcher.changed) {
            watcher.changed = false;
            const job = await findJob(pool, jobId);
            if (job === undefined) return;
            if (job.state !== state || performance.now() - saidAtMs >= timing.sayAgainMs) {
              saidAtMs = performance.now();
              yield { kind: 'state', job };
            }
            state = job.state;
            if (FINAL.has(state)) return;
            continue;
          }
          if (!(await newsOrTimeout(watcher, signal, timing.lookAgainMs))) watcher.changed = true;
        }
      } finally {
        ofJob.delete(watcher);
        if (ofJob.size === 0) watchers.delete(jobId);
      }
    },
  };
}

/** True when something was noticed, false when it is time to look anyway. */
function newsOrTimeout(watcher: Watcher, signal: AbortSignal, timeoutMs: number): Promise<boolean> {
  if (watcher.changed || watcher.progress !== undefined) return Promise.resolve(true);
  return new Promise((resolve) => {
    const finish = (noticed: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      watcher.wake = () => undefined;
      resolve(noticed);
    };
    const abort = (): void => finish(true);
    const timer = setTimeout(() => finish(false), timeoutMs);
    watcher.wake = () => finish(true);
    signal.addEventListener('abort', abort, { once: true });
  });
}
