// Which base and how much log bring a database back to a point. Pure: what is stored comes in as values, a choice or a refusal
// comes out.
//
// Hazard: a restore that ends somewhere else than it was told to, without a word: in a gap, before a base, on an abandoned timeline.
// So a point is reached exactly or refused, with what can be reached instead. All times are the server's own clock; none is compared
// with another machine's (I7).
//
// Invariants (recovery-point.property.test.ts):
//   RP1 what is chosen is stored: every position from the base's start to the end of the log that is to be read, along one way;
//   RP2 for a time, the way holds every commit up to it, and either one after it (where recovery stops) or `toEndOfLog` is set;
//   RP3 what can be reached is never refused;
//   RP4 a suspect base serves only when no other does, a damaged one only when it was asked for.
//
// Elsewhere on purpose: the sentences of a refusal (recovery-refusal.ts), how streams and runs hang together (vault/log-reach.ts), and loading all this (log-summary.ts).

import { sameStream, type LogPosition, type LogStream, type RecoveryTarget } from '@holdfast/shared/format/log-point';

import type { StoredBase } from '../vault/log-bases.ts';
import { lineage, orderOf, wayTo, type ForkOfStream, type StoredRun, type WayLeg } from '../vault/log-reach.ts';
import { coversGtid } from './gtid.ts';
import type { LogPiece, LogSummary, RefusedPoint } from './recovery-facts.ts';
import { noBase, refuse } from './recovery-refusal.ts';

export interface ChosenPoint {
  readonly kind: 'chosen';
  readonly base: StoredBase;
  /** Undefined: the base needs no log and none is read. */
  readonly log: { readonly stream: LogStream; readonly end: LogPosition; readonly way: readonly WayLeg[] } | undefined;
  /** Nothing lies behind the target: recovery ends with the log. */
  readonly toEndOfLog: boolean;
}

/** @param asked the bases are those that were asked for by name: damaged ones count, too */
export function choosePoint(
  bases: readonly StoredBase[],
  log: LogSummary,
  target: RecoveryTarget,
  asked = false,
): ChosenPoint | RefusedPoint {
  const candidates = inOrderOfTrust(bases, asked);
  if (candidates.length === 0) return noBase(bases);
  for (const reach of reaches(candidates, log, target)) {
    const chosen = judge(reach, log, target);
    if (chosen !== undefined) return chosen;
  }
  return refuse(candidates, log, target);
}

/** A base and a way from it. */
interface Reach {
  readonly base: StoredBase;
  /** Undefined: the base keeps no log. */
  readonly way: readonly WayLeg[] | undefined;
  /** A newer stream has left this one there: what lies behind is another history. */
  readonly leftAt: bigint | undefined;
}

function inOrderOfTrust(bases: readonly StoredBase[], asked: boolean): StoredBase[] {
  const newestFirst = bases.toSorted((a, b) => b.sequence - a.sequence);
  const whole = newestFirst.filter(({ damaged }) => asked || !damaged);
  return [...whole.filter(({ point }) => !point.suspect), ...whole.filter(({ point }) => point.suspect)];
}

/** Newest history first, and of one history the most trusted base first. */
function* reaches(candidates: readonly StoredBase[], log: LogSummary, target: RecoveryTarget): Generator<Reach> {
  if (target.kind === 'base') {
    for (const base of candidates) {
      const way = base.point.hasLog ? wayTo(base.point, base.point.stream, log.runs, log.forks) : undefined;
      if (way !== undefined || !base.point.hasLog) yield { base, way, leftAt: undefined };
    }
    return;
  }
  const streams = streamsOf(log.runs);
  for (const [index, stream] of streams.entries()) {
    const leftAt = whereLeft(stream, streams.slice(0, index), log.forks);
    for (const base of candidates) {
      const way = base.point.hasLog ? wayTo(base.point, stream, log.runs, log.forks) : undefined;
      if (way !== undefined) yield { base, way, leftAt };
    }
  }
  for (const base of candidates) if (!base.point.hasLog) yield { base, way: undefined, leftAt: undefined };
}

function streamsOf(runs: readonly StoredRun[]): LogStream[] {
  const streams: LogStream[] = [];
  for (const { stream } of runs) if (!streams.some((one) => sameStream(one, stream))) streams.push(stream);
  return streams;
}

function whereLeft(stream: LogStream, newer: readonly LogStream[], forks: readonly ForkOfStream[]): bigint | undefined {
  for (const other of newer) {
    const found = lineage(other, forks).find((one) => sameStream(one.stream, stream));
    if (found?.leftAt !== undefined) return found.leftAt.order;
  }
  return undefined;
}

function judge(reach: Reach, log: LogSummary, target: RecoveryTarget): ChosenPoint | undefined {
  const { base, way, leftAt } = reach;
  const end = way?.at(-1);
  if (way === undefined || end === undefined) return judgeWithoutLog(base, log, target);
  const chosen = (toEndOfLog: boolean): ChosenPoint => ({
    kind: 'chosen',
    base,
    log: { stream: end.stream, end: end.to, way },
    toEndOfLog,
  });
  const isNewest = leftAt === undefined;
  switch (target.kind) {
    case 'base':
      return chosen(false);
    case 'latest':
      // Only the end of the newest run of the newest history is the latest: anything else is a gap away from it.
      return isNewest && isNewestRun(end.run, log.runs) ? chosen(true) : undefined;
    case 'time':
      return judgeTime(reach, way, log, target.atMs, chosen);
    case 'position': {
      const wanted = orderOf(target.text);
      if (wanted === undefined || wanted < base.point.end.order || wanted > end.to.order) return undefined;
      return isNewest || wanted <= leftAt ? chosen(wanted === end.to.order) : undefined;
    }
    case 'name':
      return marked(reach, way, log, (mark) => mark === `name=${target.name}`) ? chosen(false) : undefined;
    default: {
      if (base.point.gtid !== '' && coversGtid(base.point.gtid, target.gtid, 'beyond')) return undefined;
      const holds = (mark: string): boolean =>
        mark.startsWith('gtid=') && coversGtid(mark.slice(5), target.gtid, 'reached');
      return marked(reach, way, log, holds) ? chosen(false) : undefined;
    }
  }
}

/** A source that keeps no log at all has its bases as points: a time means the last of them before it, as for files. */
function judgeWithoutLog(base: StoredBase, log: LogSummary, target: RecoveryTarget): ChosenPoint | undefined {
  const { endAtMs } = base.point;
  const serves =
    target.kind === 'base' ||
    (log.runs.length === 0 && (target.kind === 'latest' || (target.kind === 'time' && endAtMs <= target.atMs)));
  return serves ? { kind: 'chosen', base, log: undefined, toEndOfLog: false } : undefined;
}

function judgeTime(
  { base, leftAt }: Reach,
  way: readonly WayLeg[],
  log: LogSummary,
  atMs: number,
  chosen: (toEndOfLog: boolean) => ChosenPoint,
): ChosenPoint | undefined {
  if (base.point.endAtMs > atMs) return undefined;
  const behind = log.pieces.filter(
    (piece) => (piece.lastCommitAtMs ?? -Infinity) > atMs && piece.end.order > base.point.end.order,
  );
  const isCertain = (piece: LogPiece): boolean =>
    placeOn(way, piece) === 'on' && (leftAt === undefined || piece.end.order <= leftAt);
  if (behind.some(isCertain)) return chosen(false);
  if (leftAt !== undefined || atMs > way.at(-1)!.run.completeToMs) return undefined;
  // All is there up to the time, and perhaps more. Told to stop, recovery complains at worst that it found nothing to stop at; told
  // to go to the end, it would go too far.
  return chosen(!behind.some((piece) => placeOn(way, piece) === 'across'));
}

/**
 * Whether a piece lies on the way. One across the point where its stream is left holds commits of both histories, unless the next
 * stream has that part itself, as a promoted PostgreSQL server has.
 */
function placeOn(way: readonly WayLeg[], piece: LogPiece): 'on' | 'across' | 'off' {
  for (const [index, leg] of way.entries()) {
    if (!sameStream(leg.stream, piece.stream)) continue;
    const next = way[index + 1];
    // What a stream holds before it was entered is a copy of what its parent has.
    const entered = index === 0 ? leg.from.order : leg.run.start.order;
    const left = next !== undefined && next.run.start.order < leg.to.order ? next.run.start.order : leg.to.order;
    if (piece.end.order <= entered || piece.start.order >= leg.to.order) return 'off';
    if (piece.end.order <= leg.to.order) return 'on';
    return piece.start.order < left ? 'across' : 'off';
  }
  return 'off';
}

function marked(
  { base, leftAt }: Reach,
  way: readonly WayLeg[],
  { pieces }: LogSummary,
  holds: (mark: string) => boolean,
): boolean {
  return pieces.some(
    (piece) =>
      piece.marks.some(holds) &&
      placeOn(way, piece) === 'on' &&
      // Of a piece that the base's end lies in nobody knows on which side of it the mark is.
      piece.start.order >= base.point.end.order &&
      (leftAt === undefined || piece.end.order <= leftAt),
  );
}

function isNewestRun(run: StoredRun, runs: readonly StoredRun[]): boolean {
  return !runs.some((other) => sameStream(other.stream, run.stream) && other.start.order > run.start.order);
}
