// A run as it stands: its row, its steps, the jobs of their present phase. What the machine decides on, and what it decides.
//
// Values only. Loaded by run-store.ts, written by transitions.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';
import type { Mode, Step } from '@holdfast/shared/recovery/step-types';

import type { FenceProof } from '../contract.ts';
import type { PinnedPoint } from './recovery-choice.ts';
import type { RunEvent, RunState, StepEvent, StepState } from './run-states.ts';

/** Why a run is paused. */
export type Pause = 'step' | 'operator' | 'approval' | 'fence' | 'unknown' | 'rollback' | 'stuck';

/** Wall clock of the catalog, ms. Of an automatic run the first three are those of the replica that watched. */
export interface RunTimes {
  readonly lastSignOfLife?: number;
  readonly suspected?: number;
  readonly declaredDead?: number;
  readonly approved?: number;
  readonly fenced?: number;
  readonly restored?: number;
  readonly started?: number;
  readonly switched?: number;
  readonly healthy?: number;
}

export interface RunRow {
  readonly id: string;
  readonly planId: string;
  readonly domainId: string;
  readonly planName: string;
  readonly revision: number;
  readonly mode: Mode;
  /** A preparation: it began during a suspicion, and no failover has adopted it. It promised nobody anything, and is evidence of nothing. */
  readonly ahead: boolean;
  readonly state: RunState;
  readonly pause: Pause | '';
  readonly reason: string;
  /** Ids and names of the primary and the standby when the run began. */
  readonly fromHost: string;
  readonly fromName: string;
  readonly toHost: string;
  readonly toName: string;
  readonly epoch: number;
  readonly automatic: boolean;
  readonly startedBy: string;
  readonly startedAt: Date;
  readonly finishedAt: Date | null;
  readonly dueAt: Date | null;
  readonly approvalsNeeded: number;
  readonly approvedAt: Date | null;
  readonly fenceProof: FenceProof | '';
  readonly protectedAt: Date | null;
  /** Source's name → what became of the snapshot of what the old primary held. */
  readonly diverged: Readonly<Record<string, DivergedSnapshot>>;
  readonly point: PinnedPoint;
  readonly times: RunTimes;
  readonly version: number;
}

export interface DivergedSnapshot {
  /** asked: its job goes on. */
  readonly state: 'asked' | 'taken' | 'failed' | 'skipped';
  readonly jobId: string;
  /** Hex. */
  readonly snapshotId: string;
  readonly message: string;
}

/** What jobs of a step do, in turn. The units of a restore are stopped before and started after it. */
export type Phase =
  | 'precheck'
  | 'probe'
  | 'stop-unit'
  | 'apply'
  | 'render'
  | 'start-unit'
  | 'verify'
  | 'undo'
  /** Of a drill's sandbox: the run's own. */
  | 'open'
  | 'close';

export interface StepRow {
  readonly id: string;
  readonly position: number;
  /** With variables put in. */
  readonly spec: Step;
  /** Null: the controller's own. */
  readonly hostId: string | null;
  readonly hostName: string;
  /** Since its host was last heard of; 0 while its stream is open; undefined: it has no host. */
  readonly hostAwayMs: number | undefined;
  /** A warm copy of what it restores replays on its host, by the host's newest report; never in a drill. */
  readonly copyReplays: boolean;
  readonly state: StepState;
  readonly attempt: number;
  readonly phase: Phase | '';
  readonly round: number;
  readonly dueAt: Date | null;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
  readonly message: string;
  readonly remedy: string;
  readonly output: string;
  readonly facts: Readonly<Record<string, string>>;
}

export interface Report {
  /** lost: the job ended, and nobody can tell what became of the work. */
  readonly state: 'ok' | 'failed' | 'unknown' | 'done' | 'not-done' | 'running' | 'lost';
  readonly message: string;
  readonly remedy: string;
  readonly output: string;
  readonly facts: Readonly<Record<string, string>>;
}

/** A job of a step's present attempt, phase and round (of a run that is prechecking: of every step's precheck). */
export interface StepJob {
  readonly jobId: string;
  readonly stepId: string;
  readonly phase: Phase;
  /** A source, a witness, or ''. */
  readonly part: string;
  readonly acknowledged: boolean;
  /** Undefined: it goes on. */
  readonly report: Report | undefined;
  /** The catalog's clock; null: it goes on. */
  readonly finishedAt: Date | null;
}

export interface RunView {
  readonly run: RunRow;
  readonly plan: Plan;
  /** In the order of the document. */
  readonly steps: readonly StepRow[];
  readonly jobs: readonly StepJob[];
  /** People who agreed, by step; '' is the run. */
  readonly approvals: ReadonlyMap<string, number>;
  /** Who serves, from the application's row. */
  readonly serving: {
    readonly primary: string;
    readonly epoch: number;
    readonly phase: 'open' | 'withdrawn' | 'ordered';
  };
  /** What can't be restored any more of the pinned point, for people. Looked at while the run waits for approval. */
  readonly spoilt: readonly string[];
  /** Why its turn has not come among the domain's other failovers, for people. Looked at until it begins. */
  readonly notYet: string | undefined;
  /** The catalog's clock. */
  readonly now: Date;
}

export type Decision =
  | {
      readonly kind: 'run';
      readonly event: RunEvent;
      readonly reason?: string;
      readonly pause?: Pause;
      /** When the new state has taken too long. */
      readonly dueInMs?: number;
    }
  | {
      readonly kind: 'step';
      readonly step: string;
      readonly event: StepEvent;
      readonly report?: Partial<Report>;
      /** What its jobs do from now on; without it they go on with what they do, or there are none. */
      readonly phase?: Phase;
      /** When it has taken too long, or is tried again. */
      readonly dueInMs?: number;
    }
  /** The next phase of a step that stays at work, or another round of the same. */
  | { readonly kind: 'phase'; readonly step: string; readonly phase: Phase; readonly report?: Partial<Report> }
  | { readonly kind: 'facts'; readonly step: string; readonly facts: Readonly<Record<string, string>> }
  | { readonly kind: 'proof'; readonly proof: FenceProof }
  /** A job of the run itself: the drill's sandbox is opened, or removed. */
  | { readonly kind: 'sandbox'; readonly phase: 'open' | 'close'; readonly round: number }
  | { readonly kind: 'prechecks'; readonly steps: readonly string[] }
  /** Whatever its jobs still do is not wanted any more. */
  | { readonly kind: 'cancel-jobs'; readonly step: string }
  /** The new primary has its sources. */
  | { readonly kind: 'protected' }
  | { readonly kind: 'diverged'; readonly source: string; readonly snapshot: DivergedSnapshot }
  /** People are told again that it waits for them. */
  | { readonly kind: 'remind'; readonly dueInMs: number }
  | { readonly kind: 'note'; readonly step: string; readonly message: string };
