// What the end of a job means: the one place that turns a report, or an error, into a result.

import { toHoldfastError } from '@holdfast/shared/base/errors';
import { WARNINGS_KEPT, type JobOutcome, type JobReport, type JobSummary, type JobWarning } from './job.ts';

export const EMPTY_SUMMARY: JobSummary = {
  entries: 0,
  files: 0,
  filesChanged: 0,
  bytesTotal: 0,
  bytesRead: 0,
  bytesNew: 0,
  bytesStored: 0,
  durationMs: 0,
  partial: false,
};

/** @param more warnings of what ran around the pipeline (hooks), put before its own */
export function outcomeOfReport(report: JobReport, more: readonly JobWarning[]): JobOutcome {
  const warningsTotal = report.warningsTotal + more.length;
  const told = {
    summary: report.summary,
    warnings: [...more, ...report.warnings].slice(0, WARNINGS_KEPT),
    warningsTotal,
    ...(report.planned === undefined ? {} : { planned: report.planned }),
    ...(report.findings === undefined ? {} : { findings: report.findings }),
    ...(report.discovered === undefined ? {} : { discovered: report.discovered }),
    ...(report.reached === undefined ? {} : { reached: report.reached }),
    ...(report.step === undefined ? {} : { step: report.step }),
  };
  if (report.failure !== undefined) return { result: 'failed', ...told, failure: report.failure };
  return { result: warningsTotal > 0 || report.summary.partial ? 'warnings' : 'done', ...told };
}

/** @param cancelled whether somebody asked for the end: then an error is its consequence */
export function outcomeOfError(
  thrown: unknown,
  cancelled: boolean,
  durationMs: number,
  more: readonly JobWarning[],
): JobOutcome {
  const error = toHoldfastError(thrown);
  const wasCancelled = cancelled || error.code === 'CANCELLED';
  return {
    result: wasCancelled ? 'cancelled' : 'failed',
    summary: { ...EMPTY_SUMMARY, durationMs },
    warnings: more,
    warningsTotal: more.length,
    failure: wasCancelled
      ? { code: 'CANCELLED', message: 'the job was cancelled', hint: '' }
      : { code: error.code, message: error.message, hint: error.hint },
  };
}
