// Carries out one action of a step of a plan's run, and never the same thing twice.
//
// Hazards: the controller that asks may be new and know nothing of what the one before began; the agent may have died in the middle; an order
// may come from a controller that was replaced. So what changes something needs the right to it, is noted durably before it begins, and what
// is found to run is waited for or ended, never started beside itself.
//
// Invariants (step-runner.test.ts; R3: step-conformance.test.ts, SC6): R1 nothing begins before its record is durable; R2 one step is worked on by one job at a time; R3 what runs
// of an earlier process is adopted, and ended when its time is over; R4 an attempt that has ended answers what it answered; an older
// attempt is refused; R5 an order that is out of date changes nothing; R6 no secret is in a record, a report or the log.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { ServiceCommands } from '@holdfast/shared/recovery/step-types';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { HostStep, Serving, StepReport } from '../contract.ts';
import type { Sandboxes } from '../sandbox/sandbox.ts';
import { bootId, isAlive, sinceBootMs, type ProcessIdentity } from './process-identity.ts';
import { newServices } from './services.ts';
import { newStepContext, type OwnContext } from './step-context.ts';
import { StepRecords, type StepRecord } from './step-records.ts';
import { reportOf } from './step-report.ts';
import type { StepAnswer, StepType } from './step-type.ts';
import { stepTypeOf } from './registry.ts';
import { adopt, forgetOutput, outputOf, type Ending } from './supervised-program.ts';

export interface StepRunnerDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** The agent's own directory. */
  readonly stateDir: string;
  /** Undefined: an agent that knows of no applications; then no order can be out of date. */
  readonly serving: Serving | undefined;
  /** Of the agent's settings. */
  readonly services: Readonly<Record<string, ServiceCommands>>;
  /** Of drills. Undefined: this agent has none. */
  readonly sandboxes?: Pick<Sandboxes, 'get'> | undefined;
}

export interface StepRunner {
  /** The answer; throws nothing but CANCELLED. */
  run(order: HostStep, signal: AbortSignal): Promise<StepReport>;
}

export function newStepRunner(deps: StepRunnerDeps): StepRunner {
  return new RecordingStepRunner(deps);
}

class RecordingStepRunner implements StepRunner {
  readonly #deps: StepRunnerDeps;
  readonly #records: StepRecords;
  /** RUN/STEP of what this process works on. */
  readonly #working = new Set<string>();

  constructor(deps: StepRunnerDeps) {
    this.#deps = deps;
    this.#records = new StepRecords(deps.stateDir);
  }

  async run(order: HostStep, signal: AbortSignal): Promise<StepReport> {
    const { clock, log } = this.#deps;
    const over = new AbortController();
    const time = sleep(clock, order.timeoutMs, over.signal).then(() => over.abort());
    let context: OwnContext | undefined;
    let answer: StepAnswer;
    try {
      context = this.#context(order, AbortSignal.any([signal, over.signal]));
      answer = await this.#answer(order, context);
    } catch (thrown) {
      const error = over.signal.aborted && !signal.aborted ? outOfTime(order, thrown) : toHoldfastError(thrown);
      answer = failed(order, error);
      if (error.code === 'INTERNAL')
        log.error('step.unexpected-error', { ...idsOf(order), stack: String(error.stack) });
    }
    over.abort();
    await time;
    if (signal.aborted) throw new HoldfastError('CANCELLED', 'the step was cancelled');
    const report = reportOf(order, answer, context?.said() ?? Buffer.alloc(0));
    log.info('step.answered', { ...idsOf(order), state: report.state, message: report.message });
    return report;
  }

  /** Throws FAILED_PRECONDITION for a drill's step without its sandbox. */
  #context(order: HostStep, signal: AbortSignal): OwnContext {
    const { clock, sandboxes } = this.#deps;
    const noSandboxes = (): never => {
      throw new HoldfastError('FAILED_PRECONDITION', 'this agent has no sandboxes, and a drill runs nowhere else');
    };
    const sandbox = order.sandbox === '' ? undefined : (sandboxes ?? { get: noSandboxes }).get(order.sandbox);
    return newStepContext({
      ...this.#deps,
      order,
      records: this.#records,
      sandbox,
      services: (noted) => newServices({ ...this.#deps, planServices: order.services, sandbox, noted }),
      signal,
      untilMs: clock.monotonicMs() + order.timeoutMs,
    });
  }

  async #answer(order: HostStep, context: OwnContext): Promise<StepAnswer> {
    const type = await stepTypeOf(order.spec.type);
    if (order.action === 'precheck') return type.precheck(order.spec, context);
    if (!type.changes) {
      if (order.action === 'probe') return type.probe(order.spec, context, undefined);
      if (order.action === 'undo') return nothingToUndo(order);
      return order.action === 'apply' ? type.apply(order.spec, context) : type.verify(order.spec, context, undefined);
    }
    if (order.action === 'probe') return this.#probe(order, type, context);
    if (order.action === 'verify') return type.verify(order.spec, context, this.#records.read(order.run, order.step));
    return this.#exclusively(order, () => this.#change(order, type, context));
  }

  async #probe(order: HostStep, type: StepType, context: OwnContext): Promise<StepAnswer> {
    if (this.#working.has(keyOf(order))) return { state: 'running', message: 'this agent works on it' };
    const record = this.#records.read(order.run, order.step);
    if (record !== undefined && running(record)) {
      // What it left behind may live on; it is over once there is a code.
      if (leftMs(record) > 0 && context.exitCode() === undefined)
        return { state: 'running', message: 'its program still runs' };
      await this.#wait(order, record, context);
    }
    return type.probe(order.spec, context, record);
  }

  /** R2. */
  async #exclusively(order: HostStep, work: () => Promise<StepAnswer>): Promise<StepAnswer> {
    const key = keyOf(order);
    if (this.#working.has(key)) throw new HoldfastError('BUSY', `this agent works on ${order.step} already`);
    this.#working.add(key);
    try {
      return await work();
    } finally {
      this.#working.delete(key);
    }
  }

  async #change(order: HostStep, type: StepType, context: OwnContext): Promise<StepAnswer> {
    const action = order.action === 'undo' ? 'undo' : 'apply';
    const refusal = await this.#deps.serving?.refuses(order);
    if (refusal !== undefined) return { state: 'failed', message: refusal, facts: { refused: 'yes' } };
    const before = this.#records.read(order.run, order.step);
    if (before !== undefined && before.attempt > order.attempt) {
      throw new HoldfastError('FAILED_PRECONDITION', `attempt ${before.attempt} of ${order.step} came already`);
    }
    const same = before?.attempt === order.attempt && before.action === action;
    if (same && before.state === 'ended' && before.report !== undefined) return before.report;
    const adopted = await this.#adopted(order, type, context, before, action);
    if (adopted !== undefined) return this.#end(order, adopted, context);

    const record = newRecord(order, action, before, this.#deps.clock.wallMs());
    this.#records.write(order.run, record, this.#deps.clock.wallMs());
    this.#deps.log.info('step.begun', { ...idsOf(order), action });
    try {
      const work = action === 'undo' ? type.undo?.(order.spec, context, before) : type.apply(order.spec, context);
      return this.#end(order, (await work) ?? nothingToUndo(order), context);
    } catch (thrown) {
      this.#end(order, failed(order, toHoldfastError(thrown)), context);
      throw thrown;
    }
  }

  /** R3. Undefined: nothing runs (any more), and it has to be done. */
  async #adopted(
    order: HostStep,
    type: StepType,
    context: OwnContext,
    record: StepRecord | undefined,
    action: 'apply' | 'undo',
  ): Promise<StepAnswer | undefined> {
    if (record === undefined || !running(record)) return undefined;
    const ending = await this.#wait(order, record, context);
    if (record.action !== action) return undefined;
    const judged = type.adopted?.(order.spec, context, ending);
    if (judged !== undefined || action === 'undo') return judged;
    const found = await type.probe(order.spec, context, this.#records.read(order.run, order.step));
    return found.state === 'done' ? { ...found, state: 'ok' } : undefined;
  }

  /** For a program of an earlier process, which is ended when its time is over. */
  async #wait(order: HostStep, record: StepRecord & Running, context: OwnContext): Promise<Ending> {
    const base = this.#base(order);
    const ending = await adopt(record.process, base, leftMs(record), this.#deps.clock, context.signal);
    this.#deps.log.info('step.adopted', { ...idsOf(order), ending: ending.kind });
    context.keep(outputOf(base));
    return ending;
  }

  #end(order: HostStep, answer: StepAnswer, context: OwnContext): StepAnswer {
    const record = this.#records.read(order.run, order.step);
    if (record === undefined) return answer;
    const { state, message, remedy, facts } = reportOf(order, answer, context.said());
    const { process: _gone, ...rest } = record;
    const report = { state: state === 'ok' || state === 'failed' ? state : 'unknown', message, remedy, facts } as const;
    const wallMs = this.#deps.clock.wallMs();
    this.#records.write(order.run, { ...rest, attempt: order.attempt, state: 'ended', report }, wallMs);
    forgetOutput(this.#base(order));
    return answer;
  }

  #base(order: HostStep): string {
    return this.#records.base(order.run, order.step);
  }
}

interface Running {
  readonly process: ProcessIdentity;
}

function running(record: StepRecord): record is StepRecord & Running {
  return record.state === 'begun' && record.process !== undefined && isAlive(record.process);
}

/** Of the step's time. */
function leftMs(record: StepRecord): number {
  return Math.max(0, record.endsBySinceBootMs - sinceBootMs());
}

function newRecord(
  order: HostStep,
  action: 'apply' | 'undo',
  before: StepRecord | undefined,
  wallMs: number,
): StepRecord {
  return {
    application: order.application,
    step: order.step,
    attempt: order.attempt,
    action,
    state: 'begun',
    bootId: bootId(),
    startedAtMs: wallMs,
    endsBySinceBootMs: sinceBootMs() + order.timeoutMs,
    memory: before?.memory ?? {},
  };
}

function failed(order: HostStep, error: HoldfastError): StepAnswer {
  return {
    state: order.action === 'probe' ? 'unknown' : 'failed',
    message: error.message,
    remedy: error.hint,
    facts: error.code === 'TIMED_OUT' ? { 'timed-out': 'yes' } : {},
  };
}

/** What was thrown because the time was over may say what it waited for. */
function outOfTime(order: HostStep, thrown: unknown): HoldfastError {
  if (thrown instanceof HoldfastError && thrown.code === 'TIMED_OUT') return thrown;
  return new HoldfastError('TIMED_OUT', `it was not over after ${Math.round(order.timeoutMs / 1000)} s, and was ended`);
}

function nothingToUndo(order: HostStep): StepAnswer {
  return { state: 'ok', message: `a ${order.spec.type} step leaves nothing to take back` };
}

function keyOf(order: HostStep): string {
  return `${order.run}/${order.step}`;
}

function idsOf({ plan, run, step, attempt, action }: HostStep): Readonly<Record<string, string | number>> {
  return { plan, run, step, attempt, action };
}
