// Starts a job, follows it and reports its end: the part that backup, restore and verify share.

import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { StartJobResponse } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { Session } from '../session/session.ts';
import { followJob, type FollowOptions } from './follow.ts';
import {
  exitCodeOf,
  failureEvent,
  outcomeError,
  summaryEvent,
  summaryWords,
  warningWords,
  type JobSubject,
} from './summary.ts';
import { verifiedWords } from './verified.ts';

export interface JobRun {
  readonly subject: Omit<JobSubject, 'job'>;
  readonly start: () => Promise<StartJobResponse>;
  readonly follow?: FollowOptions;
}

/** Sets the session's exit code. Throws the job's own error when it failed or was cancelled. */
export async function runJob(session: Session, run: JobRun): Promise<void> {
  let subject: JobSubject = { ...run.subject, job: null };
  try {
    const started = await run.start();
    subject = { ...subject, job: started.jobId, snapshotId: started.snapshotId };
    if (session.json) await session.event({ event: 'started', job: started.jobId });
    const outcome = await followJob(session, started.jobId, run.follow ?? { interrupt: 'cancel' });
    session.exitCode = exitCodeOf(outcome);
    if (session.json) await session.event(summaryEvent(subject, outcome));
    const error = outcomeError(outcome);
    if (!session.json) await session.write(endWords(subject, outcome, session.width));
    if (error !== undefined) throw new ReportedError(error);
  } catch (thrown) {
    if (thrown instanceof ReportedError) throw thrown.error;
    const error = toHoldfastError(thrown);
    if (session.json) await session.event(failureEvent(subject, error));
    throw error;
  }
}

/** What people read at the end. A failed job's error is said elsewhere; what it found, the damaged files above all, is here. */
export function endWords(subject: JobSubject, outcome: JobOutcome, width?: number): string {
  if (outcomeError(outcome) === undefined) return summaryWords(subject, outcome, width);
  return verifiedWords(outcome.snapshots) + warningWords(outcome.warnings, Number(outcome.warningsTotal), width);
}

/** An outcome's error, which has had its summary already. */
class ReportedError extends Error {
  readonly error: Error;

  constructor(error: Error) {
    super(error.message);
    this.error = error;
  }
}
