// What may follow what in a stored log. Pure: the vault decides by these rules, and so does the in-memory one of engines' tests.
//
// Hazard: a silent gap. A log of which a piece is missing replays without an error up to the hole, or worse, past it, and nobody
// knows that commits are lost. So a piece is taken only where the stored run ends; whoever can't bring what lies between says so
// with a gap, and from there on another run begins.
//
// Invariants (log-order.property.test.ts):
//   O1 a run is unbroken: each of its pieces starts where the one before it ends;
//   O2 what lies between two runs of a stream is a recorded gap, exactly;
//   O3 what is stored is never stored twice under other ids, but for a merged piece, which takes the place of exactly what it covers.

import { HoldfastError } from '../base/errors.ts';
import type { LogEnd, LogGap, LogRange } from './log-point.ts';

/** The newest run of a stream, and what it came after. */
export interface LogHead extends LogEnd {
  /** Where the gap starts that the head stands behind, while nothing is stored after it: it may still be told more exactly. */
  readonly gapStart: bigint | undefined;
}

/**
 * The head after a piece of the log itself that isn't merged. A stream's first piece may start anywhere.
 * Throws FAILED_PRECONDITION for a piece that leaves something out, and for one that is stored already.
 */
export function headAfterSegment(head: LogHead | undefined, range: LogRange): LogHead {
  const { stream, start, end, completeToMs } = range;
  if (end.order === start.order && head === undefined) throw refused('an empty piece of a log begins no stream');
  if (head === undefined) return { stream, start, end, completeToMs, gapStart: undefined };
  if (start.order > head.end.order) {
    throw refused(
      `a piece of the log from ${start.text} leaves out what follows ${head.end.text}`,
      `Send the log from ${head.end.text} on; if nobody has it any more, record a gap and take a new base.`,
    );
  }
  if (start.order < head.end.order) {
    throw refused(`the log is stored up to ${head.end.text} already`, `Send the log from ${head.end.text} on.`);
  }
  // 0: the piece says nothing of the time, so what was known of the one before it still holds.
  const complete = completeToMs === 0 ? head.completeToMs : completeToMs;
  return { stream, start: head.start, end, completeToMs: complete, gapStart: undefined };
}

/**
 * The head behind a gap: a run of its own, empty so far. A gap that the head stands behind may be told again with another end.
 * Throws FAILED_PRECONDITION for a gap over what is stored, and for one that isn't where the run ends.
 */
export function headAfterGap(head: LogHead | undefined, gap: LogGap): LogHead {
  const follows = head === undefined || gap.start.order === head.end.order || gap.start.order === head.gapStart;
  if (!follows) {
    throw refused(
      `a gap from ${gap.start.text} does not begin where the stored log ends, at ${head.end.text}`,
      `Record it from ${head.end.text} on.`,
    );
  }
  return { stream: gap.stream, start: gap.end, end: gap.end, completeToMs: gap.toMs, gapStart: gap.start.order };
}

/** A stored piece of the log itself, by its orders. */
export interface StoredExtent {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * Checks that a merged piece covers stored pieces exactly, and more than one.
 * @param covered the live pieces within its range, in order
 * Throws FAILED_PRECONDITION.
 */
export function checkMerge(range: LogRange, covered: readonly StoredExtent[]): void {
  let at = range.start.order;
  for (const { start, end } of covered) {
    if (start !== at) break;
    at = end;
  }
  if (at !== range.end.order || covered.length < 2) {
    throw refused(
      `a merged piece from ${range.start.text} to ${range.end.text} does not cover stored pieces exactly`,
      'Merge whole pieces that are stored, without a gap between them.',
    );
  }
}

function refused(message: string, hint = 'Send a piece with content first.'): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', message, { hint });
}
