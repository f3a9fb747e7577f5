// The holder's side of leases: when this host may serve an application, and what the kernel is told.
//
// Hazard: a host that was declared dead is merely slow, cut off or paused, and goes on taking writes beside its successor. So it
// serves only while a grant runs, and what ends the service does not need the agent: a timeout in the kernel.
//
// Invariants (simulation/simulation.test.ts removes each one and shows what breaks):
//   H1 a grant counts from before its request was sent, and a timeout of a lease's length is *staged* in the kernel before that. The grant
//      only switches over to it, so a pause of the process at any point makes the lease shorter, never longer;
//   H2 a standing grant is on disk before it is relied on; one that was ended is never taken again;
//   H3 the limited gate stands before the disk says that a standing grant has ended, and the disk before the granter hears of it;
//   H4 nothing is served below the highest epoch on disk, nor after a boot without a fresh grant that names this host.
//
// Pure: effects are to be carried out in order, each finished before the next; a failed one ends the process.
// The boot gate of the modes without leases is boot-gate.ts.

import type { HostRecord } from './commands.ts';
import { reportOf } from './commands.ts';
import { CONTROLLER, type Grant, type GranterId, type HostId, type Renew, type Stopped } from './messages.ts';
import type { FailoverTiming } from './timing.ts';

export type HolderPhase =
  /** May serve again on a fresh grant: it asks. */
  | 'waiting'
  | 'serving'
  /** Another host serves or may serve: it stays down and reports. */
  | 'fenced';

export interface HolderState {
  readonly phase: HolderPhase;
  /** Granters other than the controller: the agent of the other host. */
  readonly peer: HostId;
  readonly slot: number;
  /** When the requests that may still be answered were about to be sent, by slot. */
  readonly requestedAt: ReadonlyMap<number, number>;
  readonly openSlot: number;
  readonly leaseUntilMs: number;
  readonly nextRenewMs: number;
  readonly heardAt: Readonly<Record<GranterId, number>>;
  /** Standing grants in force; not those of before a boot. */
  readonly standing: Readonly<Record<GranterId, number>>;
}

export type HolderEvent =
  | { readonly kind: 'tick' }
  | { readonly kind: 'grant'; readonly grant: Grant }
  | { readonly kind: 'stop'; readonly epoch: number }
  | { readonly kind: 'promoted'; readonly epoch: number; readonly standing: number };

export type HolderEffect =
  | { readonly kind: 'persist'; readonly record: HostRecord }
  /** Add the ports to the set of this slot with a timeout; nothing passes by it yet. */
  | { readonly kind: 'stage-gate'; readonly slot: number; readonly forMs: number }
  /** Let the ports pass by the set of this slot, both ways, instead of what let them pass before; extend the address as well. */
  | { readonly kind: 'open-gate'; readonly slot: number | 'standing' }
  | { readonly kind: 'close-gate' }
  /** Not once `untilMs` has come: the process may have been paused since this was decided. */
  | { readonly kind: 'start-units'; readonly untilMs: number }
  | { readonly kind: 'kill-units' }
  | { readonly kind: 'send'; readonly to: GranterId; readonly message: Renew | Stopped };

export interface HolderStep {
  readonly state: HolderState;
  readonly effects: readonly HolderEffect[];
}

/**
 * The state at the agent's start. `sameBoot`: only the agent restarted, so the kernel still holds the gate and the units run.
 * `firstSlot` must be above every slot of earlier runs of the agent in this boot, or their late grants would be taken for new ones.
 */
export function startHolder(
  record: HostRecord,
  peer: HostId,
  start: { readonly sameBoot: boolean; readonly unitsRun: boolean; readonly firstSlot: number },
  nowMs: number,
  timing: FailoverTiming,
): HolderState {
  const primary = record.servingEpoch > 0 && record.servingEpoch === record.highestEpoch;
  const serves = primary && start.sameBoot && start.unitsRun;
  return {
    phase: !primary ? 'fenced' : serves ? 'serving' : 'waiting',
    peer,
    slot: start.firstSlot,
    requestedAt: new Map(),
    openSlot: start.firstSlot,
    // The lease of the agent before cannot last longer; until then the kernel knows better.
    leaseUntilMs: serves ? nowMs + timing.leaseMs : nowMs,
    nextRenewMs: nowMs,
    heardAt: {},
    standing: serves ? record.standing : {},
  };
}

type Handler<K extends HolderEvent['kind']> = (
  state: HolderState,
  record: HostRecord,
  event: Extract<HolderEvent, { kind: K }>,
  nowMs: number,
  timing: FailoverTiming,
) => HolderStep;

const nothing = (state: HolderState): HolderStep => ({ state, effects: [] });

/** Every event in every phase: the compiler demands each cell. */
const table: { readonly [P in HolderPhase]: { readonly [K in HolderEvent['kind']]: Handler<K> } } = {
  waiting: { tick: renew, grant: takeGrant, stop: fence, promoted: serve },
  serving: { tick: expireOrRenew, grant: takeGrant, stop: fence, promoted: serve },
  fenced: { tick: nothing, grant: nothing, stop: fence, promoted: serve },
};

/** One step; `record` is what the disk holds now. */
export function stepHolder(
  state: HolderState,
  record: HostRecord,
  event: HolderEvent,
  nowMs: number,
  timing: FailoverTiming,
): HolderStep {
  const handler = table[state.phase][event.kind] as Handler<HolderEvent['kind']>;
  return handler(state, record, event, nowMs, timing);
}

function hasStanding(standing: HolderState['standing']): boolean {
  return Object.keys(standing).length > 0;
}

function expireOrRenew(
  state: HolderState,
  record: HostRecord,
  event: { readonly kind: 'tick' },
  nowMs: number,
  timing: FailoverTiming,
): HolderStep {
  if (hasStanding(state.standing) || nowMs < state.leaseUntilMs) return renew(state, record, event, nowMs, timing);
  // The kernel closed the gate already; the units would go on with work that comes through no port.
  const stopped: HolderState = { ...state, phase: 'waiting' };
  return { state: stopped, effects: [{ kind: 'close-gate' }, { kind: 'kill-units' }] };
}

function renew(
  state: HolderState,
  record: HostRecord,
  _event: { readonly kind: 'tick' },
  nowMs: number,
  timing: FailoverTiming,
): HolderStep {
  if (nowMs < state.nextRenewMs) return nothing(state);
  const slot = state.slot + 1;
  const requestedAt = new Map([...state.requestedAt].filter(([, atMs]) => nowMs < atMs + timing.leaseMs));
  requestedAt.set(slot, nowMs);
  const granters: readonly GranterId[] = [CONTROLLER, state.peer];
  const sees = granters.filter((granter) => nowMs - (state.heardAt[granter] ?? -Infinity) < timing.suspectAfterMs);
  const asked = granters.map((granter): HolderEffect => {
    const ended = record.ended[granter] ?? 0;
    const { host, servingEpoch: epoch } = record;
    return {
      kind: 'send',
      to: granter,
      message: { kind: 'renew', host, epoch, slot, sees, ended, report: reportOf(record) },
    };
  });
  return {
    state: { ...state, slot, requestedAt, nextRenewMs: nowMs + timing.renewMs },
    effects: [{ kind: 'stage-gate', slot, forMs: timing.leaseMs }, ...asked],
  };
}

function takeGrant(
  state: HolderState,
  record: HostRecord,
  { grant }: { readonly grant: Grant },
  nowMs: number,
  timing: FailoverTiming,
): HolderStep {
  const requestedMs = state.requestedAt.get(grant.slot);
  if (grant.host !== record.host || grant.epoch !== record.servingEpoch || requestedMs === undefined) {
    return nothing(state);
  }
  const untilMs = requestedMs + timing.leaseMs;
  if (nowMs >= untilMs) return nothing(state);
  const { granter } = grant;
  const effects: HolderEffect[] = [];
  const standing = { ...state.standing };
  const ended = { ...record.ended };
  if (grant.ends !== undefined && grant.ends >= (standing[granter] ?? 0)) {
    delete standing[granter];
    ended[granter] = Math.max(ended[granter] ?? 0, grant.ends);
  }
  if (grant.standing !== undefined && grant.standing > (ended[granter] ?? 0)) standing[granter] = grant.standing;
  const changed =
    (record.standing[granter] ?? 0) !== (standing[granter] ?? 0) ||
    (record.ended[granter] ?? 0) !== (ended[granter] ?? 0);
  const persist: HolderEffect = { kind: 'persist', record: { ...record, standing, ended } };
  if (hasStanding(standing)) {
    if (changed) effects.push(persist);
    if (changed || state.phase === 'waiting') effects.push({ kind: 'open-gate', slot: 'standing' });
  } else {
    if (grant.slot > state.openSlot || changed) {
      effects.push({ kind: 'open-gate', slot: Math.max(grant.slot, state.openSlot) });
    }
    if (changed) effects.push(persist);
  }
  if (state.phase === 'waiting') {
    effects.push({ kind: 'start-units', untilMs: hasStanding(standing) ? Infinity : untilMs });
  }
  return {
    state: {
      ...state,
      phase: 'serving',
      standing,
      openSlot: Math.max(state.openSlot, grant.slot),
      leaseUntilMs: Math.max(state.leaseUntilMs, untilMs),
      heardAt: { ...state.heardAt, [granter]: nowMs },
    },
    effects,
  };
}

function fence(state: HolderState, record: HostRecord, { epoch }: { readonly epoch: number }): HolderStep {
  if (epoch <= record.servingEpoch) return nothing(state);
  const answer: Stopped = { kind: 'stopped', host: record.host, epoch };
  const known: HostRecord = { ...record, highestEpoch: Math.max(record.highestEpoch, epoch), standing: {} };
  return {
    state: { ...state, phase: 'fenced', standing: {}, requestedAt: new Map() },
    effects: [
      { kind: 'close-gate' },
      { kind: 'kill-units' },
      ...(epoch > record.highestEpoch ? [{ kind: 'persist', record: known } as const] : []),
      { kind: 'send', to: CONTROLLER, message: answer },
      { kind: 'send', to: state.peer, message: answer },
    ],
  };
}

function serve(
  state: HolderState,
  record: HostRecord,
  { epoch, standing }: { readonly epoch: number; readonly standing: number },
  nowMs: number,
): HolderStep {
  const granted = { [CONTROLLER]: standing };
  const known: HostRecord = { ...record, highestEpoch: epoch, servingEpoch: epoch, standing: granted, ended: {} };
  return {
    state: { ...state, phase: 'serving', standing: granted, nextRenewMs: nowMs },
    effects: [
      { kind: 'persist', record: known },
      { kind: 'open-gate', slot: 'standing' },
      { kind: 'start-units', untilMs: Infinity },
    ],
  };
}
