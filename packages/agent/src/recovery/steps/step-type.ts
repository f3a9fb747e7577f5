// What every type of step that a host carries out can do, and what it is given.
//
// Tested by testing/conformance-suite.test.ts, which every type passes.

import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import type { Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { ProgramResult } from '../../jobs/program.ts';
import type { HostStep, Services, Serving, StepReport } from '../contract.ts';
import type { Look, LookTarget } from './looks/look-target.ts';
import type { StepRecord } from './step-records.ts';
import type { Ending } from './supervised-program.ts';

export type SpecOf<Type extends HostStepSpec['type']> = Extract<HostStepSpec, { type: Type }>;

/**
 * One type of step. What throws a HoldfastError is answered as `failed` (`unknown` for a probe), with its hint as the remedy.
 * Every method may be called in any order, and again.
 */
export interface StepType<Spec extends HostStepSpec = HostStepSpec> {
  /**
   * Changes something on this host or beyond: then an order needs the right to it, and is noted before it begins.
   * What only looks is simply done again.
   */
  readonly changes: boolean;
  /** Could it work now? ok or failed. Reads, changes nothing. */
  precheck(spec: Spec, context: StepContext): Promise<StepAnswer>;
  /** Is it done? done, not-done or unknown. `record` is what earlier attempts left; whatever ran has ended. */
  probe(spec: Spec, context: StepContext, record: StepRecord | undefined): Promise<StepAnswer>;
  /** Does it: ok, failed or unknown. It may be half done already. */
  apply(spec: Spec, context: StepContext): Promise<StepAnswer>;
  /** Is what `apply` brought about true now? ok or failed. */
  verify(spec: Spec, context: StepContext, record: StepRecord | undefined): Promise<StepAnswer>;
  /** Takes it back; absent: it can't be. `record` is the apply's. */
  undo?(spec: Spec, context: StepContext, record: StepRecord | undefined): Promise<StepAnswer>;
  /** A program of an earlier process was waited for. Undefined, or without this method: probe, and go on if it is not done. */
  adopted?(spec: Spec, context: StepContext, ending: Ending): StepAnswer | undefined;
}

/** A report, of which only the state must be said. */
export type StepAnswer = Pick<StepReport, 'state'> & Partial<StepReport>;

export interface StepContext {
  readonly order: HostStep;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborted when the job is cancelled, or its time is over. */
  readonly signal: AbortSignal;
  /** The agent's own directory. */
  readonly stateDir: string;
  readonly services: Services;
  readonly serving: Serving | undefined;
  /** When the step's time is over, on `clock.monotonicMs()`. */
  readonly untilMs: number;
  /** The same command in the drill's sandbox; unchanged on the host itself. */
  where(command: readonly string[]): readonly string[];
  /** Where this process reaches a path of the step's. */
  path(path: string): string;
  /** Looks once at something that the step is about. Throws CANCELLED alone. */
  look(target: LookTarget): Promise<Look>;
  /**
   * Runs a program that changes something: noted, supervised, with what it says kept for the report. For steps that change something.
   * Throws FAILED_PRECONDITION when it may not be run; TIMED_OUT, CANCELLED when it was ended.
   */
  run(command: readonly string[], environment?: Readonly<Record<string, string>>): Promise<Ending>;
  /** Runs a program that only looks. @param timeoutMs less than what is left */
  ask(
    command: readonly string[],
    options?: { readonly timeoutMs?: number; readonly environment?: Readonly<Record<string, string>> },
  ): Promise<ProgramResult>;
  /** What `undo`, or a later probe, has to know; durable when it returns. At most 64 KiB in all. */
  remember(facts: Readonly<Record<string, string>>): void;
  /** What was remembered so far, of earlier attempts too. */
  memory(): Readonly<Record<string, string>>;
  /** Of the program that `run` started last, also in an earlier process; undefined: none, it was killed, or its step has ended. */
  exitCode(): number | undefined;
  /** HOLDFAST_SECRET_NAME and the like: for programs of the plan. Throws INVALID_ARGUMENT for a secret that no environment holds. */
  environment(): Readonly<Record<string, string>>;
}
