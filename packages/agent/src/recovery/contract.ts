// What the parts of recovery in an agent are to each other: steps do what a plan says, failover knows who may serve.

import type { HostStepSpec, ResolvedData } from '@holdfast/shared/recovery/host-step';
import type { ServiceCommands } from '@holdfast/shared/recovery/step-types';

export const STEP_ACTIONS = ['precheck', 'probe', 'apply', 'verify', 'undo'] as const;
export type StepAction = (typeof STEP_ACTIONS)[number];

/** A step of a run that this host carries out. */
export interface HostStep {
  /** The plan's id. */
  readonly application: string;
  readonly plan: string;
  readonly run: string;
  readonly step: string;
  readonly attempt: number;
  readonly term: number;
  readonly epoch: number;
  readonly action: StepAction;
  readonly spec: HostStepSpec;
  readonly timeoutMs: number;
  /** Of a drill; empty: on the host itself. */
  readonly sandbox: string;
  /** By name. In memory alone. */
  readonly secrets: ReadonlyMap<string, Uint8Array>;
  /** That the plan declares itself. */
  readonly services: Readonly<Record<string, ServiceCommands>>;
  readonly resolved: ResolvedData;
}

/** precheck: ok, failed. probe: done, not-done, running, unknown. apply, verify, undo: ok, failed, unknown. */
export type StepState = 'ok' | 'failed' | 'done' | 'not-done' | 'running' | 'unknown';

export interface StepReport {
  readonly state: StepState;
  readonly message: string;
  /** What to run or to mend; empty: nothing. */
  readonly remedy: string;
  /** The first and the last of what programs said: at most 64 KiB. */
  readonly output: Buffer;
  readonly facts: Readonly<Record<string, string>>;
}

/** steps/services.ts: what runs on this host. */
export interface Services {
  /** Throws NOT_FOUND for a unit that neither the host's settings, the plan nor systemd know. */
  runs(unit: string, signal: AbortSignal): Promise<boolean>;
  /** Resolves when it runs. Throws FAILED_PRECONDITION with what the command said. */
  start(unit: string, signal: AbortSignal): Promise<void>;
  stop(unit: string, signal: AbortSignal): Promise<void>;
}

/** failover/: who may serve, and which orders are out of date. */
export interface Serving {
  /** Why an order is refused; undefined: it may be carried out, and its term is on disk. */
  refuses(order: {
    readonly application: string;
    readonly term: number;
    readonly epoch: number;
  }): Promise<string | undefined>;
  /** Stops serving for good below `epoch`: gate closed, units dead, on disk. */
  stopServing(application: string, epoch: number): Promise<void>;
  /** The units of the application were started by a step: from now on they may come back by themselves after a boot. */
  activated(application: string, epoch: number): Promise<void>;
}
