// Where to go on reading a server's log, and what is lost if that is not where it was left. Pure.
//
// Hazard: a silent gap. A server starts streaming at whatever position it is asked for, and one whose slot was lost gives its
// current position without a word. So the beginning comes from what the vault says is stored, and from nothing else; whatever can't
// be had any more is a gap that is recorded.
//
// Invariants (start-plan.property.test.ts): S1 a stream that goes on starts where its stored run ends, or says what the gap is; S2 a
// gap starts at the stored end and ends where reading begins; S3 nothing is read on a timeline past the point where it was left.

import type { LogEnd, LogPosition, LogStream } from '@holdfast/shared/format/log-point';
import type { TimelineFork } from './history-file.ts';
import { fileStart, positionOf } from './lsn.ts';

export interface ServerSight {
  readonly systemIdentifier: string;
  readonly timeline: number;
  /** The end of its log. */
  readonly end: bigint;
  /** Oldest first; empty on timeline 1. */
  readonly history: readonly TimelineFork[];
  readonly fileBytes: number;
  /** Of our slot, just made or found; what is after it is kept for us. */
  readonly slotStart: bigint;
  readonly standby: boolean;
}

export interface Limits {
  /** Further behind than this, what lies between is let go. */
  readonly keepBytes: number;
  readonly removed: Removed | undefined;
}

/** Of the log before this something is gone: the server said so, or it was let go. */
export interface Removed {
  readonly before: bigint;
  readonly reason: string;
  /** The server has another history there: what it has is not what is stored. */
  readonly isOther?: boolean;
}

export type StartPlan =
  | {
      readonly kind: 'follow';
      readonly stream: LogStream;
      /** Where storing begins. */
      readonly from: bigint;
      readonly gap: PlannedGap | undefined;
      /** This server has no base in the vault that its log goes on from. */
      readonly baseNeeded: boolean;
      /** In words, when this is not simply going on; else ''. */
      readonly note: string;
    }
  /** Nothing can be read now, and time may change that. */
  | { readonly kind: 'wait'; readonly note: string };

export interface PlannedGap {
  readonly stream: LogStream;
  readonly start: LogPosition;
  readonly end: LogPosition;
  readonly fromMs: number;
  readonly reason: string;
}

/** @param ends of every stream that the source ever had, newest first */
export function planStart(server: ServerSight, ends: readonly LogEnd[], limits: Limits): StartPlan {
  const own = ends.filter(({ stream }) => stream.systemIdentifier === server.systemIdentifier);
  const here = own.find(({ stream }) => stream.timeline === server.timeline);
  if (here !== undefined) return goOn(server, here, limits);
  const ancestor = newestAncestor(server, own);
  if (ancestor !== undefined) return goOnFromAncestor(server, ancestor, limits);
  const note =
    ends.length === 0
      ? ''
      : own.length === 0
        ? 'this is another cluster than the one before (another system identifier): its log is a new one, and needs a base'
        : `this server is on timeline ${server.timeline}, which does not come from what is stored: its log is a new one, and needs a base`;
  return freshStart(server, undefined, note);
}

/** Reading begins with a whole file, so that every file of a run is complete. */
function freshStart(server: ServerSight, gap: PlannedGap | undefined, note: string): StartPlan {
  const { systemIdentifier, timeline } = server;
  const stream = { systemIdentifier, timeline };
  return { kind: 'follow', stream, from: freshPosition(server), gap, baseNeeded: true, note };
}

/** The slot may keep log of the timeline before, too: nothing of this one is older than its fork. */
function freshPosition({ slotStart, fileBytes, history }: ServerSight): bigint {
  const fork = history.at(-1)?.switchpoint ?? 0n;
  return fileStart(slotStart > fork ? slotStart : fork, fileBytes);
}

function goOn(server: ServerSight, here: LogEnd, limits: Limits): StartPlan {
  const { stream, end } = here;
  if (end.order > server.end) {
    return {
      kind: 'wait',
      note: server.standby
        ? `the standby's log ends before ${end.text}, which is stored: it is still catching up`
        : `the server's log ends at ${positionOf(server.end).text}, before ${end.text}, which is stored: it was brought back to an earlier state. Its log is followed again, with a gap and a new base, when it is past that; give it a new timeline (recovery with a target) to follow it now`,
    };
  }
  const reason = whyNot(server, end, limits);
  if (reason === undefined)
    return { kind: 'follow', stream, from: end.order, gap: undefined, baseNeeded: false, note: '' };
  if (limits.removed?.isOther === true) return behindOther(server, here, reason);
  const from = freshPosition(server);
  // The file that the slot begins in may begin before what is stored ends: then nothing is missing after all.
  if (from <= end.order)
    return { kind: 'follow', stream, from: end.order, gap: undefined, baseNeeded: false, note: '' };
  return freshStart(server, gapOf(here, from, reason), reason);
}

/** From the next file on: the one that the stored log ends in would be of two histories. */
function behindOther(server: ServerSight, here: LogEnd, reason: string): StartPlan {
  const next = fileStart(here.end.order, server.fileBytes) + BigInt(server.fileBytes);
  const fresh = freshPosition(server);
  const from = fresh > next ? fresh : next;
  if (from > server.end) {
    const note = `${reason}. It is followed again, with a gap and a new base, from ${positionOf(from).text} on, the beginning of its next file: select pg_switch_wal() brings that about now`;
    return { kind: 'wait', note };
  }
  const { stream } = here;
  return { kind: 'follow', stream, from, gap: gapOf(here, from, reason), baseNeeded: true, note: reason };
}

function goOnFromAncestor(server: ServerSight, ancestor: LogEnd, limits: Limits): StartPlan {
  const { stream, end } = ancestor;
  const fork = server.history.find(({ parentTimeline }) => parentTimeline === stream.timeline)!;
  const successor = successorOf(server, stream.timeline);
  const next = { systemIdentifier: stream.systemIdentifier, timeline: successor };
  const note = `the server was promoted: timeline ${stream.timeline} ended at ${positionOf(fork.switchpoint).text}`;
  // What was stored past the fork is another history than this server's; the new timeline begins at the fork.
  const isOpen = end.order < fork.switchpoint;
  const from = isOpen ? end.order : fileStart(fork.switchpoint, server.fileBytes);
  const reason = whyNot(server, positionOf(from), limits);
  if (reason === undefined) {
    return { kind: 'follow', stream: isOpen ? stream : next, from, gap: undefined, baseNeeded: !isOpen, note };
  }
  // Not even the beginning of its timeline may be there, on a server that was restored from a base of a later one.
  const gap = isOpen ? gapOf(ancestor, fork.switchpoint, reason) : undefined;
  return freshStart(server, gap, `${note}; ${reason}`);
}

/** Why the log from there on can't, or shan't, be read. */
function whyNot(server: ServerSight, from: LogPosition, { removed, keepBytes }: Limits): string | undefined {
  if (removed !== undefined && from.order < removed.before) return removed.reason;
  const behindBytes = Number(server.end - from.order);
  if (behindBytes > keepBytes && freshPosition(server) > from.order) {
    return `the server wrote ${bytesInWords(behindBytes)} of log since ${from.text}, and walKeep is ${bytesInWords(keepBytes)}`;
  }
  return undefined;
}

function gapOf({ stream, end, completeToMs }: LogEnd, until: bigint, reason: string): PlannedGap {
  return { stream, start: end, end: positionOf(until), fromMs: completeToMs, reason };
}

function newestAncestor(server: ServerSight, own: readonly LogEnd[]): LogEnd | undefined {
  const ancestors = own.filter(({ stream }) => server.history.some((fork) => fork.parentTimeline === stream.timeline));
  return ancestors.toSorted((a, b) => b.stream.timeline - a.stream.timeline)[0];
}

/** The timeline that the server's history takes after `timeline`. */
export function successorOf(
  { history, timeline: current }: Pick<ServerSight, 'history' | 'timeline'>,
  timeline: number,
): number {
  return history.find(({ parentTimeline }) => parentTimeline > timeline)?.parentTimeline ?? current;
}

/** 17.2 GiB */
export function bytesInWords(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}
