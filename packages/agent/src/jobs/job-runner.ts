// Runs jobs: waits for their turn, hooks around backups, progress on its way out, cancel, and the one result each has.
//
// Invariants (job-runner.test.ts, agent.test.ts): J1 a job that was taken gets exactly one outcome; J2 it is durably noted before it
// starts, its outcome before it is announced; J3 the same job a second time starts nothing; J4 `after` runs whatever became
// of the backup, and knows it; J5 a cancelled job ends as cancelled, waiting or running.
//
// Which job may run is decided in job-queue.ts, what its end means in outcome.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { newBandwidthLimiter } from './bandwidth-limiter.ts';
import { runHook } from './hook.ts';
import type { ProgramResult } from './program.ts';
import { DEFAULT_QUEUE_LIMITS, hasRoom, startable, type QueueLimits } from './job-queue.ts';
import type {
  BackupJob,
  Job,
  JobDeps,
  JobOutcome,
  JobProgress,
  JobReport,
  JobWarning,
  Pipelines,
  ProgressListener,
} from './job.ts';
import { outcomeOfError, outcomeOfReport } from './outcome.ts';
import type { ResultStore } from './result-store.ts';

export interface JobRunnerDeps extends Omit<JobDeps, 'limiter'> {
  readonly pipelines: Pipelines;
  readonly results: ResultStore;
  readonly limits?: QueueLimits;
  /** Called whenever the last running job has ended. */
  readonly onIdle?: () => void;
}

export interface JobListener {
  onProgress(jobId: string, progress: JobProgress): void;
  /** The result is on disk already. Not called for the agent's own jobs. */
  onFinished(jobId: string, outcome: JobOutcome): void;
}

export interface JobRunner {
  /** Takes a job of the controller. A job that is known already is not taken again. */
  take(job: Job): void;
  /** Runs a backup of the agent's own initiative in turn with the others; resolves with its outcome. */
  runOwn(job: BackupJob): Promise<JobOutcome>;
  cancel(jobId: string): void;
  /** Ids of the controller's jobs that wait or run. */
  running(): string[];
  /** Cancels everything; resolves when all have ended. */
  stop(): Promise<void>;
}

interface Held {
  readonly job: Job;
  readonly abort: AbortController;
  finish(outcome: JobOutcome): void;
}

export function newJobRunner(deps: JobRunnerDeps, listener: JobListener): JobRunner {
  return new QueueingJobRunner(deps, listener);
}

class QueueingJobRunner implements JobRunner {
  readonly #deps: JobRunnerDeps;
  readonly #listener: JobListener;
  readonly #limits: QueueLimits;
  #waiting: Held[] = [];
  readonly #active = new Map<Held, Promise<void>>();
  #stopping = false;

  constructor(deps: JobRunnerDeps, listener: JobListener) {
    this.#deps = deps;
    this.#listener = listener;
    this.#limits = deps.limits ?? DEFAULT_QUEUE_LIMITS;
  }

  take(job: Job): void {
    const { results, log } = this.#deps;
    const { jobId } = job;
    if (this.running().includes(jobId)) return;
    const known = results.outcomeOf(jobId);
    if (known !== undefined) {
      this.#listener.onFinished(jobId, known);
      return;
    }
    const finish = (outcome: JobOutcome): void => {
      results.finished(jobId, outcome);
      log.info('job.finished', {
        jobId,
        kind: job.kind,
        result: outcome.result,
        error: outcome.failure?.message ?? '',
      });
      this.#listener.onFinished(jobId, outcome);
    };
    const waiting = this.#waiting.map((held) => held.job);
    if (this.#stopping || !hasRoom(job, waiting, this.#limits)) {
      const why = this.#stopping ? 'the agent is stopping' : 'too many jobs wait on this host';
      finish(outcomeOfError(new HoldfastError('BUSY', why, { hint: 'Try again later.' }), false, 0, []));
      return;
    }
    try {
      results.begun(jobId);
    } catch (error) {
      // The disk takes no notes (threat 2), so the answer is not kept either; the controller hears it now or asks again.
      this.#listener.onFinished(jobId, outcomeOfError(error, false, 0, []));
      return;
    }
    this.#hold(job, finish);
  }

  runOwn(job: BackupJob): Promise<JobOutcome> {
    return new Promise((resolve) => {
      if (this.#stopping) resolve(outcomeOfError(new HoldfastError('CANCELLED', 'the agent is stopping'), true, 0, []));
      else this.#hold(job, resolve);
    });
  }

  cancel(jobId: string): void {
    for (const held of this.#active.keys()) if (held.job.jobId === jobId) held.abort.abort();
    const waiting = this.#waiting.find((held) => held.job.jobId === jobId);
    if (waiting !== undefined) this.#drop(waiting);
  }

  running(): string[] {
    const all = [...this.#active.keys(), ...this.#waiting];
    return all.map((held) => held.job.jobId).filter((jobId) => jobId !== '');
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    for (const held of this.#waiting.slice()) this.#drop(held);
    for (const held of this.#active.keys()) held.abort.abort();
    await Promise.all(this.#active.values());
  }

  #hold(job: Job, finish: (outcome: JobOutcome) => void): void {
    this.#waiting.push({ job, abort: new AbortController(), finish });
    this.#startNext();
  }

  #drop(held: Held): void {
    this.#waiting = this.#waiting.filter((other) => other !== held);
    held.finish(outcomeOfError(new HoldfastError('CANCELLED', 'cancelled before it started'), true, 0, []));
  }

  #startNext(): void {
    const running = Array.from(this.#active.keys(), (held) => held.job);
    const chosen = new Set(
      startable(
        this.#waiting.map((held) => held.job),
        running,
        this.#limits,
      ),
    );
    const starting = this.#waiting.filter((held) => chosen.has(held.job));
    this.#waiting = this.#waiting.filter((held) => !chosen.has(held.job));
    for (const held of starting) this.#active.set(held, this.#run(held));
  }

  async #run(held: Held): Promise<void> {
    const { clock, log } = this.#deps;
    const { job, abort } = held;
    const startedAt = clock.monotonicMs();
    const warnings: JobWarning[] = [];
    let outcome: JobOutcome;
    log.info('job.started', { jobId: job.jobId, kind: job.kind });
    try {
      const report = await this.#work(job, abort.signal, warnings);
      outcome = outcomeOfReport(report, warnings);
    } catch (error) {
      const failure = toHoldfastError(error);
      if (failure.code === 'INTERNAL')
        log.error('job.unexpected-error', { jobId: job.jobId, stack: String(failure.stack) });
      outcome = outcomeOfError(failure, abort.signal.aborted, clock.monotonicMs() - startedAt, warnings);
    }
    this.#active.delete(held);
    try {
      held.finish(outcome);
    } catch (error) {
      // The disk refused the result. It was noted as begun, so after a restart it counts as failed.
      log.error('job.result-not-kept', { jobId: job.jobId, error: toHoldfastError(error).message });
    }
    this.#startNext();
    if (this.#active.size === 0) this.#deps.onIdle?.();
  }

  async #work(job: Job, signal: AbortSignal, warnings: JobWarning[]): Promise<JobReport> {
    const { pipelines, clock } = this.#deps;
    const onProgress: ProgressListener = (progress) => {
      if (job.jobId !== '') this.#listener.onProgress(job.jobId, progress);
    };
    const deps: JobDeps = { ...this.#deps, limiter: newBandwidthLimiter(limitOf(job), clock) };
    // A cancel while a pipeline was loading has no listener there yet.
    const started = <T>(pipeline: T): T => {
      if (signal.aborted) throw new HoldfastError('CANCELLED', 'cancelled before it started');
      return pipeline;
    };
    if (job.kind === 'restore') return started(await pipelines.restore(job))(job, deps, signal, onProgress);
    if (job.kind === 'verify') return started(await pipelines.verify(job))(job, deps, signal, onProgress);
    if (job.kind === 'step') return started(await pipelines.step())(job, deps, signal);
    if (job.kind === 'sandbox') return started(await pipelines.sandbox())(job);
    if (job.kind !== 'backup') return started(await pipelines.look())(job, deps, signal);
    return withHooks(job, deps, signal, onProgress, warnings, async () =>
      started(await pipelines.backup(job))(job, deps, signal, onProgress),
    );
  }
}

/** 0: none. */
function limitOf(job: Job): number {
  if (job.kind === 'backup') return job.source.limitBytesPerSecond;
  return job.kind === 'restore' || job.kind === 'verify' ? job.limitBytesPerSecond : 0;
}

/** `before`, the backup, `after`; what the hooks have to say is added to `warnings`. */
async function withHooks(
  job: BackupJob,
  deps: JobDeps,
  signal: AbortSignal,
  onProgress: ProgressListener,
  warnings: JobWarning[],
  backup: () => Promise<JobReport>,
): Promise<JobReport> {
  const { hooks } = job.source;
  const run = async (
    which: 'before' | 'after',
    variables: Record<string, string>,
    until: AbortSignal,
  ): Promise<ProgramResult> => {
    onProgress(hookProgress(which));
    const result = await runHook(
      {
        command: hooks[which],
        timeoutMs: hooks.timeoutSeconds * 1000,
        environment: {
          HOLDFAST_HOOK: which,
          HOLDFAST_SOURCE: job.source.name,
          HOLDFAST_SOURCE_ID: job.source.sourceId,
          HOLDFAST_JOB_ID: job.jobId,
          ...variables,
        },
      },
      deps.clock,
      until,
    );
    deps.log.info('hook.ended', { jobId: job.jobId, which, problem: result.problem, output: result.output });
    if (!result.ok) warnings.push({ code: 'hook', path: '', message: withOutput(result) });
    return result;
  };

  let result = 'failed';
  try {
    if (hooks.before.length > 0) {
      const before = await run('before', {}, signal);
      if (signal.aborted) throw new HoldfastError('CANCELLED', 'cancelled while the hook ran');
      if (!before.ok && hooks.requireBefore) {
        throw new HoldfastError('FAILED_PRECONDITION', withOutput(before), {
          hint: 'The source asks for its `before` hook to succeed; nothing was backed up.',
        });
      }
    }
    const report = await backup();
    result = report.warningsTotal > 0 || report.summary.partial ? 'warnings' : 'done';
    return report;
  } catch (error) {
    if (signal.aborted) result = 'cancelled';
    throw error;
  } finally {
    // Also after a cancel: whatever `before` stopped must start again. Its own time-out bounds it.
    if (hooks.after.length > 0) await run('after', { HOLDFAST_RESULT: result }, new AbortController().signal);
  }
}

const OUTPUT_IN_WARNING = 500;

function withOutput(result: ProgramResult): string {
  const output = result.output.trim().slice(-OUTPUT_IN_WARNING);
  return output === '' ? result.problem : `${result.problem}: ${output}`;
}

function hookProgress(which: string): JobProgress {
  const none = { filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0, bytesNew: 0, bytesStored: 0 };
  return { phase: 'hook', ...none, currentPath: which };
}
