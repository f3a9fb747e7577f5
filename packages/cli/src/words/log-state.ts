// What can be reached of a database, and how far its log is behind: as documents and in words.
//
// The members are an interface that other people script: they are only ever added to.

import type { LogGap, LogStatus } from '@holdfast/shared/rpc/gen/holdfast/v1/log';
import type { SourceInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { formatSize } from './sizes.ts';
import { formatAge, formatDuration, formatTime, isoTime } from './times.ts';

export function recoverableFields({ recoverable }: SourceInfo) {
  if (recoverable === undefined) return null;
  return {
    from: isoTime(Number(recoverable.fromMs)),
    to: isoTime(Number(recoverable.toMs)),
    gaps: recoverable.gaps.map(gapFields),
  };
}

function gapFields(gap: LogGap) {
  return {
    from: isoTime(Number(gap.fromMs)),
    to: isoTime(Number(gap.toMs)),
    fromPosition: gap.start?.text ?? '',
    toPosition: gap.end?.text ?? '',
    timeline: gap.stream?.timeline ?? 0,
    reason: gap.reason,
  };
}

export function logFields({ log, logReportedAtMs }: SourceInfo) {
  if (log === undefined) return null;
  return {
    state: log.state,
    systemIdentifier: log.stream?.systemIdentifier ?? '',
    timeline: log.stream?.timeline ?? 0,
    position: log.stored?.text ?? '',
    lagBytes: Number(log.lagBytes),
    lagSeconds: Number(log.lagMs) / 1000,
    completeTo: isoTime(Number(log.completeToMs)),
    note: log.note,
    reportedAt: isoTime(Number(logReportedAtMs)),
  };
}

export function slotFields({ log }: SourceInfo) {
  const slot = log?.slot;
  if (slot === undefined) return null;
  return {
    name: slot.name,
    state: slot.state,
    retainedBytes: Number(slot.retainedBytes),
    keepBytes: Number(slot.keepBytes),
    safeBytes: slot.safeBytes === undefined ? null : Number(slot.safeBytes),
  };
}

/** Seconds of work that would be lost if the host died now; null when nothing is stored yet. */
export function rpoSeconds({ rpoMs }: SourceInfo): number | null {
  return rpoMs === undefined ? null : Number(rpoMs) / 1000;
}

/** Lines of `source show`. */
export function logLines(source: SourceInfo, nowMs: number): (readonly [label: string, value: string | undefined])[] {
  const { recoverable, log, rpoMs } = source;
  if (recoverable === undefined && log === undefined) return [];
  const from = Number(recoverable?.fromMs ?? 0);
  const to = Number(recoverable?.toMs ?? 0);
  return [
    ['State', source.state],
    ['Recoverable', from === 0 ? 'nothing yet' : `${formatTime(from)} to ${formatTime(to)}`],
    ...(recoverable?.gaps ?? []).map((gap) => ['Gap', gapWords(gap)] as const),
    ['Would be lost', rpoMs === undefined ? undefined : formatDuration(Number(rpoMs))],
    ['Log', log === undefined ? undefined : logWords(log, Number(source.logReportedAtMs), nowMs)],
    ['Slot', slotWords(log)],
  ];
}

function gapWords(gap: LogGap): string {
  const to = Number(gap.toMs) === 0 ? 'now' : formatTime(Number(gap.toMs));
  // Between two bases there may be a time that nothing was lost of, and no positions either.
  const [start = '', end = ''] = [gap.start?.text, gap.end?.text];
  const positions = start === '' && end === '' ? '' : ` (${start || '?'} to ${end || '?'})`;
  return `${formatTime(Number(gap.fromMs))} to ${to}${positions}: ${gap.reason}`;
}

function logWords(log: LogStatus, reportedAtMs: number, nowMs: number): string {
  const behind =
    log.lagBytes === 0n
      ? 'all of it is stored'
      : `${formatSize(Number(log.lagBytes))} and ${formatDuration(Number(log.lagMs))} behind`;
  const note = log.note === '' ? '' : `; ${log.note}`;
  return `${log.state} at ${log.stored?.text ?? '?'}, ${behind}${note} (said ${formatAge(reportedAtMs, nowMs)})`;
}

function slotWords(log: LogStatus | undefined): string | undefined {
  const slot = log?.slot;
  if (slot === undefined) return undefined;
  const kept = `${formatSize(Number(slot.retainedBytes))} of at most ${formatSize(Number(slot.keepBytes))} kept on the server`;
  const safe =
    slot.safeBytes === undefined ? 'the server sets no bound' : `${formatSize(Number(slot.safeBytes))} safe there`;
  return `${slot.name} ${slot.state}, ${kept}, ${safe}`;
}
