// Which jobs may run now. Pure: the queue and what runs are values.
//
// Invariants (job-queue.property.test.ts):
//   Q1 never two backups of one source at once, and never more than the limit of a kind;
//   Q2 jobs of one source start in the order they came; a waiting one does not hold back another source's;
//   Q3 restores and verifications do not wait for backups;
//   Q4 the queue is bounded: a job beyond that is refused, not kept;
//   Q5 steps of recovery plans wait for nothing but each other, and a question about a step not even for steps that are being done.

import type { Job } from './job.ts';

export interface QueueLimits {
  readonly backups: number;
  /** Restores and verifications together. */
  readonly reads: number;
  /** Checks and discoveries: short, and somebody waits for them. */
  readonly looks: number;
  /** Steps of recovery plans that do something, and as many more that only ask. */
  readonly steps: number;
  readonly waiting: number;
}

export const DEFAULT_QUEUE_LIMITS: QueueLimits = { backups: 2, reads: 2, looks: 4, steps: 16, waiting: 256 };

/** The waiting jobs that may start now beside the running ones, in the order they came. */
export function startable<J extends Job>(waiting: readonly J[], running: readonly Job[], limits: QueueLimits): J[] {
  const busySources = new Set(running.filter((job) => job.kind === 'backup').map((job) => job.source.sourceId));
  const most = {
    backups: limits.backups,
    reads: limits.reads,
    looks: limits.looks,
    steps: limits.steps,
    questions: limits.steps,
  };
  const busy = { backups: 0, reads: 0, looks: 0, steps: 0, questions: 0 };
  for (const job of running) busy[laneOf(job)]++;
  const chosen: J[] = [];
  for (const job of waiting) {
    const lane = laneOf(job);
    if (busy[lane] >= most[lane]) continue;
    if (job.kind === 'backup') {
      if (busySources.has(job.source.sourceId)) continue;
      busySources.add(job.source.sourceId);
    }
    busy[lane]++;
    chosen.push(job);
  }
  return chosen;
}

/** Whether one more job may wait. Backups that pile up keep no step out. */
export function hasRoom(job: Job, waiting: readonly Job[], limits: QueueLimits): boolean {
  const alike = waiting.filter((other) => isOfRun(other) === isOfRun(job));
  return alike.length < limits.waiting;
}

/** Of a recovery run's own. */
function isOfRun({ kind }: Job): boolean {
  return kind === 'step' || kind === 'sandbox';
}

type Lane = 'backups' | 'reads' | 'looks' | 'steps' | 'questions';

const LANES = {
  backup: 'backups',
  restore: 'reads',
  verify: 'reads',
  check: 'looks',
  discover: 'looks',
  sandbox: 'steps',
} as const satisfies Record<Exclude<Job['kind'], 'step'>, Lane>;

function laneOf(job: Job): Lane {
  // It takes a moment, and a run waits for it: not behind copies that are being made.
  if (job.kind === 'restore' && job.warm?.action === 'finish') return 'steps';
  if (job.kind !== 'step') return LANES[job.kind];
  return job.step.action === 'probe' || job.step.action === 'precheck' ? 'questions' : 'steps';
}
