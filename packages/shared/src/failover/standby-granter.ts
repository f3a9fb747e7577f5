// The standby's side: it grants leases to the primary, and takes over when the controller orders it and its own promise has run out.
//
// Hazard: a grant is a promise not to promote. One that is forgotten (by a restart, by an order that comes early or twice)
// makes two primaries.
//
// Invariants (simulation/simulation.test.ts removes each one and shows what breaks):
//   S1 it accepts only lease + margin after its own last grant, or after the primary's agent said that it has stopped;
//   S2 after a restart it counts as having granted just now;
//   S3 a standing grant is on disk before it is sent, and ends only when the primary shows that it has put an end to it;
//   S4 disarmed, it refuses a promotion, and a refused attempt is never accepted later;
//   S5 the new epoch is on disk before anything is served under it;
//   S6 who served last is ordered to go on under a higher epoch by a person alone, who has confirmed that the other host is off
//      (the agent's application-host.test.ts).
//
// Pure, as primary-lease.ts: effects in order, each finished before the next.

import { adoptCatalog, type HostRecord, refuseCommand, reportOf } from './commands.ts';
import {
  type Beat,
  CONTROLLER,
  type Grant,
  type GranterId,
  type HostId,
  type Inquire,
  type Promote,
  type Promoted,
  type Refused,
  type Renew,
  type Resume,
  type Status,
  type Stop,
  type Stopped,
  type Withdraw,
} from './messages.ts';
import type { FailoverTiming } from './timing.ts';

export type StandbyPhase =
  | 'armed'
  /** A grant without end binds it. */
  | 'disarmed'
  /** Ordered to grant no more. */
  | 'withdrawn'
  /** This host serves: it grants nothing. */
  | 'serving';

export interface StandbyState {
  readonly phase: StandbyPhase;
  readonly peer: HostId;
  readonly lastGrantMs: number;
  readonly startedMs: number;
  readonly heardControllerMs: number;
  readonly heardPrimaryMs: number;
  /** Whether the primary heard the controller, as it said last. */
  readonly primarySeesController: boolean;
  /** The epoch at which the primary said that it has stopped. */
  readonly stoppedFor: number;
  readonly order?: Promote;
  readonly nextStatusMs: number;
  readonly clean: boolean;
}

export type StandbyEvent =
  | { readonly kind: 'tick' }
  | { readonly kind: 'clean-stop' }
  | Renew
  | Stopped
  | Beat
  | Inquire
  | Withdraw
  | Resume
  | Promote;

export type StandbyEffect =
  | { readonly kind: 'persist'; readonly record: HostRecord }
  | { readonly kind: 'send'; readonly to: GranterId; readonly message: Grant | Stop | Status | Promoted | Refused }
  /** To this host's holder (primary-lease.ts), which writes the epoch and starts the units. */
  | { readonly kind: 'serve'; readonly epoch: number; readonly standing: number };

export interface StandbyStep {
  readonly state: StandbyState;
  readonly effects: readonly StandbyEffect[];
}

export function startStandby(record: HostRecord, peer: HostId, nowMs: number): StandbyState {
  const serving = record.servingEpoch > 0 && record.servingEpoch === record.highestEpoch;
  return {
    phase: serving ? 'serving' : record.disarmed ? 'disarmed' : 'armed',
    peer,
    lastGrantMs: nowMs,
    startedMs: nowMs,
    heardControllerMs: -Infinity,
    heardPrimaryMs: -Infinity,
    primarySeesController: false,
    stoppedFor: 0,
    nextStatusMs: nowMs,
    clean: false,
  };
}

type Handler<K extends StandbyEvent['kind']> = (
  state: StandbyState,
  record: HostRecord,
  event: Extract<StandbyEvent, { kind: K }>,
  nowMs: number,
  timing: FailoverTiming,
) => StandbyStep;

const nothing = (state: StandbyState): StandbyStep => ({ state, effects: [] });

const anyPhase = { stopped: noteStopped, beat: noteBeat, inquire: report } as const;

/** Every event in every phase: the compiler demands each cell. */
const table: { readonly [P in StandbyPhase]: { readonly [K in StandbyEvent['kind']]: Handler<K> } } = {
  armed: { ...anyPhase, tick, renew: grant, withdraw, resume: nothing, promote: takeOrder, 'clean-stop': disarm },
  disarmed: {
    ...anyPhase,
    tick,
    renew: grantStanding,
    withdraw: refuse,
    resume: nothing,
    promote: takeConfirmed,
    'clean-stop': noteClean,
  },
  withdrawn: {
    ...anyPhase,
    tick: acceptWhenDue,
    renew: hear,
    withdraw,
    resume,
    promote: takeOrder,
    'clean-stop': nothing,
  },
  serving: {
    ...anyPhase,
    tick: noteRole,
    renew: nothing,
    withdraw: nothing,
    resume: nothing,
    promote: answerOrGoOn,
    'clean-stop': nothing,
  },
};

/** One step; `record` is what the disk holds now. */
export function stepStandby(
  state: StandbyState,
  record: HostRecord,
  event: StandbyEvent,
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  const handler = table[state.phase][event.kind] as Handler<StandbyEvent['kind']>;
  return handler(state, record, event, nowMs, timing);
}

const toController = (message: Status | Promoted | Refused): StandbyEffect => ({
  kind: 'send',
  to: CONTROLLER,
  message,
});

function status(state: StandbyState, record: HostRecord, nowMs: number, timing: FailoverTiming): StandbyEffect {
  const seesPrimary = nowMs - state.heardPrimaryMs < timing.suspectAfterMs;
  return toController({
    kind: 'status',
    report: reportOf(record),
    seesPrimary,
    withdrawn: state.phase === 'withdrawn',
  });
}

function tick(
  state: StandbyState,
  record: HostRecord,
  _event: { readonly kind: 'tick' },
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  const alone = nowMs - Math.max(state.heardControllerMs, state.startedMs) >= timing.outOfReachMs;
  if (state.phase === 'armed' && alone) return disarm(state, record);
  if (nowMs < state.nextStatusMs) return nothing(state);
  return {
    state: { ...state, nextStatusMs: nowMs + timing.renewMs },
    effects: [status(state, record, nowMs, timing)],
  };
}

function disarm(state: StandbyState, record: HostRecord, event?: { readonly kind: string }): StandbyStep {
  const serial = record.serial + 1;
  return {
    state: { ...state, phase: 'disarmed', clean: event?.kind === 'clean-stop' },
    effects: [{ kind: 'persist', record: { ...record, serial, disarmed: true } }],
  };
}

function noteClean(state: StandbyState): StandbyStep {
  return nothing({ ...state, clean: true });
}

/** Every request is answered, but a grant without end never grows shorter by an answer. */
function grant(state: StandbyState, record: HostRecord, request: Renew, nowMs: number): StandbyStep {
  const heard = hear(state, record, request, nowMs).state;
  if (request.epoch < record.highestEpoch) return refusePrimary(heard, record);
  return {
    state: { ...heard, lastGrantMs: nowMs },
    effects: [{ kind: 'send', to: request.host, message: grantOf(record, request) }],
  };
}

function grantStanding(
  state: StandbyState,
  record: HostRecord,
  request: Renew,
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  const heard = hear(state, record, request, nowMs).state;
  if (request.epoch < record.highestEpoch) return refusePrimary(heard, record);
  const seesController = nowMs - state.heardControllerMs < timing.suspectAfterMs;
  const allSee = seesController && heard.primarySeesController && !state.clean;
  const { serial } = record;
  if (allSee && request.ended >= serial) {
    const armed: HostRecord = { ...record, disarmed: false };
    return {
      state: { ...heard, phase: 'armed', lastGrantMs: nowMs },
      effects: [
        { kind: 'persist', record: armed },
        { kind: 'send', to: request.host, message: grantOf(record, request) },
      ],
    };
  }
  if (allSee) {
    const message: Grant = { ...grantOf(record, request), ends: serial };
    return {
      state: { ...heard, lastGrantMs: nowMs },
      effects: [{ kind: 'send', to: request.host, message }],
    };
  }
  // The primary has ended this number, and takes it no more: only a new one binds.
  const renumbered = request.ended >= serial;
  const next: HostRecord = { ...record, serial: Math.max(serial, request.ended) + 1 };
  const known = renumbered ? next : record;
  return {
    state: { ...heard, lastGrantMs: nowMs },
    effects: [
      ...(renumbered ? [{ kind: 'persist', record: next } as const] : []),
      { kind: 'send', to: request.host, message: { ...grantOf(known, request), standing: known.serial } },
    ],
  };
}

function grantOf(record: HostRecord, request: Renew): Grant {
  return { kind: 'grant', granter: record.host, host: request.host, epoch: request.epoch, slot: request.slot };
}

function refusePrimary(state: StandbyState, record: HostRecord): StandbyStep {
  return {
    state,
    effects: [{ kind: 'send', to: state.peer, message: { kind: 'stop', epoch: record.highestEpoch } }],
  };
}

function hear(state: StandbyState, _record: HostRecord, request: Renew, nowMs: number): StandbyStep {
  const primarySeesController = request.sees.includes(CONTROLLER);
  return nothing({ ...state, heardPrimaryMs: nowMs, primarySeesController });
}

function noteStopped(state: StandbyState, _record: HostRecord, event: Stopped): StandbyStep {
  return nothing({ ...state, stoppedFor: Math.max(state.stoppedFor, event.epoch) });
}

function noteBeat(state: StandbyState, _record: HostRecord, _event: Beat, nowMs: number): StandbyStep {
  return nothing({ ...state, heardControllerMs: nowMs });
}

function report(
  state: StandbyState,
  record: HostRecord,
  event: Inquire,
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  const adopted = adoptCatalog(record, event.catalog);
  // An order of the catalog before is void with it.
  const { order: _void, ...rest } = state;
  const persist: readonly StandbyEffect[] = adopted === record ? [] : [{ kind: 'persist', record: adopted }];
  return { state: adopted === record ? state : rest, effects: [...persist, status(state, adopted, nowMs, timing)] };
}

function withdraw(state: StandbyState, record: HostRecord, command: Withdraw, nowMs: number): StandbyStep {
  if (refuseCommand(record, command) !== undefined) return refuse(state, record, command);
  const stop: StandbyEffect = { kind: 'send', to: state.peer, message: { kind: 'stop', epoch: command.epoch } };
  const known: HostRecord = { ...record, term: command.term };
  return {
    state: { ...state, phase: 'withdrawn', heardControllerMs: nowMs },
    effects: [...(command.term > record.term ? [{ kind: 'persist', record: known } as const] : []), stop],
  };
}

function resume(state: StandbyState, record: HostRecord, command: Resume): StandbyStep {
  if (refuseCommand(record, command) !== undefined || state.order !== undefined) return nothing(state);
  return nothing({ ...state, phase: 'armed' });
}

function takeOrder(
  state: StandbyState,
  record: HostRecord,
  order: Promote,
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  if (refuseCommand(record, order) !== undefined) return refuse(state, record, order);
  const ordered: StandbyState = { ...state, phase: 'withdrawn', order, heardControllerMs: nowMs };
  const due = acceptWhenDue(ordered, record, { kind: 'tick' }, nowMs, timing);
  if (order.term <= record.term || due.state.phase === 'serving') return due;
  // A restart forgets the order, and must not take one of an older term.
  return { ...due, effects: [{ kind: 'persist', record: { ...record, term: order.term } }, ...due.effects] };
}

function acceptWhenDue(
  state: StandbyState,
  record: HostRecord,
  event: { readonly kind: 'tick' },
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  const { order } = state;
  if (order === undefined) return tick(state, record, event, nowMs, timing);
  const ranOut = order.fenceConfirmed || nowMs >= state.lastGrantMs + timing.leaseMs + timing.marginMs;
  if (!ranOut && state.stoppedFor < order.epoch) return tick(state, record, event, nowMs, timing);
  const { epoch, standing, term, attempt } = order;
  const { order: _done, ...rest } = state;
  const accepted: HostRecord = {
    ...record,
    highestEpoch: epoch,
    servingEpoch: epoch,
    standing: { [CONTROLLER]: standing },
    ended: {},
    term,
    attempt,
    disarmed: false,
  };
  return {
    state: { ...rest, phase: 'serving' },
    effects: [
      { kind: 'persist', record: accepted },
      { kind: 'serve', epoch, standing },
      toController({ kind: 'promoted', host: record.host, epoch }),
    ],
  };
}

/** A person who has confirmed the fence is not bound by a promise to a host that is off. */
function takeConfirmed(
  state: StandbyState,
  record: HostRecord,
  order: Promote,
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  return order.fenceConfirmed ? takeOrder(state, record, order, nowMs, timing) : refuse(state, record, order);
}

function refuse(state: StandbyState, record: HostRecord, command: Withdraw | Promote): StandbyStep {
  if (command.catalog !== record.catalog || command.term < record.term) return nothing(state);
  const attempt = Math.max(record.attempt, command.attempt);
  const answer = toController({ kind: 'refused', attempt: command.attempt });
  if (attempt === record.attempt) return { state, effects: [answer] };
  return { state, effects: [{ kind: 'persist', record: { ...record, attempt } }, answer] };
}

/** The holder of this host was fenced by a higher epoch: from now on it is the other one's standby. */
function noteRole(
  state: StandbyState,
  record: HostRecord,
  event: { readonly kind: 'tick' },
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  if (record.servingEpoch === record.highestEpoch) return nothing(state);
  return tick(
    { ...state, phase: record.disarmed ? 'disarmed' : 'armed', lastGrantMs: nowMs, startedMs: nowMs },
    record,
    event,
    nowMs,
    timing,
  );
}

/** S6. */
function answerOrGoOn(
  state: StandbyState,
  record: HostRecord,
  order: Promote,
  nowMs: number,
  timing: FailoverTiming,
): StandbyStep {
  if (record.servingEpoch !== order.epoch) {
    return order.fenceConfirmed ? takeOrder(state, record, order, nowMs, timing) : nothing(state);
  }
  return { state, effects: [toController({ kind: 'promoted', host: record.host, epoch: order.epoch })] };
}
