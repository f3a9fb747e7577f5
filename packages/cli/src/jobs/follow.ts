// Follows a job until its outcome: progress on the terminal or as events, through a controller that goes away and comes back.
//
// Hazard: the command line is not the job. Losing the connection must not look like the job's failure, and Ctrl-C must not
// leave a job running that the user believes ended. So a lost connection is taken up again for a while, the first SIGINT
// asks the controller to cancel and waits for the outcome, and the second leaves and says that the job may go on.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { JobOutcome, JobProgress } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { JobEvent } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { Session } from '../session/session.ts';
import { ProgressLine } from './progress-line.ts';

export interface FollowOptions {
  /** What SIGINT does first: cancel the job, or only stop following it. */
  readonly interrupt: 'cancel' | 'leave';
  /** No events on standard output: the caller prints one document. */
  readonly quiet?: boolean;
}

/** How long a lost connection is tried again. Counted from the loss: a slow job may have had nothing to say for hours. */
const RECONNECT_MS = 60_000;
const RECONNECT_PAUSE_MS = 500;

/** Returns the outcome, whatever it is. Throws when the job can't be followed: UNREACHABLE, NOT_FOUND, CANCELLED by a second SIGINT. */
export async function followJob(session: Session, jobId: string, options: FollowOptions): Promise<JobOutcome> {
  const { environment } = session;
  const line =
    environment.stderrIsTerminal && !session.json
      ? new ProgressLine(environment.stderr, environment.columns, environment.now)
      : undefined;
  const leaving = new AbortController();
  let interrupts = 0;
  const stopListening = environment.onInterrupt(() => {
    interrupts += 1;
    line?.clear();
    if (options.interrupt === 'leave' || interrupts > 1) return leaving.abort();
    session.remark('Cancelling … (Ctrl-C again leaves without waiting)');
    cancel(session, jobId).catch((error: unknown) => session.remark(`holdfast: ${toHoldfastError(error).message}`));
  });
  try {
    return await watch(session, jobId, leaving.signal, {
      line,
      state: '',
      events: session.json && options.quiet !== true,
    });
  } finally {
    line?.clear();
    stopListening();
  }
}

/** Where and what the user has been told. */
interface Told {
  readonly line: ProgressLine | undefined;
  /** Events on standard output. */
  readonly events: boolean;
  state: string;
}

async function watch(session: Session, jobId: string, leaving: AbortSignal, told: Told): Promise<JobOutcome> {
  const operator = await session.operator();
  let lostAtMs: number | undefined;
  for (;;) {
    try {
      for await (const event of operator.watchJob({ jobId }, { signal: leaving })) {
        lostAtMs = undefined;
        const outcome = await report(session, jobId, event, told);
        if (outcome !== undefined) return outcome;
      }
      throw new HoldfastError('UNREACHABLE', `the controller ended the report of job ${jobId} without an outcome`, {
        hint: `See \`holdfast job ls\`, or follow it again: holdfast job watch ${jobId}`,
      });
    } catch (thrown) {
      const error = leaving.aborted ? left(jobId) : toHoldfastError(thrown);
      const nowMs = session.environment.now();
      lostAtMs ??= nowMs;
      if (error.code !== 'UNREACHABLE' || nowMs - lostAtMs > RECONNECT_MS) throw error;
      await pause(RECONNECT_PAUSE_MS, leaving);
    }
  }
}

async function report(session: Session, jobId: string, event: JobEvent, told: Told): Promise<JobOutcome | undefined> {
  switch (event.kind?.$case) {
    case 'state':
      // The controller says it again while nothing changes, so that the connection is seen to live.
      if (told.events && told.state !== event.kind.value.state)
        await session.event({ event: 'job', job: jobId, state: event.kind.value.state });
      told.state = event.kind.value.state;
      return undefined;
    case 'progress':
      told.line?.draw(event.kind.value);
      if (told.events) await session.event(progressEvent(event.kind.value));
      return undefined;
    case 'outcome':
      return event.kind.value;
    default:
      return undefined;
  }
}

function progressEvent(progress: JobProgress): { readonly event: 'progress' } & Record<string, string | number> {
  return {
    event: 'progress',
    phase: progress.phase,
    filesDone: Number(progress.filesDone),
    filesTotal: Number(progress.filesTotal),
    bytesDone: Number(progress.bytesDone),
    bytesTotal: Number(progress.bytesTotal),
    bytesNew: Number(progress.bytesNew),
    bytesStored: Number(progress.bytesStored),
    path: progress.currentPath,
  };
}

async function cancel(session: Session, jobId: string): Promise<void> {
  await (await session.operator()).cancelJob({ jobId });
}

function left(jobId: string): HoldfastError {
  return new HoldfastError('CANCELLED', `left job ${jobId} without waiting for its end`, {
    hint: `It may go on. Follow it with: holdfast job watch ${jobId}`,
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
