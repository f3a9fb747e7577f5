// Which jobs may run now. Pure: the queue and what runs are values.
//
// Invariants (job-queue.property.test.ts):
//   Q1 never two backups of one source at once, and never more than the limit of a kind;
//   Q2 jobs of one source start in the order they came; a waiting one does not hold back another source's;
//   Q3 restores and verifications do not wait for backups;
//   Q4 the queue is bounded: a job beyond that is refused, not kept.

import type { Job } from './job.ts';

export interface QueueLimits {
  readonly backups: number;
  /** Restores and verifications together. */
  readonly reads: number;
  /** Checks and discoveries: short, and somebody waits for them. */
  readonly looks: number;
  readonly waiting: number;
}

export const DEFAULT_QUEUE_LIMITS: QueueLimits = { backups: 2, reads: 2, looks: 4, waiting: 256 };

/** The waiting jobs that may start now beside the running ones, in the order they came. */
export function startable<J extends Job>(waiting: readonly J[], running: readonly Job[], limits: QueueLimits): J[] {
  const busySources = new Set(running.filter((job) => job.kind === 'backup').map((job) => job.source.sourceId));
  let backups = running.filter((job) => job.kind === 'backup').length;
  let looks = running.filter(isLook).length;
  let reads = running.length - backups - looks;
  const chosen: J[] = [];
  for (const job of waiting) {
    if (job.kind === 'backup') {
      if (backups >= limits.backups || busySources.has(job.source.sourceId)) continue;
      busySources.add(job.source.sourceId);
      backups++;
    } else if (isLook(job)) {
      if (looks >= limits.looks) continue;
      looks++;
    } else {
      if (reads >= limits.reads) continue;
      reads++;
    }
    chosen.push(job);
  }
  return chosen;
}

function isLook(job: Job): boolean {
  return job.kind === 'check' || job.kind === 'discover';
}
