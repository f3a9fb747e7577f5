// Points in a log on the wire: one translation for agent and controller. What also stands in records is in format/log-codec.ts.
//
// Hazard: what comes over the wire is another program's word; see there.

import {
  bounded,
  exact,
  exactMs,
  LOG_REASON_MAX,
  LOG_TEXT_MAX,
  ms,
  positionFromWire,
  streamFromWire,
  violation,
  whole,
} from '../format/log-codec.ts';
import type { LogEnd, LogStatus, RecoveryTarget } from '../format/log-point.ts';
import type { LogStatus as WireStatus, RecoveryTarget as WireTarget } from './gen/holdfast/v1/log.ts';
import type { LogEnd as WireEnd } from './gen/holdfast/v1/vault.ts';

export {
  gapFromWire,
  gapToWire,
  pointFromWire,
  pointToWire,
  positionFromWire,
  rangeFromWire,
  rangeToWire,
  streamFromWire,
} from '../format/log-codec.ts';

/** Each `…FromWire` throws PROTOCOL_VIOLATION for what no correct peer sends. */
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

export function targetFromWire(wire: WireTarget | undefined): RecoveryTarget {
  const kind = wire?.kind;
  if (kind === undefined) return { kind: 'latest' };
  switch (kind.$case) {
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
    default:
      return { kind: 'gtid', gtid: bounded(kind.value, LOG_TEXT_MAX) };
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
    default:
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
    note: bounded(wire.note, LOG_REASON_MAX),
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
    note: status.note.slice(0, LOG_REASON_MAX),
  };
}

function oneOf<T extends string>(value: string, known: readonly T[]): T {
  const found = known.find((one) => one === value);
  if (found === undefined) throw violation('a state that is none');
  return found;
}
