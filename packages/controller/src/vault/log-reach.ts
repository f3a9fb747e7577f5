// How far stored log reaches from a base: along one stream, or from a stream to the one that forked from it. Pure.
//
// Hazard: replaying a log that doesn't belong to the base, or one with a hole. PostgreSQL notices some of that and silently stops
// at the rest. So a way is a chain of unbroken runs, each beginning at or before the point where the one before it is left: at its
// end, or at the fork, whichever comes first. What a stream holds behind a fork is another history, and is never on the way.
//
// Invariants (log-reach.property.test.ts): W1 every position of a way, from the base's start on, is stored in the stream that the
// way says; W2 there is a way exactly if such a chain exists.

import { sameStream, type LogFork, type LogPosition, type LogStream } from '@holdfast/shared/format/log-point';

/** An unbroken sequence of stored pieces. */
export interface StoredRun {
  readonly stream: LogStream;
  readonly start: LogPosition;
  readonly end: LogPosition;
  /** Server's clock, Unix ms: everything committed up to then is before `end`; 0: nothing known. */
  readonly completeToMs: number;
}

export interface ForkOfStream extends LogFork {
  readonly stream: LogStream;
}

export interface LogStart {
  readonly stream: LogStream;
  readonly start: LogPosition;
  readonly end: LogPosition;
}

/** Part of a way: positions [from, to] of a stream. */
export interface WayLeg {
  readonly stream: LogStream;
  readonly from: LogPosition;
  readonly to: LogPosition;
  readonly run: StoredRun;
}

/** Streams from `stream` back to the first, with the fork by which each was reached; the first element is `stream` itself. */
export function lineage(
  stream: LogStream,
  forks: readonly ForkOfStream[],
): { readonly stream: LogStream; readonly leftAt: LogPosition | undefined }[] {
  const line: { stream: LogStream; leftAt: LogPosition | undefined }[] = [{ stream, leftAt: undefined }];
  for (;;) {
    const youngest = line.at(-1)!.stream;
    const fork = forks.find((one) => sameStream(one.stream, youngest));
    // A circle can't be: an agent that claims one is not followed.
    if (fork === undefined || line.some((one) => sameStream(one.stream, fork.parent))) return line;
    line.push({ stream: fork.parent, leftAt: fork.position });
  }
}

/**
 * The way from a base to the end of `target`'s run, legs in order; undefined when there is none. The base's own end is on it: before
 * that it is not consistent.
 */
export function wayTo(
  base: LogStart,
  target: LogStream,
  runs: readonly StoredRun[],
  forks: readonly ForkOfStream[],
): WayLeg[] | undefined {
  const line = lineage(target, forks);
  const first = line.findIndex((one) => sameStream(one.stream, base.stream));
  if (first === -1) return undefined;
  const legs: WayLeg[] = [];
  let at = base.start;
  for (const { stream, leftAt } of line.slice(0, first + 1).toReversed()) {
    const run = runs.find(
      (one) => sameStream(one.stream, stream) && one.start.order <= at.order && at.order <= one.end.order,
    );
    if (run === undefined) return undefined;
    const to = leftAt !== undefined && leftAt.order < run.end.order ? leftAt : run.end;
    if (to.order < at.order) return undefined;
    legs.push({ stream, from: at, to, run });
    at = to;
  }
  // The end of the base lies on its own stream, before that one is left.
  return base.end.order <= legs[0]!.to.order ? legs : undefined;
}

/** Whether the log that a base needs to be consistent is stored. */
export function coversBase(base: LogStart, runs: readonly StoredRun[]): boolean {
  return runs.some(
    (run) =>
      sameStream(run.stream, base.stream) && run.start.order <= base.start.order && base.end.order <= run.end.order,
  );
}

/**
 * A position's order from the server's own notation: PostgreSQL's LSN (0/3000028), MariaDB's file and offset
 * (mysql-bin.000003:4567). Undefined for anything else.
 */
export function orderOf(text: string): bigint | undefined {
  const lsn = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i.exec(text);
  if (lsn !== null) return (BigInt(`0x${lsn[1]}`) << 32n) | BigInt(`0x${lsn[2]}`);
  const file = /^[^\s:]*\.(\d{1,9}):(\d{1,10})$/.exec(text);
  return file === null ? undefined : (BigInt(file[1]!) << 32n) | BigInt(file[2]!);
}
