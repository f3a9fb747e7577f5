// What hosts, controllers and witnesses say to each other about who serves an application. Values; the wire is elsewhere.
//
// Every message may be lost, late, doubled or overtaken: nothing here relies on order. One set of messages per application.

export type HostId = string;

/** Who grants: the controller (all replicas together), or the agent of a host. */
export type GranterId = string;
export const CONTROLLER: GranterId = 'controller';

/** From the host that serves, or may serve again, to both granters. Also its heartbeat and its report. */
export interface Renew {
  readonly kind: 'renew';
  readonly host: HostId;
  readonly epoch: number;
  /** Names the request; the timeout in the kernel that runs since before it was sent has this name too. */
  readonly slot: number;
  /** The granters that this host heard within the suspicion time. */
  readonly sees: readonly GranterId[];
  /** The receiving granter's highest standing grant that this host has put an end to, on disk. */
  readonly ended: number;
  readonly report: HostReport;
}

/** What a host knows, from its disk. */
export interface HostReport {
  readonly host: HostId;
  readonly highestEpoch: number;
  /** The epoch under which this host served last; 0: never. */
  readonly servingEpoch: number;
  /** The controller's highest standing grant that this host ever saw. */
  readonly serial: number;
  /** The catalog whose orders this host takes. */
  readonly catalog: string;
  /** Why this host can't do its part in automatic mode, for people. */
  readonly trouble?: string;
}

/** The answer to a renewal. With `standing` it has no end; with `ends` it asks to put an end to that standing grant. */
export interface Grant {
  readonly kind: 'grant';
  readonly granter: GranterId;
  readonly host: HostId;
  readonly epoch: number;
  readonly slot: number;
  readonly standing?: number;
  readonly ends?: number;
}

/** `epoch` is or will be served by another host: stop, and never serve below it. */
export interface Stop {
  readonly kind: 'stop';
  readonly epoch: number;
}

/** The answer, after the gate is closed and the units are dead. */
export interface Stopped {
  readonly kind: 'stopped';
  readonly host: HostId;
  readonly epoch: number;
}

/** Of a host that does not serve, to the controller. */
export interface Status {
  readonly kind: 'status';
  readonly report: HostReport;
  /** Whether it heard the primary within the suspicion time. */
  readonly seesPrimary: boolean;
  /** It grants nothing, by the controller's order. */
  readonly withdrawn: boolean;
}

/** The controller was here: sent to the standby in answer to its status. */
export interface Beat {
  readonly kind: 'beat';
}

/** After the catalog changed its identity: report, and take no more orders of the catalog before. */
export interface Inquire {
  readonly kind: 'inquire';
  readonly catalog: string;
}

/** What every command that changes something carries. */
export interface CommandNumbers {
  readonly catalog: string;
  readonly term: number;
  readonly epoch: number;
  readonly attempt: number;
}

/** To the standby: grant no more, and tell the primary to stop. */
export interface Withdraw extends CommandNumbers {
  readonly kind: 'withdraw';
}

/** To the standby: the primary is back before anything was ordered. */
export interface Resume extends CommandNumbers {
  readonly kind: 'resume';
}

/** To the standby: serve under `epoch` as soon as your own last grant has run out. `standing` is the controller's first grant for it. */
export interface Promote extends CommandNumbers {
  readonly kind: 'promote';
  readonly standing: number;
  /** A person vouches that the primary is off: no wait, and no promise binds. */
  readonly fenceConfirmed: boolean;
}

export interface Promoted {
  readonly kind: 'promoted';
  readonly host: HostId;
  readonly epoch: number;
}

/** This attempt will never be accepted (the standby has disarmed, or knows a higher number). */
export interface Refused {
  readonly kind: 'refused';
  readonly attempt: number;
}

/** From a controller to a witness: ask the primary something that must be answered. */
export interface Probe {
  readonly kind: 'probe';
  readonly round: number;
  readonly host: HostId;
}

export interface ProbeAnswer {
  readonly kind: 'probe-answer';
  readonly witness: HostId;
  readonly round: number;
  /** The primary's answer to the request arrived. */
  readonly answered: boolean;
  /** The witness had a sign of life of the primary's agent within the witness time. */
  readonly sawJustNow: boolean;
}

/** What a witness is told: where the application answers, and where the agents of its host do. */
export interface ProbeOrder extends Probe {
  readonly url: string;
  readonly peerAddresses: readonly string[];
  /** What comes later is no answer. */
  readonly withinMs: number;
}

/** After a boot, in the modes without leases: may this host serve? To the controller and to the other host. */
export interface BootQuestion {
  readonly kind: 'boot';
  readonly host: HostId;
}

export interface BootAnswer {
  readonly kind: 'boot-answer';
  readonly highestEpoch: number;
}

/** To the standby: run the power-off script against the primary, once for this attempt. */
export interface FenceOrder {
  readonly kind: 'fence';
  /** The primary's name, as the script gets it. */
  readonly host: string;
  readonly attempt: number;
}

export interface FenceResult {
  readonly kind: 'fence-result';
  readonly attempt: number;
  readonly confirmed: boolean;
}

export type ToHost = Grant | Stop | Stopped | Renew | Beat | Inquire | Withdraw | Resume | Promote;
export type ToController = Renew | Stopped | Status | Promoted | Refused | ProbeAnswer;
/** Everything that is said about an application, by whomever. */
export type FailoverMessage = ToHost | ToController | ProbeOrder | BootQuestion | BootAnswer | FenceOrder | FenceResult;
