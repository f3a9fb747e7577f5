// What a controller replica remembers about one application, and what goes in and out of it.
//
// Everything here may be lost at any moment: what binds is in the catalog's row (lease-row.ts).

import type { Verdict, WitnessWord } from './detection.ts';
import type { LeaseRow, RowOperation } from './lease-row.ts';
import type { HostId, HostReport, Probe, ToController, ToHost } from './messages.ts';
import type { FailoverTiming } from './timing.ts';

export interface ControllerSettings {
  readonly replica: string;
  readonly timing: FailoverTiming;
  readonly witnesses: readonly HostId[];
  readonly agree: number;
  readonly sites: ReadonlyMap<HostId, string>;
  readonly holdoffMs: number;
  /** Hosts may be paused as whole machines: no promotion before the power-off script succeeded. */
  readonly powerOff: boolean;
  /** False in the modes without leases: the grant has no end, nothing is withdrawn, and a person alone promotes. */
  readonly leases: boolean;
}

export interface WitnessRound {
  readonly number: number;
  readonly startedMs: number;
  readonly words: ReadonlyMap<HostId, WitnessWord>;
}

export interface ControllerState {
  readonly row: LeaseRow | undefined;
  readonly identity: string;
  readonly startedMs: number;
  /** When this replica first saw the number of the last grant. */
  readonly grantSeenMs: number;
  readonly beatSeenMs: number;
  readonly epochSeenMs: number;
  readonly primaryHeardMs: number;
  readonly standbyHeardMs: number;
  readonly standbySeesPrimary: boolean;
  /** The highest epoch for which the primary said that it is stopped. */
  readonly primaryFencedFor: number;
  readonly reports: ReadonlyMap<HostId, HostReport>;
  readonly round: WitnessRound | undefined;
  readonly verdict: Verdict;
  readonly fencedAttempt: number;
  readonly scriptedAttempt: number;
  readonly planReady: boolean;
  readonly stopping: boolean;
  /** A standing grant went out since the order to stop cleanly: the process may end. */
  readonly cleanlyDisarmed: boolean;
  readonly nextId: number;
  readonly pendingGrants: ReadonlyMap<number, Extract<ToController, { kind: 'renew' }>>;
  /** The driver has one operation of its own in the catalog at a time. */
  readonly busyId: number;
  readonly busyUntilMs: number;
  readonly nextReadMs: number;
  readonly nextSendMs: number;
  /** After a refused order: what the standby refused once, it refuses again at once. */
  readonly withdrawAfterMs: number;
}

export type ControllerEvent =
  | { readonly kind: 'tick' }
  | { readonly kind: 'row'; readonly row: LeaseRow; readonly identity: string }
  /** The row after an operation, or as it is when the operation was refused. */
  | {
      readonly kind: 'written';
      readonly id: number;
      readonly ok: boolean;
      readonly row: LeaseRow;
      readonly identity: string;
    }
  /** The catalog did not answer: whether it wrote, the next look tells. */
  | { readonly kind: 'write-failed'; readonly id: number }
  | { readonly kind: 'fence-result'; readonly attempt: number; readonly confirmed: boolean }
  | { readonly kind: 'plan'; readonly ready: boolean }
  | { readonly kind: 'clean-stop' }
  | { readonly kind: 'person-promotes' }
  /** After a restore: a person vouches that this host is off for good. */
  | { readonly kind: 'person-overrides'; readonly dead: HostId }
  | ToController;

export type ControllerEffect =
  | { readonly kind: 'read-row' }
  | { readonly kind: 'write-row'; readonly id: number; readonly identity: string; readonly operation: RowOperation }
  | { readonly kind: 'send'; readonly to: HostId; readonly message: ToHost | Probe }
  | { readonly kind: 'run-fence-script'; readonly host: HostId; readonly attempt: number };

export interface ControllerStep {
  readonly state: ControllerState;
  readonly effects: readonly ControllerEffect[];
}

/** A replica that just started counts everything as seen just now. */
export function startController(nowMs: number, firstId: number): ControllerState {
  return {
    row: undefined,
    identity: '',
    startedMs: nowMs,
    grantSeenMs: nowMs,
    beatSeenMs: nowMs,
    epochSeenMs: nowMs,
    primaryHeardMs: nowMs,
    standbyHeardMs: -Infinity,
    standbySeesPrimary: false,
    primaryFencedFor: 0,
    reports: new Map(),
    round: undefined,
    verdict: 'alive',
    fencedAttempt: 0,
    scriptedAttempt: 0,
    planReady: true,
    stopping: false,
    cleanlyDisarmed: false,
    nextId: firstId,
    pendingGrants: new Map(),
    busyId: 0,
    busyUntilMs: nowMs,
    nextReadMs: nowMs,
    nextSendMs: nowMs,
    withdrawAfterMs: nowMs,
  };
}

export function standbySilentMs(state: ControllerState, nowMs: number): number {
  return nowMs - state.standbyHeardMs;
}

/** Whether the controller should not be able to promote: then its grant has no end. */
export function wantsDisarm(
  state: ControllerState,
  row: LeaseRow,
  nowMs: number,
  settings: ControllerSettings,
): boolean {
  if (!settings.leases) return true;
  const inHoldoff = row.automatic && nowMs - state.epochSeenMs < settings.holdoffMs;
  const standbySinceMs = Math.max(state.standbyHeardMs, state.startedMs);
  const alone = nowMs - standbySinceMs >= settings.timing.outOfReachMs;
  return !state.planReady || state.stopping || inHoldoff || alone;
}
