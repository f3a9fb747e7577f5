// What the driving replica does by itself: take over, verify, disarm, ask witnesses, withdraw, order, and say it again until it is answered.
//
// Pure; the invariants are those of controller-replica.ts. One operation of the driver is in the catalog at a time.
//
// Invariant (controller-driver.test.ts): CD1 a driver that is gone is replaced within its lease of its last beat, however the replicas' ticks
// fall; one that beats is not.

import { verifyCatalog } from './catalog-epoch.ts';
import type { ControllerEffect, ControllerSettings, ControllerState, ControllerStep } from './controller-state.ts';
import { standbySilentMs, wantsDisarm } from './controller-state.ts';
import { judge, type Verdict } from './detection.ts';
import type { LeaseRow, RowOperation } from './lease-row.ts';
import { readEveryMs } from './timing.ts';
import type { CommandNumbers } from './messages.ts';

export function drive(before: ControllerState, nowMs: number, settings: ControllerSettings): ControllerStep {
  const effects: ControllerEffect[] = [];
  let state = before;
  if (nowMs >= state.nextReadMs) {
    effects.push({ kind: 'read-row' });
    state = { ...state, nextReadMs: nowMs + readEveryMs(state.row?.driver === settings.replica, settings.timing) };
  }
  const { row } = state;
  if (row === undefined) return { state, effects };
  const watched = row.driver === settings.replica ? watch(state, row, nowMs, settings) : { state, effects: [] };
  state = watched.state;
  effects.push(...watched.effects);
  if (nowMs < state.busyUntilMs) return { state, effects };
  const operation = nextOperation(state, row, nowMs, settings);
  if (operation !== undefined) {
    const id = state.nextId;
    effects.push({ kind: 'write-row', id, identity: state.identity, operation });
    state = { ...state, nextId: id + 1, busyId: id, busyUntilMs: nowMs + settings.timing.renewMs };
  }
  return { state, effects };
}

/** Questions to the witnesses, and orders that are sent until they are answered. */
function watch(before: ControllerState, row: LeaseRow, nowMs: number, settings: ControllerSettings): ControllerStep {
  const effects: ControllerEffect[] = [];
  const detected = detect(before, row, nowMs, settings);
  let { state } = detected;
  effects.push(...detected.effects);
  if (nowMs < state.nextSendMs) return { state, effects };
  state = { ...state, nextSendMs: nowMs + settings.timing.resendMs };
  const catalog = state.identity;
  if (row.identity !== catalog) {
    for (const to of [row.primary, row.standby])
      effects.push({ kind: 'send', to, message: { kind: 'inquire', catalog } });
    return { state, effects };
  }
  // One that was given up is back: it takes orders of the catalog before until it has reported.
  for (const to of [row.primary, row.standby]) {
    const bound = state.reports.get(to)?.catalog;
    if (bound !== undefined && bound !== catalog)
      effects.push({ kind: 'send', to, message: { kind: 'inquire', catalog } });
  }
  const numbers: CommandNumbers = { catalog, term: row.term, epoch: row.nextEpoch, attempt: row.attempt };
  if (row.phase === 'withdrawn' && settings.leases && mayGoOn(state, row)) {
    effects.push({ kind: 'send', to: row.standby, message: { kind: 'withdraw', ...numbers } });
    if (settings.powerOff && state.scriptedAttempt < row.attempt) {
      effects.push({ kind: 'run-fence-script', host: row.primary, attempt: row.attempt });
      state = { ...state, scriptedAttempt: row.attempt };
    }
  }
  if (row.phase === 'ordered') {
    const { orderSerial: standing, confirmed: fenceConfirmed } = row;
    effects.push({ kind: 'send', to: row.standby, message: { kind: 'promote', ...numbers, standing, fenceConfirmed } });
  }
  return { state, effects };
}

/** The primary said itself that it will not serve under this epoch again. */
function primaryIsFenced(state: ControllerState, row: LeaseRow): boolean {
  return state.primaryFencedFor > row.epoch;
}

function mayGoOn(state: ControllerState, row: LeaseRow): boolean {
  return state.verdict === 'dead' || primaryIsFenced(state, row);
}

/** Asks the witnesses while the primary is silent. A verdict holds until the next round is over, or the primary is heard. */
function detect(state: ControllerState, row: LeaseRow, nowMs: number, settings: ControllerSettings): ControllerStep {
  const { timing, witnesses, agree } = settings;
  const primarySilentMs = nowMs - state.primaryHeardMs;
  if (primarySilentMs < timing.suspectAfterMs) {
    return { state: { ...state, round: undefined, verdict: 'alive' }, effects: [] };
  }
  const { round } = state;
  if (round === undefined) return askWitnesses(state, row, 1, nowMs, settings);
  const roundOver = round.words.size === witnesses.length || nowMs - round.startedMs >= timing.witnessMs;
  if (!roundOver) return { state, effects: [] };
  const words = [...round.words.values()];
  const verdict: Verdict = judge(
    { primarySilentMs, standbySilentMs: standbySilentMs(state, nowMs), words, agree, roundOver },
    timing,
  );
  const judged: ControllerState = { ...state, verdict };
  if (nowMs - round.startedMs < timing.witnessMs) return { state: judged, effects: [] };
  return askWitnesses(judged, row, round.number + 1, nowMs, settings);
}

function askWitnesses(
  state: ControllerState,
  row: LeaseRow,
  step: number,
  nowMs: number,
  settings: ControllerSettings,
): ControllerStep {
  // Numbers of rounds grow over suspicions, or a late answer would count in a later one.
  const number = step === 1 ? state.nextId * 1000 : step;
  return {
    state: { ...state, nextId: state.nextId + 1, round: { number, startedMs: nowMs, words: new Map() } },
    effects: settings.witnesses.map((to) => ({
      kind: 'send',
      to,
      message: { kind: 'probe', round: number, host: row.primary },
    })),
  };
}

function nextOperation(
  state: ControllerState,
  row: LeaseRow,
  nowMs: number,
  settings: ControllerSettings,
): RowOperation | undefined {
  const { timing, replica } = settings;
  const { term } = row;
  if (state.stopping && row.phase === 'open' && row.disarmed === 0) return { kind: 'disarm', term, above: row.serial };
  if (row.driver !== replica) {
    // CD1. A beat was seen a look, an answer and the grain of ticks after it was made: counted from there, the take-over would last longer than
    // the lease.
    const stands = nowMs - state.beatSeenMs >= timing.controllerLeaseMs - timing.renewMs;
    return stands && !state.stopping ? { kind: 'drive', fromTerm: term, driver: replica } : undefined;
  }
  const urgent = row.identity === state.identity ? protect(state, row, nowMs, settings) : verify(state, row);
  if (urgent !== undefined) return urgent;
  return nowMs - state.beatSeenMs >= timing.renewMs ? { kind: 'beat', term } : undefined;
}

function verify(state: ControllerState, row: LeaseRow): RowOperation | undefined {
  const found = verifyCatalog(state.identity, [row.primary, row.standby], state.reports);
  return found === undefined ? undefined : { kind: 'verify', term: row.term, ...found };
}

function protect(
  state: ControllerState,
  row: LeaseRow,
  nowMs: number,
  settings: ControllerSettings,
): RowOperation | undefined {
  const { term, attempt } = row;
  const { leaseMs, marginMs } = settings.timing;
  if (row.phase === 'open') {
    if (row.disarmed !== 0) return undefined;
    if (wantsDisarm(state, row, nowMs, settings)) return { kind: 'disarm', term, above: row.serial };
    if (!mayGoOn(state, row) || nowMs < state.withdrawAfterMs) return undefined;
    return { kind: 'withdraw', term, grantSeq: row.grantSeq };
  }
  if (row.phase === 'ordered') return undefined;
  if (!settings.leases || (state.verdict === 'alive' && !primaryIsFenced(state, row))) {
    return { kind: 'resume', term, attempt };
  }
  const waited = nowMs >= state.grantSeenMs + leaseMs + marginMs || primaryIsFenced(state, row);
  const fenced = !settings.powerOff || state.fencedAttempt === attempt;
  return waited && fenced && mayGoOn(state, row) ? { kind: 'order', term, attempt } : undefined;
}
