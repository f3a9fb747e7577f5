// How well a source is protected, from what is stored of it and what its agent last said. Pure.
//
// Hazard: a green light over a log that stands still. So what is shown is measured: the age of what isn't stored yet, plus how long ago
// the agent was last heard of. Both are durations, each by one clock; no agent's time is compared with the catalog's (I7).
//
// Tested in source-state.test.ts.

import type { LogGap, LogStatus } from '@holdfast/shared/format/log-point';

import type { StoredLog } from './log-summary.ts';
import { choosePoint } from './recovery-point.ts';
import { reachableWindows } from './recovery-windows.ts';

export interface SourceFacts {
  /** Undefined: a source that keeps no log. */
  readonly log: StoredLog | undefined;
  readonly status: LogStatus | undefined;
  /** Since the agent said `status`, by the catalog's clock. */
  readonly reportAgeMs: number | undefined;
  /** Since the host was last heard of, by the catalog's clock; undefined: never. */
  readonly hostAgeMs: number | undefined;
  /** A file tree that is watched: since when it may have changed with nothing of it stored. Undefined: nobody watches. */
  readonly quietAgeMs?: number | undefined;
  readonly newest:
    | {
        /** Since its commit, by the catalog's clock. */
        readonly ageMs: number;
        /** What it took, by the agent's. */
        readonly durationMs: number;
        readonly suspect: boolean;
      }
    | undefined;
}

export type ProtectionState = 'protected' | 'unprotected' | 'gap' | 'suspect' | 'behind';

export interface SourceState {
  readonly state: ProtectionState;
  /** What would be lost if the host died now; undefined: everything, nothing is stored yet. */
  readonly rpoMs: number | undefined;
  /** Server's clock; undefined for a source that keeps no log. */
  readonly recoverable:
    | { readonly fromMs: number; readonly toMs: number; readonly gaps: readonly LogGap[] }
    | undefined;
}

/** Beyond this a followed log is behind. */
export const BEHIND_MS = 60_000;

export function stateOf(facts: SourceFacts): SourceState {
  const { log, newest } = facts;
  if (log === undefined || !log.bases.some(({ point }) => point.hasLog)) {
    const rpoMs =
      newest === undefined ? undefined : Math.min(newest.ageMs + newest.durationMs, facts.quietAgeMs ?? Infinity);
    const state = newest === undefined ? 'unprotected' : newest.suspect ? 'suspect' : 'protected';
    return { state, rpoMs, recoverable: log === undefined ? undefined : recoverableOf(log) };
  }
  const recoverable = recoverableOf(log);
  if (recoverable.fromMs === 0) return { state: 'unprotected', rpoMs: undefined, recoverable };
  const latest = choosePoint(log.bases, log, { kind: 'latest' });
  const rpoMs = logRpo(facts);
  if (latest.kind === 'refused') return { state: 'gap', rpoMs: undefined, recoverable };
  if (latest.base.point.suspect || newest?.suspect === true) return { state: 'suspect', rpoMs, recoverable };
  const behind = rpoMs === undefined || rpoMs > BEHIND_MS;
  return { state: behind ? 'behind' : 'protected', rpoMs, recoverable };
}

function recoverableOf(log: StoredLog): NonNullable<SourceState['recoverable']> {
  const { windows, holes } = reachableWindows(log.bases, log);
  const gaps = holes.map(({ fromMs, toMs, reason, gap }): LogGap => {
    const nowhere = { order: 0n, text: '' };
    const stream = { systemIdentifier: '', timeline: 0 };
    return { ...(gap ?? { stream, start: nowhere, end: nowhere }), fromMs, toMs, reason };
  });
  return { fromMs: windows[0]?.fromMs ?? 0, toMs: windows.at(-1)?.toMs ?? 0, gaps };
}

/**
 * How old the oldest commit may be that isn't stored. An agent that follows and has nothing to add says nothing new, but it is heard of:
 * then only the time since that counts.
 */
function logRpo({ status, reportAgeMs, hostAgeMs }: SourceFacts): number | undefined {
  if (status === undefined || reportAgeMs === undefined) return undefined;
  const isCurrent = status.state === 'following' && status.lagMs === 0 && hostAgeMs !== undefined;
  return status.lagMs + (isCurrent ? Math.min(reportAgeMs, hostAgeMs) : reportAgeMs);
}

export interface Finding {
  readonly level: 'critical' | 'warning';
  readonly message: string;
  readonly hint: string;
}

const FAR_BEHIND_MS = 15 * 60_000;
/** Of what a slot may keep. */
const SLOT_NEAR = 0.7;

/** What a person should look at. `name` is HOST/SOURCE. */
export function findingsOf(name: string, facts: SourceFacts, state: SourceState): Finding[] {
  const found: Finding[] = [];
  const say = (level: Finding['level'], message: string, hint: string): void =>
    void found.push({ level, message, hint });
  const { status, log } = facts;
  if (log !== undefined && state.state === 'unprotected' && facts.newest !== undefined)
    say('critical', 'nothing of it can be reached: no whole base with its log', `holdfast backup ${name}`);
  if (state.state === 'gap') {
    const gap = log?.gaps.at(-1);
    const where = gap === undefined ? '' : ` from ${gap.start.text} to ${gap.end.text} (${gap.reason})`;
    say('critical', `its log has a gap${where}, and no base was taken since`, `holdfast backup ${name}`);
  }
  for (const gap of state.state === 'gap' ? [] : (log?.newGaps ?? [])) {
    const where = `from ${gap.start.text} to ${gap.end.text}`;
    say('warning', `its log got a gap today, ${where}: ${gap.reason}`, `holdfast source show ${name}`);
  }
  if (state.state === 'suspect')
    say('critical', 'its newest base is suspect: the server found damaged pages', `holdfast verify ${name}`);
  if (state.rpoMs !== undefined && status !== undefined && state.rpoMs > BEHIND_MS) {
    const level = state.rpoMs > FAR_BEHIND_MS ? 'critical' : 'warning';
    say(level, `its log is behind: the last ${seconds(state.rpoMs)} would be lost`, `holdfast source show ${name}`);
  }
  if (status?.slot !== undefined) slotFindings(name, status.slot, say);
  if (status !== undefined && status.note !== '') say('warning', status.note, `holdfast source check ${name}`);
  return found;
}

function slotFindings(
  name: string,
  slot: NonNullable<LogStatus['slot']>,
  say: (level: Finding['level'], message: string, hint: string) => void,
): void {
  const { name: slotName, state, retainedBytes, keepBytes, safeBytes } = slot;
  if (state === 'lost' || state === 'missing') {
    say('critical', `its replication slot ${slotName} is ${state}`, `holdfast source check ${name}`);
  } else if (keepBytes > 0 && retainedBytes > keepBytes * SLOT_NEAR) {
    const share = Math.round((100 * retainedBytes) / keepBytes);
    const what = `its slot ${slotName} keeps ${share} % of what it may keep on the server; beyond that the log has a gap`;
    say('critical', what, `holdfast source show ${name}`);
  } else if (safeBytes !== undefined && safeBytes < retainedBytes * (1 - SLOT_NEAR)) {
    say('warning', `the server will soon drop what its slot ${slotName} needs`, `holdfast source check ${name}`);
  }
}

function seconds(ms: number): string {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}
