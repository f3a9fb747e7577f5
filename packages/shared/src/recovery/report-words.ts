// What Markdown and HTML reports say alike: durations, verdicts, offsets. Pure. Tested in report.test.ts.

import type { EvidenceReport } from './report.ts';
import { MOMENTS } from './report-times.ts';

/** "0.4 s", "12.3 s", "3 min 05 s", "2 h 07 min". */
export function spanText(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** When it is, and why it is that. */
export function pointText({ recoveryPoint, pointFindings = [] }: EvidenceReport['run']): string {
  return [momentText(recoveryPoint), ...pointFindings].join('; ');
}

/** "2026-11-23 04:00:25.684 UTC"; a dash for what did not happen. */
export function momentText(iso: string | null): string {
  return iso === null ? '–' : iso.replace('T', ' ').replace('Z', ' UTC');
}

export function titleOf({ plan, run }: EvidenceReport): string {
  return run.mode === 'drill' ? `Drill of ${plan.name}` : `Recovery of ${plan.name}`;
}

/** One sentence: what happened, from where to where, how it ended. */
export function leadOf({ plan, run }: EvidenceReport): string {
  const what =
    { drill: 'A drill', planned: 'A planned failover', unplanned: 'An unplanned failover' }[run.mode] ?? 'A run';
  const how = run.reason === '' ? run.state : `${run.state} (${run.reason})`;
  return `${what} of ${plan.name} from ${run.fromHost} to ${run.toHost}, started by ${run.startedBy}: ${how}.`;
}

export function objectiveText({ promisedMs, measuredMs, met }: EvidenceReport['objectives']['rto']): string {
  if (measuredMs === null) return `not measured; promised ${spanText(promisedMs)}`;
  return `${spanText(measuredMs)}, ${met === true ? 'within' : 'beyond'} the ${spanText(promisedMs)} promised`;
}

export interface MomentRow {
  readonly name: string;
  readonly at: string;
  /** Since the first of them. */
  readonly offsetMs: number;
}

/** Those that happened, as they came. */
export function momentRows({ times }: EvidenceReport): MomentRow[] {
  const happened = MOMENTS.flatMap(([key, name]) => {
    const at = times[key];
    return at === null ? [] : [{ name, at, ms: Date.parse(at) }];
  }).toSorted((a, b) => a.ms - b.ms);
  const firstMs = happened[0]?.ms ?? 0;
  return happened.map(({ name, at, ms }) => ({ name, at, offsetMs: ms - firstMs }));
}

export function tookMs(step: Pick<EvidenceReport['steps'][number], 'startedAt' | 'finishedAt'>): number | undefined {
  if (step.startedAt === null || step.finishedAt === null) return undefined;
  return Math.max(0, Date.parse(step.finishedAt) - Date.parse(step.startedAt));
}

function two(value: number): string {
  return value.toString().padStart(2, '0');
}
