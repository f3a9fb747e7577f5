// Points in a log as payloads: one translation for the records in packs, and for the wire (rpc/log-wire.ts has what is on the
// wire alone).
//
// Hazard: what comes from outside is another program's word. Every string has a bound, every number is one that a JS number
// holds, and a range that ends before it begins is refused.

import { HoldfastError } from '../base/errors.ts';
import type {
  DatabasePoint as WirePoint,
  LogFork as WireFork,
  LogGap as WireGap,
  LogPosition as WirePosition,
  LogRange as WireRange,
  LogStream as WireStream,
} from '../rpc/gen/holdfast/v1/log.ts';
import type { DatabasePoint, LogFork, LogGap, LogPosition, LogRange, LogStream } from './log-point.ts';

export const LOG_TEXT_MAX = 1024;
export const LOG_REASON_MAX = 4096;
const MARKS_MAX = 64;
const ANCESTORS_MAX = 64;

/** Each `…FromWire` throws PROTOCOL_VIOLATION for what no correct peer sends. */
export function streamFromWire(wire: WireStream | undefined): LogStream {
  if (wire === undefined) throw violation('a position without a stream');
  return { systemIdentifier: bounded(wire.systemIdentifier, 128), timeline: wire.timeline };
}

export function positionFromWire(wire: WirePosition | undefined): LogPosition {
  if (wire === undefined) throw violation('a range without a position');
  return { order: wire.order, text: bounded(wire.text, 256) };
}

export function rangeFromWire(wire: WireRange | undefined): LogRange {
  if (wire === undefined) throw violation('a segment without a range');
  const start = positionFromWire(wire.start);
  const end = positionFromWire(wire.end);
  if (end.order < start.order) throw violation('a range that ends before it begins');
  if (wire.marks.length > MARKS_MAX) throw violation('a range with too many marks');
  if (wire.ancestors.length > ANCESTORS_MAX) throw violation('a stream with too many ancestors');
  if (!/^[\w.-]{0,64}$/.test(wire.file)) throw violation('a file name that is none');
  return {
    stream: streamFromWire(wire.stream),
    start,
    end,
    file: wire.file,
    firstCommitAtMs: optionalMs(wire.firstCommitAtMs),
    lastCommitAtMs: optionalMs(wire.lastCommitAtMs),
    completeToMs: exactMs(wire.completeToMs),
    marks: wire.marks.map((mark) => bounded(mark, LOG_TEXT_MAX)),
    merged: wire.merged,
    ...(wire.ancestors.length === 0 ? {} : { ancestors: wire.ancestors.map(forkFromWire) }),
  };
}

export function rangeToWire(range: LogRange): WireRange {
  return {
    stream: { ...range.stream },
    start: { ...range.start },
    end: { ...range.end },
    file: range.file,
    ...(range.firstCommitAtMs === undefined ? {} : { firstCommitAtMs: ms(range.firstCommitAtMs) }),
    ...(range.lastCommitAtMs === undefined ? {} : { lastCommitAtMs: ms(range.lastCommitAtMs) }),
    completeToMs: ms(range.completeToMs),
    marks: [...range.marks],
    merged: range.merged,
    ancestors: (range.ancestors ?? []).map(forkToWire),
  };
}

function forkFromWire(wire: WireFork): LogFork {
  return { parent: streamFromWire(wire.parent), position: positionFromWire(wire.position) };
}

function forkToWire(fork: LogFork): WireFork {
  return { parent: { ...fork.parent }, position: { ...fork.position } };
}

export function gapFromWire(wire: WireGap): LogGap {
  const start = positionFromWire(wire.start);
  const end = positionFromWire(wire.end);
  if (end.order < start.order) throw violation('a gap that ends before it begins');
  return {
    stream: streamFromWire(wire.stream),
    start,
    end,
    fromMs: exactMs(wire.fromMs),
    toMs: exactMs(wire.toMs),
    reason: bounded(wire.reason, LOG_REASON_MAX),
  };
}

export function gapToWire(gap: LogGap): WireGap {
  return {
    stream: { ...gap.stream },
    start: { ...gap.start },
    end: { ...gap.end },
    fromMs: ms(gap.fromMs),
    toMs: ms(gap.toMs),
    reason: gap.reason.slice(0, LOG_REASON_MAX),
  };
}

export function pointFromWire(wire: WirePoint): DatabasePoint {
  return {
    stream: streamFromWire(wire.stream),
    start: positionFromWire(wire.start),
    end: positionFromWire(wire.end),
    startAtMs: exactMs(wire.startAtMs),
    endAtMs: exactMs(wire.endAtMs),
    serverVersion: bounded(wire.serverVersion, 128),
    suspect: wire.suspect,
    hasLog: wire.hasLog,
    gtid: bounded(wire.gtid, LOG_TEXT_MAX),
  };
}

export function pointToWire(point: DatabasePoint): WirePoint {
  return {
    ...point,
    stream: { ...point.stream },
    start: { ...point.start },
    end: { ...point.end },
    startAtMs: ms(point.startAtMs),
    endAtMs: ms(point.endAtMs),
  };
}

/** A text of at most `most` characters without NUL. Throws PROTOCOL_VIOLATION, as everything here. */
export function bounded(text: string, most: number): string {
  if (text.length > most || text.includes('\0')) throw violation('a text that is too long');
  return text;
}

export function ms(value: number): bigint {
  return BigInt(Math.round(value));
}

export function whole(value: number): bigint {
  return ms(Math.max(0, value));
}

function optionalMs(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : exactMs(value);
}

export function exactMs(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw violation('a number that is too large');
  return number;
}

export function exact(value: bigint): number {
  if (value < 0n) throw violation('a negative number');
  return exactMs(value);
}

export function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the other side sent ${what}`);
}
