// Points in a log, from the wire and to it: one translation for agent and controller.
//
// Hazard: what comes over the wire is another program's word. Every string has a bound, every number is one that a JS number
// holds, and a range that ends before it begins is refused.

import { HoldfastError } from '../base/errors.ts';
import type {
  DatabasePoint,
  LogEnd,
  LogGap,
  LogPosition,
  LogRange,
  LogStatus,
  LogStream,
  RecoveryTarget,
} from '../format/log-point.ts';
import type {
  DatabasePoint as WirePoint,
  LogGap as WireGap,
  LogPosition as WirePosition,
  LogRange as WireRange,
  LogStatus as WireStatus,
  LogStream as WireStream,
  RecoveryTarget as WireTarget,
} from './gen/holdfast/v1/log.ts';
import type { LogEnd as WireEnd } from './gen/holdfast/v1/vault.ts';

const TEXT_MAX = 1024;
const REASON_MAX = 4096;
const MARKS_MAX = 64;

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
  if (!/^[\w.-]{0,64}$/.test(wire.file)) throw violation('a file name that is none');
  return {
    stream: streamFromWire(wire.stream),
    start,
    end,
    file: wire.file,
    firstCommitAtMs: optionalMs(wire.firstCommitAtMs),
    lastCommitAtMs: optionalMs(wire.lastCommitAtMs),
    completeToMs: exactMs(wire.completeToMs),
    marks: wire.marks.map((mark) => bounded(mark, TEXT_MAX)),
    merged: wire.merged,
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
  };
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
    reason: bounded(wire.reason, REASON_MAX),
  };
}

export function gapToWire(gap: LogGap): WireGap {
  return {
    stream: { ...gap.stream },
    start: { ...gap.start },
    end: { ...gap.end },
    fromMs: ms(gap.fromMs),
    toMs: ms(gap.toMs),
    reason: gap.reason.slice(0, REASON_MAX),
  };
}

export function endFromWire(wire: WireEnd): LogEnd {
  return {
    stream: streamFromWire(wire.stream),
    start: positionFromWire(wire.start),
    end: positionFromWire(wire.end),
    completeToMs: exactMs(wire.completeToMs),
  };
}

export function endToWire(end: LogEnd): WireEnd {
  return {
    stream: { ...end.stream },
    start: { ...end.start },
    end: { ...end.end },
    completeToMs: ms(end.completeToMs),
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
    gtid: bounded(wire.gtid, TEXT_MAX),
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

export function targetFromWire(wire: WireTarget | undefined): RecoveryTarget {
  const kind = wire?.kind;
  switch (kind?.$case) {
    case undefined:
    case 'latest':
      return { kind: 'latest' };
    case 'base':
      return { kind: 'base' };
    case 'atMs':
      return { kind: 'time', atMs: exactMs(kind.value) };
    case 'position':
      return { kind: 'position', text: bounded(kind.value, 256) };
    case 'name':
      return { kind: 'name', name: bounded(kind.value, 256) };
    case 'gtid':
      return { kind: 'gtid', gtid: bounded(kind.value, TEXT_MAX) };
  }
}

export function targetToWire(target: RecoveryTarget): WireTarget {
  switch (target.kind) {
    case 'latest':
      return { kind: { $case: 'latest', value: true } };
    case 'base':
      return { kind: { $case: 'base', value: true } };
    case 'time':
      return { kind: { $case: 'atMs', value: ms(target.atMs) } };
    case 'position':
      return { kind: { $case: 'position', value: target.text } };
    case 'name':
      return { kind: { $case: 'name', value: target.name } };
    case 'gtid':
      return { kind: { $case: 'gtid', value: target.gtid } };
  }
}

export function statusFromWire(wire: WireStatus): LogStatus {
  const { slot } = wire;
  return {
    state: oneOf(wire.state, ['following', 'catching-up', 'waiting', 'off']),
    stream: wire.stream === undefined ? undefined : streamFromWire(wire.stream),
    stored: wire.stored === undefined ? undefined : positionFromWire(wire.stored),
    lagBytes: exact(wire.lagBytes),
    lagMs: exact(wire.lagMs),
    completeToMs: exactMs(wire.completeToMs),
    slot:
      slot === undefined
        ? undefined
        : {
            name: bounded(slot.name, 128),
            state: oneOf(slot.state, ['active', 'inactive', 'lost', 'missing']),
            retainedBytes: exact(slot.retainedBytes),
            keepBytes: exact(slot.keepBytes),
            safeBytes: slot.safeBytes === undefined ? undefined : exactMs(slot.safeBytes),
          },
    note: bounded(wire.note, REASON_MAX),
  };
}

export function statusToWire(status: LogStatus): WireStatus {
  const { slot } = status;
  return {
    state: status.state,
    stream: status.stream === undefined ? undefined : { ...status.stream },
    stored: status.stored === undefined ? undefined : { ...status.stored },
    lagBytes: whole(status.lagBytes),
    lagMs: whole(status.lagMs),
    completeToMs: ms(status.completeToMs),
    slot:
      slot === undefined
        ? undefined
        : {
            name: slot.name,
            state: slot.state,
            retainedBytes: whole(slot.retainedBytes),
            keepBytes: whole(slot.keepBytes),
            ...(slot.safeBytes === undefined ? {} : { safeBytes: ms(slot.safeBytes) }),
          },
    note: status.note.slice(0, REASON_MAX),
  };
}

function oneOf<T extends string>(value: string, known: readonly T[]): T {
  const found = known.find((one) => one === value);
  if (found === undefined) throw violation('a state that is none');
  return found;
}

function bounded(text: string, most: number): string {
  if (text.length > most || text.includes('\0')) throw violation('a text that is too long');
  return text;
}

function ms(value: number): bigint {
  return BigInt(Math.round(value));
}

function whole(value: number): bigint {
  return ms(Math.max(0, value));
}

function optionalMs(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : exactMs(value);
}

function exactMs(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw violation('a number that is too large');
  return number;
}

function exact(value: bigint): number {
  if (value < 0n) throw violation('a negative number');
  return exactMs(value);
}

function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the other side sent ${what}`);
}
