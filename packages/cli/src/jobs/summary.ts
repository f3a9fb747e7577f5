// What a finished job did: as the last line of a `--json` run, in words, and as an exit code.
//
// The document's members are an interface that other people script: they are only ever added to. With `--json`, the
// summary is the last line on standard output also when the job could not even start.

import { HoldfastError, isErrorCode, meaningOf } from '@holdfast/shared/base/errors';
import type { JobOutcome, JobSummary, JobWarning, ReachedPoint } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { planFields, planLines, type PlanFields } from './plan.ts';
import { verifiedFields, verifiedWords, type VerifiedFields } from './verified.ts';
import { wrapped } from '../words/lines.ts';
import { idText, pathFields, pathText, shortId, type PathFields } from '../words/names.ts';
import { counted, formatCount, formatSize } from '../words/sizes.ts';
import { formatDuration, formatTime, isoTime } from '../words/times.ts';

export const EXIT_WARNINGS = 3;

export interface SummaryEvent {
  readonly event: 'summary';
  readonly kind: JobKind;
  /** done | warnings | failed | cancelled */
  readonly result: string;
  readonly source: string;
  /** Hex; null when none was made or chosen. */
  readonly snapshot: string | null;
  readonly job: string | null;
  readonly entries: number;
  readonly files: number;
  /** backup: read again; restore: written. */
  readonly filesChanged: number;
  readonly bytesTotal: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly seconds: number;
  readonly partial: boolean;
  readonly warnings: readonly WarningFields[];
  readonly warningsTotal: number;
  /** Of a restore with --dry-run or --delta. */
  readonly planned?: PlanFields;
  /** Of a verify: each snapshot that was asked about, oldest first. */
  readonly snapshots?: readonly VerifiedFields[];
  /** Of a restored database, or a restore test. */
  readonly reached?: ReachedFields;
  readonly error?: { readonly code: string; readonly message: string; readonly hint: string };
}

export interface ReachedFields {
  /** In the server's own notation. */
  readonly position: string;
  readonly timeline: number;
  readonly systemIdentifier: string;
  /** Server's clock; null: nothing was committed since the base. */
  readonly lastCommitAt: string | null;
  readonly running: boolean;
  /** How to reach it: "host=DIR port=5502"; empty when it does not run. */
  readonly connect: string;
  readonly replaySeconds: number;
  /** What the restored server said when it was asked. */
  readonly facts: Readonly<Record<string, string>>;
}

export type JobKind = 'backup' | 'restore' | 'verify';

export interface WarningFields extends PathFields {
  readonly code: string;
  readonly message: string;
}

export function warningFields(warning: JobWarning): WarningFields {
  return { code: warning.code, ...pathFields(warning.path), message: warning.message };
}

/** What the job is called and about; `snapshotId` is the chosen one, for an outcome that does not name it. */
export interface JobSubject {
  readonly kind: JobKind;
  readonly source: string;
  readonly job: string | null;
  readonly snapshotId?: Uint8Array;
  /** A restore that only says what it would do. */
  readonly dryRun?: boolean;
}

export function summaryEvent(subject: JobSubject, outcome: JobOutcome): SummaryEvent {
  const { summary } = outcome;
  const error = outcomeError(outcome);
  return {
    event: 'summary',
    kind: subject.kind,
    result: outcome.result,
    source: subject.source,
    snapshot: snapshotText(summary?.snapshotId, subject.snapshotId),
    job: subject.job,
    ...figures(summary),
    warnings: outcome.warnings.map(warningFields),
    warningsTotal: Number(outcome.warningsTotal),
    ...(outcome.planned && { planned: planFields(outcome.planned) }),
    ...(subject.kind === 'verify' && { snapshots: outcome.snapshots.map(verifiedFields) }),
    ...(outcome.reached && { reached: reachedFields(outcome.reached) }),
    ...(error && { error: { code: error.code, message: error.message, hint: error.hint } }),
  };
}

/** The summary of a job that never started, or could not be followed to its end. */
export function failureEvent(subject: JobSubject, error: HoldfastError): SummaryEvent {
  return {
    event: 'summary',
    kind: subject.kind,
    result: error.code === 'CANCELLED' ? 'cancelled' : 'failed',
    source: subject.source,
    snapshot: null,
    job: subject.job,
    ...figures(undefined),
    warnings: [],
    warningsTotal: 0,
    error: { code: error.code, message: error.message, hint: error.hint },
  };
}

function figures(
  summary: JobSummary | undefined,
): Omit<
  SummaryEvent,
  | 'event'
  | 'kind'
  | 'result'
  | 'source'
  | 'snapshot'
  | 'job'
  | 'warnings'
  | 'warningsTotal'
  | 'planned'
  | 'snapshots'
  | 'reached'
  | 'error'
> {
  return {
    entries: Number(summary?.entries ?? 0),
    files: Number(summary?.files ?? 0),
    filesChanged: Number(summary?.filesChanged ?? 0),
    bytesTotal: Number(summary?.bytesTotal ?? 0),
    bytesRead: Number(summary?.bytesRead ?? 0),
    bytesNew: Number(summary?.bytesNew ?? 0),
    bytesStored: Number(summary?.bytesStored ?? 0),
    seconds: Number(summary?.durationMs ?? 0) / 1000,
    partial: summary?.partial ?? false,
  };
}

function reachedFields(reached: ReachedPoint): ReachedFields {
  return {
    position: reached.position?.text ?? '',
    timeline: reached.stream?.timeline ?? 0,
    systemIdentifier: reached.stream?.systemIdentifier ?? '',
    lastCommitAt: isoTime(Number(reached.lastCommitAtMs)),
    running: reached.running,
    connect: reached.connect,
    replaySeconds: Number(reached.replayMs) / 1000,
    facts: Object.fromEntries(reached.facts.map(({ name, value }) => [name, value])),
  };
}

/** Where the restored database stands, and how to reach it. */
function reachedLines({ position, lastCommitAtMs, running, connect, facts }: ReachedPoint, width?: number): string[] {
  const commit =
    lastCommitAtMs === 0n ? 'nothing committed since' : `last commit ${formatTime(Number(lastCommitAtMs))}`;
  const said = facts.filter(({ value }) => value !== '');
  return [
    `reached ${position?.text ?? '?'}, ${commit}`,
    ...(running ? [`running: ${connect}`] : []),
    ...(said.length === 0 ? [] : [wrapped(said.map(({ name, value }) => `${name}: ${value}`).join(', '), 2, width)]),
  ];
}

function snapshotText(...ids: (Uint8Array | undefined)[]): string | null {
  const id = ids.find((candidate) => candidate !== undefined && candidate.length > 0);
  return id === undefined ? null : idText(id);
}

/** The error of a failed or cancelled outcome. */
export function outcomeError(outcome: JobOutcome): HoldfastError | undefined {
  if (outcome.result === 'cancelled') {
    return new HoldfastError('CANCELLED', outcome.errorMessage || 'the job was cancelled', { hint: outcome.errorHint });
  }
  if (outcome.result !== 'failed') return undefined;
  const code = isErrorCode(outcome.errorCode) ? outcome.errorCode : 'INTERNAL';
  return new HoldfastError(code, outcome.errorMessage || 'the job failed', { hint: outcome.errorHint });
}

/** 0 done, 3 with warnings or a partial snapshot, else what the error's code says. */
export function exitCodeOf(outcome: JobOutcome): number {
  const error = outcomeError(outcome);
  if (error !== undefined) return meaningOf(error.code).exit;
  const clean = outcome.result === 'done' && outcome.summary?.partial !== true && outcome.warningsTotal === 0n;
  return clean ? 0 : EXIT_WARNINGS;
}

/** The summary for people, several lines. @param width of the terminal; without one, as wide as it gets */
export function summaryWords(subject: JobSubject, outcome: JobOutcome, width?: number): string {
  const { summary } = outcome;
  if (summary === undefined) return `${subject.source}: ${outcome.result}\n`;
  const id = snapshotText(summary.snapshotId, subject.snapshotId);
  const snapshot = id === null ? '' : ` snapshot ${shortId(Buffer.from(id, 'hex'))}`;
  const size = `${counted(Number(summary.files), 'file')}, ${formatSize(Number(summary.bytesTotal))}`;
  const lines = [
    `${subject.source}:${snapshot}${summary.partial ? ' (partial)' : ''}, ${size}`,
    workWords(subject, outcome, summary),
    ...(outcome.planned === undefined ? [] : planLines(outcome.planned)),
    ...(outcome.reached === undefined ? [] : reachedLines(outcome.reached, width)),
  ];
  return (
    verifiedWords(outcome.snapshots) +
    lines.join('\n  ') +
    '\n' +
    warningWords(outcome.warnings, Number(outcome.warningsTotal), width)
  );
}

function workWords(subject: JobSubject, { planned }: JobOutcome, summary: JobSummary): string {
  const time = formatDuration(Number(summary.durationMs));
  const read = formatSize(Number(summary.bytesRead));
  const entries = counted(Number(summary.entries), 'entry', 'entries');
  if (subject.kind === 'verify') return `${entries} checked, ${read} read, in ${time}`;
  if (subject.kind === 'backup') {
    return `read ${read}, new ${formatSize(Number(summary.bytesNew))}, stored ${formatSize(Number(summary.bytesStored))}, in ${time}`;
  }
  if (subject.dryRun === true || planned?.dryRun === true) return `${entries} looked at; nothing was written`;
  return `${entries} restored, ${counted(Number(summary.filesChanged), 'file')} written, ${read} read, in ${time}`;
}

const SHOWN_WARNINGS = 20;

/** The first warnings by name, and how many more there are; empty for none. */
export function warningWords(warnings: readonly JobWarning[], total: number, width?: number): string {
  if (total === 0 && warnings.length === 0) return '';
  const lines = warnings.slice(0, SHOWN_WARNINGS).map(({ code, path, message }) => {
    const what = message === '' ? code : `${message} (${code})`;
    // A hook is about the whole source; its path would show as the root's ".".
    return `    ${wrapped(code === 'hook' ? what : `${pathText(path)}: ${what}`, 6, width)}`;
  });
  const more = Math.max(total, warnings.length) - lines.length;
  if (more > 0) lines.push(`    … and ${formatCount(more)} more`);
  return `  ${counted(Math.max(total, warnings.length), 'warning')}:\n${lines.join('\n')}\n`;
}
