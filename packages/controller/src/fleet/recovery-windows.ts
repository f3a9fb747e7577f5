// What of a database's past can be reached: windows of the server's clock, and the holes between them. Pure.
//
// Tested with recovery-point.property.test.ts and source-state.test.ts.

import type { LogGap } from '@holdfast/shared/format/log-point';

import type { StoredBase } from '../vault/log-bases.ts';
import { wayTo, type StoredRun } from '../vault/log-reach.ts';
import type { LogSummary } from './recovery-facts.ts';

/** Server's clock, Unix ms; both ends can be reached. */
export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Between two windows. */
export interface Hole extends Window {
  readonly reason: string;
  /** The recorded gap behind it; undefined when only a base is missing. */
  readonly gap: LogGap | undefined;
}

/** In order of time; windows that touch are one. Damaged bases open none. */
export function reachableWindows(
  bases: readonly StoredBase[],
  log: Pick<LogSummary, 'runs' | 'forks' | 'gaps'>,
): { readonly windows: Window[]; readonly holes: Hole[] } {
  const single = bases
    .flatMap((base) => windowOf(base, log))
    .toSorted((a, b) => a.fromMs - b.fromMs || a.toMs - b.toMs);
  const windows: WindowOfRun[] = [];
  for (const window of single) {
    const last = windows.at(-1);
    // A base may end later than its log was last said to be complete. On one unbroken run nothing is missing between.
    const goesOn =
      last !== undefined && (window.fromMs <= last.toMs || (last.run !== undefined && last.run === window.run));
    if (goesOn)
      windows[windows.length - 1] = { ...window, fromMs: last.fromMs, toMs: Math.max(last.toMs, window.toMs) };
    else windows.push(window);
  }
  const holes = windows.slice(1).map((window, index) => holeBetween(windows[index]!.toMs, window.fromMs, log.gaps));
  return { windows: windows.map(({ fromMs, toMs }) => ({ fromMs, toMs })), holes };
}

interface WindowOfRun extends Window {
  /** Whose end is the window's; undefined: the base keeps no log. */
  readonly run: StoredRun | undefined;
}

function windowOf({ point, damaged }: StoredBase, log: Pick<LogSummary, 'runs' | 'forks'>): WindowOfRun[] {
  if (damaged) return [];
  const at = point.endAtMs;
  if (!point.hasLog) return [{ fromMs: at, toMs: at, run: undefined }];
  const streams = log.runs.map(({ stream }) => stream);
  for (const stream of streams) {
    const end = wayTo(point, stream, log.runs, log.forks)?.at(-1);
    if (end !== undefined) return [{ fromMs: at, toMs: Math.max(at, end.run.completeToMs), run: end.run }];
  }
  return [];
}

function holeBetween(fromMs: number, toMs: number, gaps: readonly LogGap[]): Hole {
  const gap = gaps.find((one) => one.fromMs < toMs && (one.toMs === 0 || one.toMs > fromMs));
  return { fromMs, toMs, gap, reason: gap?.reason ?? 'the log of that time cannot be replayed on any base' };
}

export function windowsInWords(windows: readonly Window[]): string {
  if (windows.length === 0) return 'Nothing can be reached: take a base with holdfast backup HOST/SOURCE.';
  const shown = windows.slice(-5).map(({ fromMs, toMs }) => `from ${iso(fromMs)} to ${iso(toMs)}`);
  return `What can be reached: ${shown.join('; ')}.`;
}

function iso(ms: number): string {
  return Number.isNaN(new Date(ms).getTime()) ? String(ms) : new Date(ms).toISOString();
}
