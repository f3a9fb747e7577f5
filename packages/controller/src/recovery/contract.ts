// What the parts of recovery are to each other: plans say what, failover says who serves, runs bring it up, notify tells people.
//
// One replica drives an application: the one that the application's lease row names, under a term. It alone decides about promotion and works on
// the application's runs; whatever it writes names the term, so that a replica which was replaced writes nothing any more.

import type { LeaseRow } from '@holdfast/shared/failover/lease-row';
import type { Verdict } from '@holdfast/shared/failover/detection';
import type { FailoverMessage, HostId } from '@holdfast/shared/failover/messages';
import type { Finding, Plan } from '@holdfast/shared/recovery/plan';
import type pg from 'pg';

/** A plan that is applied. Its id is the application's, too. */
export interface AppliedPlan {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  readonly revision: number;
  readonly plan: Plan;
  /** What this version would refuse if it were applied today: it was accepted by an older one, and is carried out all the same. */
  readonly findings: readonly Finding[];
  /** Ids of the hosts that the plan names, by name: both of its placement, and the witnesses. */
  readonly hostIds: ReadonlyMap<string, string>;
}

/** Times of the wall clock of this replica. Undefined: not since it drives. */
export interface SignsOfDeath {
  readonly lastSignOfLifeAt: Date | undefined;
  readonly suspectedAt: Date | undefined;
  readonly declaredDeadAt: Date | undefined;
}

export interface ApplicationLook extends SignsOfDeath {
  readonly row: LeaseRow;
  readonly verdict: Verdict;
  /** The primary is silent, and it is not the controller that looks cut off: steps that serve nobody may run ahead. */
  readonly suspected: boolean;
  /** This replica drives it. */
  readonly driving: boolean;
  /** Both hosts claim epochs that can't both be true. */
  readonly splitBrain: boolean;
  /** Why a host, or the catalog, can't do its part in automatic mode, for people: then no promotion comes by itself. */
  readonly troubles: readonly string[];
  /** Hosts that have not reported since the catalog was restored from an older state: until they do, nothing is granted or ordered. */
  readonly unreported: readonly HostId[];
}

export type FailoverNews =
  /** This replica drives the application from now on, under this term. */
  | { readonly kind: 'driving'; readonly planId: string; readonly term: number }
  | { readonly kind: 'lost'; readonly planId: string }
  /** From now on, as ApplicationLook says it; how it ends, a look tells. */
  | { readonly kind: 'suspected'; readonly planId: string }
  /** In the modes without leases: a person has to decide. */
  | { readonly kind: 'dead'; readonly planId: string; readonly signs: SignsOfDeath }
  /** The standby has accepted: it is the primary now, under `epoch`. `automatic`: nobody asked for it. */
  | {
      readonly kind: 'promoted';
      readonly planId: string;
      readonly epoch: number;
      readonly automatic: boolean;
      readonly signs: SignsOfDeath;
    }
  | { readonly kind: 'split-brain'; readonly planId: string };

export interface Overridden {
  /** The other host served last, and goes on under `epoch`; false: nobody serves until a person promotes it under that epoch. */
  readonly goesOn: boolean;
  readonly survivor: HostId;
  readonly epoch: number;
}

/** What confirms that the old primary writes no more. */
export type FenceProof = 'agent-stopped' | 'lease-ran-out' | 'script' | 'person';

/** failover/: who serves. */
export interface Failover {
  /** Plans were applied or removed: looks at them again. */
  plansChanged(): Promise<void>;
  /** From a host's control stream. The host is who its certificate says; what it says of others is refused. */
  heard(hostId: string, planId: string, message: FailoverMessage): void;
  /** Undefined while nothing is known of it yet. */
  look(planId: string): ApplicationLook | undefined;
  /** An unverified plan never promotes by itself: its leases are disarmed. */
  setReady(planId: string, ready: boolean): void;
  /**
   * Orders the promotion of the standby, whose fence is proven; resolves when the order is in the catalog. `promoted` tells the end.
   * Throws FAILED_PRECONDITION (this replica does not drive, or a promotion is under way), BUSY.
   */
  promote(planId: string, proof: FenceProof): Promise<void>;
  /**
   * After the catalog was restored from an older state: goes on with the other host, because a person vouches that `deadHost` is off for good.
   * Resolves with what that means once it is in the catalog, in one transaction with what `alongside` writes. Throws FAILED_PRECONDITION with
   * what is missing, or why there is nothing to override.
   */
  override(planId: string, deadHost: HostId, alongside: (client: pg.ClientBase) => Promise<void>): Promise<Overridden>;
  /** Asks the primary's agent to stop for good below the next epoch; resolves true once it says that it has. */
  stopPrimary(planId: string, withinMs: number): Promise<boolean>;
  subscribe(heard: (news: FailoverNews) => void): () => void;
  /** Disarms what it may, then ends. */
  stop(): Promise<void>;
}

/** The control streams, as failover needs them. */
export interface FailoverLink {
  /** False when the host has no stream at this replica. Streams at other replicas are reached by the host's own renewals there. */
  send(hostId: string, planId: string, message: FailoverMessage): boolean;
}

/** notify/: tells people, and goes on trying. */
export interface Notifier {
  /**
   * Durable when it resolves. `contacts` are names of the plan's contacts or the controller's, or e-mail addresses; everybody: the plan's
   * contacts and its owner, or else the controller's.
   */
  notify(message: Notification): Promise<void>;
}

export interface Notification {
  readonly planId: string | undefined;
  readonly runId: string | undefined;
  readonly contacts: readonly string[] | 'everybody';
  /** A word of notify/templates.ts, or a plan's own. */
  readonly template: string;
  readonly facts: Readonly<Record<string, string>>;
  /** Of one key, one message: a resumed engine that says it again tells nobody twice. */
  readonly key: string;
}
