// A controller replica's part in failover: it grants, watches, and (while it drives) withdraws and orders.
//
// Hazard: this process may be paused, cut off, or one of two. So what binds is in the catalog's row (lease-row.ts), changed by conditional
// statements alone; what is only remembered here (when the last grant was seen, who was heard) always errs on the long side.
//
// Invariants (simulation/simulation.test.ts removes each one and shows what breaks):
//   P1 a grant is sent after it was committed, never before;
//   P2 the wait before an order begins when this replica first saw the number of the last grant, after the read, on its own clock; the
//      withdrawal names that number, so that no later grant exists;
//   P3 nothing is granted, withdrawn or ordered while the catalog is neither verified nor overridden (catalog-epoch.ts);
//   P4 it withdraws only on the verdict `dead` (detection.ts), or when the primary itself says that it is fenced.
//
// Pure: events and the time in, a state and effects out. Driving is in controller-driver.ts.

import { overrideCatalog } from './catalog-epoch.ts';
import { drive } from './controller-driver.ts';
import type {
  ControllerEffect,
  ControllerEvent,
  ControllerSettings,
  ControllerState,
  ControllerStep,
} from './controller-state.ts';
import { standbySilentMs, wantsDisarm } from './controller-state.ts';
import type { LeaseRow } from './lease-row.ts';
import type { Grant, HostId, Renew, Status, Stopped, ProbeAnswer } from './messages.ts';

/** One step of a replica. */
export function stepController(
  state: ControllerState,
  event: ControllerEvent,
  nowMs: number,
  settings: ControllerSettings,
): ControllerStep {
  switch (event.kind) {
    case 'tick':
      return drive(state, nowMs, settings);
    case 'row':
      return { state: observe(state, event.row, event.identity, nowMs), effects: [] };
    case 'written':
      return written(state, event, nowMs, settings);
    case 'renew':
      return hearPrimary(state, event, nowMs);
    case 'write-failed':
      return { state: forgetWrite(state, event.id, nowMs), effects: [] };
    case 'status':
      return hearStatus(state, event, nowMs, settings);
    case 'stopped':
      return { state: noteFenced(state, event), effects: [] };
    case 'probe-answer':
      return { state: noteWord(state, event, settings), effects: [] };
    case 'promoted':
      return write(state, { kind: 'promoted', host: event.host, epoch: event.epoch });
    case 'refused':
      return state.row === undefined
        ? { state, effects: [] }
        : write(
            { ...state, withdrawAfterMs: nowMs + settings.timing.renewMs },
            { kind: 'refused', term: state.row.term, attempt: event.attempt },
          );
    case 'fence-result':
      return { state: event.confirmed ? { ...state, fencedAttempt: event.attempt } : state, effects: [] };
    case 'plan':
      return { state: { ...state, planReady: event.ready }, effects: [] };
    case 'clean-stop':
      return { state: { ...state, stopping: true }, effects: [] };
    case 'person-overrides':
      return personOverrides(state, event.dead);
    default:
      return personPromotes(state);
  }
}

function personPromotes(state: ControllerState): ControllerStep {
  if (state.row === undefined) return { state, effects: [] };
  return write(state, { kind: 'person-order', term: state.row.term });
}

function personOverrides(state: ControllerState, dead: HostId): ControllerStep {
  if (state.row === undefined) return { state, effects: [] };
  const found = overrideCatalog(state.row, state.identity, dead, state.reports);
  return typeof found === 'string' ? { state, effects: [] } : write(state, found);
}

type Operation = Extract<ControllerEffect, { kind: 'write-row' }>['operation'];

function write(state: ControllerState, operation: Operation): ControllerStep {
  return { state, effects: [{ kind: 'write-row', id: 0, identity: state.identity, operation }] };
}

/** What a look at the row tells; every time of it is after the look. */
function observe(state: ControllerState, row: LeaseRow, identity: string, nowMs: number): ControllerState {
  const other = identity !== state.identity;
  const granted = other || state.row?.grantSeq !== row.grantSeq || state.row.epoch !== row.epoch;
  const moved = other || state.row?.beat !== row.beat || state.row.term !== row.term;
  return {
    ...state,
    row,
    identity,
    grantSeenMs: granted ? nowMs : state.grantSeenMs,
    // Another replica hears the primary.
    primaryHeardMs: granted ? nowMs : state.primaryHeardMs,
    beatSeenMs: moved ? nowMs : state.beatSeenMs,
    epochSeenMs: state.row?.epoch === row.epoch ? state.epochSeenMs : nowMs,
    reports: other ? new Map() : state.reports,
  };
}

function written(
  state: ControllerState,
  event: Extract<ControllerEvent, { kind: 'written' }>,
  nowMs: number,
  settings: ControllerSettings,
): ControllerStep {
  const renew = state.pendingGrants.get(event.id);
  const pendingGrants = new Map(state.pendingGrants);
  pendingGrants.delete(event.id);
  const busyUntilMs = event.id === state.busyId ? nowMs : state.busyUntilMs;
  const known = observe({ ...state, pendingGrants, busyUntilMs }, event.row, event.identity, nowMs);
  if (renew === undefined) return { state: known, effects: [] };
  if (event.ok) return answerRenewal(known, event.row, renew, nowMs, settings);
  // Another host serves, verified: whoever still asks must stop.
  const replaced = event.row.identity === event.identity && event.row.epoch > renew.epoch;
  if (!replaced) return { state: known, effects: [] };
  return {
    state: known,
    effects: [{ kind: 'send', to: renew.host, message: { kind: 'stop', epoch: event.row.epoch } }],
  };
}

/** The request is not answered: the primary asks again. */
function forgetWrite(state: ControllerState, id: number, nowMs: number): ControllerState {
  const pendingGrants = new Map(state.pendingGrants);
  pendingGrants.delete(id);
  return { ...state, pendingGrants, busyUntilMs: id === state.busyId ? nowMs : state.busyUntilMs };
}

function answerRenewal(
  state: ControllerState,
  row: LeaseRow,
  renew: Renew,
  nowMs: number,
  settings: ControllerSettings,
): ControllerStep {
  const { host, epoch, slot } = renew;
  const grant: Grant = { kind: 'grant', granter: 'controller', host, epoch, slot };
  if (row.disarmed === 0) return { state, effects: [{ kind: 'send', to: host, message: grant }] };
  const allSee =
    standbySilentMs(state, nowMs) < settings.timing.suspectAfterMs &&
    state.standbySeesPrimary &&
    renew.sees.includes(row.standby);
  const arms = allSee && !wantsDisarm(state, row, nowMs, settings);
  const ended = renew.ended >= row.disarmed;
  const { term, serial } = row;
  const id = state.nextId;
  if (ended) {
    // The primary relies on this standing grant no more. It got an answer of a lease's length as well.
    const operation: Operation = arms
      ? { kind: 'arm', term, serial: row.disarmed }
      : { kind: 'disarm', term, above: Math.max(serial, renew.ended) };
    return {
      state: { ...state, nextId: id + 1 },
      effects: [
        { kind: 'send', to: host, message: grant },
        { kind: 'write-row', id, identity: state.identity, operation },
      ],
    };
  }
  const message: Grant = arms ? { ...grant, ends: row.disarmed } : { ...grant, standing: row.disarmed };
  return {
    state: { ...state, cleanlyDisarmed: state.stopping && !arms },
    effects: [{ kind: 'send', to: host, message }],
  };
}

/** Requests of one primary that may wait for the catalog at once: more is a catalog that does not answer. */
const MAX_PENDING_GRANTS = 8;

function hearPrimary(state: ControllerState, renew: Renew, nowMs: number): ControllerStep {
  const { row, identity } = state;
  const reports = new Map(state.reports).set(renew.host, renew.report);
  const heard: ControllerState = {
    ...state,
    reports,
    primaryHeardMs: row?.primary === renew.host ? nowMs : state.primaryHeardMs,
  };
  if (row === undefined || row.identity !== identity || state.pendingGrants.size >= MAX_PENDING_GRANTS) {
    return { state: heard, effects: [] };
  }
  const id = heard.nextId;
  const pendingGrants = new Map(heard.pendingGrants).set(id, renew);
  const operation: Operation = { kind: 'grant', host: renew.host, epoch: renew.epoch };
  return {
    state: { ...heard, nextId: id + 1, pendingGrants },
    effects: [{ kind: 'write-row', id, identity, operation }],
  };
}

function hearStatus(
  state: ControllerState,
  status: Status,
  nowMs: number,
  settings: ControllerSettings,
): ControllerStep {
  const { row } = state;
  const { report } = status;
  const reports = new Map(state.reports).set(report.host, report);
  const effects: ControllerEffect[] = [{ kind: 'send', to: report.host, message: { kind: 'beat' } }];
  if (row === undefined) return { state: { ...state, reports }, effects };
  if (report.host === row.primary) {
    const fencedFor = Math.max(state.primaryFencedFor, report.highestEpoch);
    // Without leases there is nothing to renew, so a primary that serves says so.
    const serves = !settings.leases && report.servingEpoch === row.epoch && report.highestEpoch === row.epoch;
    const primaryHeardMs = serves ? nowMs : state.primaryHeardMs;
    return { state: { ...state, reports, primaryFencedFor: fencedFor, primaryHeardMs }, effects };
  }
  const verified = row.identity === state.identity;
  if (status.withdrawn && row.phase === 'open' && verified) {
    const { term, nextEpoch: epoch, attempt } = row;
    effects.push({
      kind: 'send',
      to: report.host,
      message: { kind: 'resume', catalog: state.identity, term, epoch, attempt },
    });
  }
  // The news that it serves may have been lost.
  if (row.phase === 'ordered' && verified && report.servingEpoch === row.nextEpoch) {
    const operation: Operation = { kind: 'promoted', host: report.host, epoch: report.servingEpoch };
    effects.push({ kind: 'write-row', id: 0, identity: state.identity, operation });
  }
  return { state: { ...state, reports, standbyHeardMs: nowMs, standbySeesPrimary: status.seesPrimary }, effects };
}

function noteFenced(state: ControllerState, { host, epoch }: Stopped): ControllerState {
  if (state.row?.primary !== host) return state;
  return { ...state, primaryFencedFor: Math.max(state.primaryFencedFor, epoch) };
}

function noteWord(state: ControllerState, answer: ProbeAnswer, settings: ControllerSettings): ControllerState {
  if (state.round === undefined || answer.round !== state.round.number) return state;
  const { answered, sawJustNow, witness } = answer;
  const outside = settings.sites.get(witness) !== settings.sites.get(state.row?.primary ?? '');
  const words = new Map(state.round.words).set(witness, { answered, sawJustNow, outside });
  return { ...state, round: { ...state.round, words } };
}
