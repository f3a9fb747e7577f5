// What is known of a plan at a moment: what readiness, forecasts and alerts are decided on. Values only; look-at-plan.ts fills it in.

import type { Finding, Plan } from '@holdfast/shared/recovery/plan';
import type { Mode } from '@holdfast/shared/recovery/step-types';
import type { RunMoments } from '@holdfast/shared/recovery/report-times';

import type { Suspicion } from '../runs/recovery-choice.ts';
import type { NotifySettings } from '../notify/notify-settings.ts';

export interface PlanLook {
  /** The catalog's clock. */
  readonly now: Date;
  readonly plan: Plan;
  /** What this version would refuse of its document. */
  readonly findings: readonly Finding[];
  /** Names: who is which now. */
  readonly primary: string;
  readonly standby: string;
  readonly appliedAt: Date;
  /** Every step's precheck was well then, on the real hosts; null: not since it changed, because of `unverifiedBecause`. */
  readonly verifiedAt: Date | null;
  readonly unverifiedBecause: string;
  /** By name. A host that the fleet does not have is absent. */
  readonly hosts: ReadonlyMap<string, HostLook>;
  /** The primary's, by name. A source that it does not have is absent. */
  readonly sources: ReadonlyMap<string, SourceLook>;
  /** Named in dependsOn, and no plan. */
  readonly missingPlans: readonly string[];
  /** Named by the plan, and not set. */
  readonly missingSecrets: readonly string[];
  /** Who can be told besides the plan's own contacts, and whether there is a mail server; undefined: not looked at. */
  readonly notify: Pick<NotifySettings, 'contacts' | 'smtp'> | undefined;
  /** A file tree of the primary changed as a whole. */
  readonly suspicion: Suspicion | undefined;
  /** What other parts of recovery know of its readiness (how warm the standby is). */
  readonly further: readonly Fact[];
  /** Newest first, those that ended, of any revision. */
  readonly runs: readonly PastRun[];
}

/** One thing that was looked at. */
export interface Fact {
  /** error: the plan can't be run. warning: it can, with this risk. ok: looked at, and well. */
  readonly level: 'error' | 'warning' | 'ok';
  readonly subject: string;
  readonly message: string;
  /** What to run or to mend; empty when it is well, or mends itself. */
  readonly remedy: string;
}

export interface HostLook {
  readonly state: 'waiting' | 'online' | 'offline' | 'revoked';
  /** Undefined: never. */
  readonly silentMs: number | undefined;
}

export interface SourceLook {
  /** What would be lost if the host died now; undefined: everything, nothing is stored yet. */
  readonly lagMs: number | undefined;
  /** protected | unprotected | gap | suspect | behind */
  readonly state: string;
  readonly damaged: boolean;
  /** Of the newest snapshot or base. */
  readonly bytes: number;
}

export interface PastRun {
  readonly mode: Mode;
  readonly state: string;
  readonly startedAt: Date;
  readonly finishedAt: Date;
  readonly recoveryPointMs: number | undefined;
  readonly moments: RunMoments;
  readonly steps: readonly PastStep[];
}

export interface PastStep {
  readonly id: string;
  readonly state: string;
  /** Undefined: it did not run to its end. */
  readonly tookMs: number | undefined;
  /** What it restored; undefined: nothing, or it did not say. */
  readonly bytes: number | undefined;
}

/** States in which a drill has shown what it was for. */
export function drillSucceeded(run: PastRun): boolean {
  return run.mode === 'drill' && run.state === 'done';
}

/** A real failover, too, shows that the plan works, and is measured like a drill. */
export function hasShownItself(run: PastRun): boolean {
  return drillSucceeded(run) || (run.mode !== 'drill' && run.moments.healthy !== undefined);
}
