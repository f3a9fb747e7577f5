// Why a point of a database's past can't be reached, in words, with what can be reached instead. Pure.
//
// Tested with recovery-point.property.test.ts, and word for word in operator-databases.db.test.ts.

import type { ErrorCode } from '@holdfast/shared/base/errors';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';

import type { StoredBase } from '../vault/log-bases.ts';
import { orderOf } from '../vault/log-reach.ts';
import type { LogSummary, RefusedPoint } from './recovery-facts.ts';
import { reachableWindows, windowsInWords } from './recovery-windows.ts';

export function noBase(bases: readonly StoredBase[]): RefusedPoint {
  const message =
    bases.length === 0
      ? 'the source has no base yet'
      : 'every base of the source is damaged, so nothing can be reached';
  return { kind: 'refused', code: 'NOT_FOUND', message, hint: 'Take a base: holdfast backup HOST/SOURCE' };
}

/** Why a point can't be reached, and what can. */
export function refuse(candidates: readonly StoredBase[], log: LogSummary, target: RecoveryTarget): RefusedPoint {
  const { windows, holes } = reachableWindows(candidates, log);
  const hint = windowsInWords(windows);
  const refused = (message: string, code: ErrorCode = 'FAILED_PRECONDITION'): RefusedPoint => ({
    kind: 'refused',
    code,
    message,
    hint,
  });
  const newest = log.runs[0];
  switch (target.kind) {
    case 'time': {
      const at = iso(target.atMs);
      const first = windows[0];
      if (first !== undefined && target.atMs < first.fromMs) {
        return refused(`${at} is before the first base, which is consistent from ${iso(first.fromMs)} on`);
      }
      const hole = holes.find(({ fromMs, toMs }) => fromMs < target.atMs && target.atMs < toMs);
      if (hole !== undefined) {
        return refused(`${at} is in a gap, from ${iso(hole.fromMs)} to ${iso(hole.toMs)}: ${hole.reason}`);
      }
      const last = windows.at(-1);
      return refused(
        last === undefined
          ? `${at} cannot be reached: the log that the bases need is damaged`
          : `${at} is after what is stored, which is complete up to ${iso(last.toMs)}${behindWindow(last.toMs, log)}`,
      );
    }
    case 'position': {
      const order = orderOf(target.text);
      if (order === undefined) {
        return refused(`${JSON.stringify(target.text)} is no position in a log`, 'INVALID_ARGUMENT');
      }
      const gap = log.gaps.find(({ start, end }) => start.order < order && order < end.order);
      if (gap !== undefined) {
        return refused(`${target.text} is in a gap, from ${gap.start.text} to ${gap.end.text}: ${gap.reason}`);
      }
      if (candidates.every(({ point }) => order < point.end.order)) {
        const first = candidates.reduce((a, b) => (a.point.end.order < b.point.end.order ? a : b));
        return refused(`${target.text} is before the first base, which is consistent from ${first.point.end.text} on`);
      }
      return refused(
        newest === undefined || order <= newest.end.order
          ? `${target.text} cannot be reached: no base was taken since the gap before it`
          : `${target.text} is after what is stored, which ends at ${newest.end.text}`,
      );
    }
    case 'name': {
      const known = log.pieces.some(({ marks }) => marks.includes(`name=${target.name}`));
      if (known) return refused(`the restore point ${JSON.stringify(target.name)} cannot be reached from any base`);
      const names = log.names.length === 0 ? 'there are none' : `there are: ${log.names.join(', ')}`;
      return refused(`no restore point ${JSON.stringify(target.name)} is in the stored log; ${names}`, 'NOT_FOUND');
    }
    case 'gtid':
      return refused(`the GTID ${target.gtid} cannot be reached with what is stored`, 'NOT_FOUND');
    case 'latest': {
      const gap = log.gaps.at(-1);
      return refused(
        gap === undefined
          ? 'the newest part of the log cannot be replayed on any base'
          : `the newest part of the log is behind a gap, from ${gap.start.text} to ${gap.end.text} (${gap.reason}), and no base was taken since`,
      );
    }
    default:
      return refused('the log that the base needs to be consistent is damaged or missing', 'DAMAGED');
  }
}

/** Why the log ends where it ends, when a gap stands there. */
function behindWindow(toMs: number, { gaps }: LogSummary): string {
  const gap = gaps.find((one) => one.toMs === 0 && one.fromMs <= toMs + 1) ?? gaps.find((one) => one.fromMs === toMs);
  return gap === undefined ? '' : `; there a gap begins: ${gap.reason}`;
}

function iso(ms: number): string {
  return Number.isNaN(new Date(ms).getTime()) ? String(ms) : new Date(ms).toISOString();
}
