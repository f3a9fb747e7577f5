// What decisions make of a run: the rows after them, the events to write, the jobs to queue. Pure; transitions.ts writes it, all or nothing.
//
// Hazard: a state that no table allows, written because somebody decided in haste. An event that the table refuses throws here, and then
// nothing at all is written.
//
// Tested in run-machine.property.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';

import { isAtWork, isEnd, nextRunState, nextStepState, type RunState, type StepState } from './run-states.ts';
import type { Decision, DivergedSnapshot, Phase, RunRow, RunView, StepRow } from './run-view.ts';
import type { PinnedSource } from './recovery-choice.ts';
import { timesOf } from './run-times.ts';

export interface RunEventText {
  /** '': of the run. */
  readonly step: string;
  readonly kind: 'state' | 'action' | 'note';
  readonly message: string;
}

/** Jobs that a step needs from now on; which ones, and for whom, is looked up by the engine. `step` '': the run's own. */
export interface JobOrder {
  readonly step: string;
  readonly attempt: number;
  readonly phase: Phase;
  readonly round: number;
}

export interface Advanced {
  readonly run: RunRow;
  readonly steps: readonly StepRow[];
  readonly events: readonly RunEventText[];
  readonly orders: readonly JobOrder[];
  /** Steps whose jobs are not wanted any more. */
  readonly cancelled: readonly string[];
}

/** Throws FAILED_PRECONDITION for an event that the tables refuse. */
export function advance(view: RunView, decisions: readonly Decision[]): Advanced {
  const draft = new Draft(view);
  for (const decision of decisions) draft.take(decision);
  return draft.result();
}

const OUTPUT_MAX = 64 * 1024;
const WORDS_MAX = 8 * 1024;
/** Where nothing is the matter any more. */
const UNTROUBLED: ReadonlySet<RunState> = new Set([
  'awaiting-approval',
  'running',
  'verifying',
  'awaiting-commit',
  'committed',
  'done',
]);
/** For the host to say that nothing is left of a drill. */
const CLEANING_MS = 120_000;

class Draft {
  readonly #now: Date;
  #run: RunRow;
  readonly #steps: Map<string, StepRow>;
  readonly #events: RunEventText[] = [];
  readonly #orders: JobOrder[] = [];
  readonly #cancelled: string[] = [];

  constructor(view: RunView) {
    this.#now = view.now;
    this.#run = view.run;
    this.#steps = new Map(view.steps.map((step) => [step.id, step]));
  }

  take(decision: Decision): void {
    switch (decision.kind) {
      case 'run':
        return this.#runEvent(decision);
      case 'step':
        return this.#stepEvent(decision);
      case 'phase':
        return this.#phase(this.#step(decision.step), decision.phase, decision.report);
      case 'prechecks':
        for (const step of decision.steps) this.#orders.push({ step, attempt: 1, phase: 'precheck', round: 0 });
        return;
      case 'sandbox':
        this.#orders.push({ step: '', attempt: 1, phase: decision.phase, round: decision.round });
        return;
      case 'cancel-jobs':
        this.#cancelled.push(decision.step);
        return;
      case 'facts': {
        const step = this.#step(decision.step);
        this.#steps.set(step.id, { ...step, facts: { ...step.facts, ...decision.facts } });
        return;
      }
      case 'proof':
        this.#run = { ...this.#run, fenceProof: decision.proof };
        this.#events.push({ step: '', kind: 'note', message: `fenced: ${decision.proof}` });
        return;
      case 'protected':
        this.#run = { ...this.#run, protectedAt: this.#now };
        this.#events.push({ step: '', kind: 'note', message: `${this.#run.toName} is backed up from now on` });
        return;
      case 'remind':
        this.#run = { ...this.#run, dueAt: this.#in(decision.dueInMs) };
        this.#events.push({ step: '', kind: 'note', message: 'it still waits for its commit' });
        return;
      case 'diverged':
        return this.#diverged(decision.source, decision.snapshot);
      default:
        this.#events.push({ step: decision.step, kind: 'note', message: decision.message.slice(0, WORDS_MAX) });
    }
  }

  result(): Advanced {
    const steps = [...this.#steps.values()];
    const run = { ...this.#run, times: timesOf(steps, this.#run) };
    return { run, steps, events: this.#events, orders: this.#orders, cancelled: this.#cancelled };
  }

  #diverged(source: string, snapshot: DivergedSnapshot): void {
    this.#run = { ...this.#run, diverged: { ...this.#run.diverged, [source]: snapshot } };
    const why = snapshot.message === '' ? '' : `: ${snapshot.message}`;
    const message = `what ${this.#run.fromName} held of ${source}: ${snapshot.state}${why}`;
    this.#events.push({ step: '', kind: 'note', message: message.slice(0, WORDS_MAX) });
  }

  #runEvent(decision: Extract<Decision, { kind: 'run' }>): void {
    const { event, dueInMs } = decision;
    const before = this.#run;
    const state = nextRunState(before.state, event);
    if (state === undefined) {
      throw new HoldfastError('FAILED_PRECONDITION', `a run that is ${before.state} can't ${event}`);
    }
    // Why something is undone, or removed, stays to be seen when it is.
    const kept = (decision.reason ?? '') !== '' ? decision.reason : UNTROUBLED.has(state) ? '' : before.reason;
    const reason = (kept ?? '').slice(0, WORDS_MAX);
    const approved = before.state === 'awaiting-approval' && state === 'running';
    this.#run = {
      ...before,
      state,
      pause: state === 'paused' ? (decision.pause ?? 'operator') : '',
      reason,
      // A drill's end stays; everything else waits anew in each state.
      dueAt: this.#runDueAt(state, dueInMs),
      finishedAt: isEnd(state) ? this.#now : null,
      approvedAt: approved ? this.#now : before.approvedAt,
      times: approved ? { ...before.times, approved: this.#now.getTime() } : before.times,
    };
    const why = reason === '' ? '' : `: ${reason}`;
    this.#events.push({ step: '', kind: 'state', message: `${before.state} → ${state}${why}`.slice(0, WORDS_MAX) });
    if (isEnd(state)) this.#cancelAll();
  }

  /** Nobody looks at a run that has ended: what still worked for it would be in the way of the next one. */
  #cancelAll(): void {
    for (const step of this.#steps.values()) {
      if (isAtWork(step.state) && !this.#cancelled.includes(step.id)) this.#cancelled.push(step.id);
    }
  }

  #runDueAt(state: RunState, dueInMs: number | undefined): Date | null {
    if (state === 'cleaning') return this.#in(CLEANING_MS);
    if (dueInMs !== undefined) return this.#in(dueInMs);
    return this.#run.mode === 'drill' && !isEnd(state) ? this.#run.dueAt : null;
  }

  #stepEvent(decision: Extract<Decision, { kind: 'step' }>): void {
    const { event, report = {} } = decision;
    const before = this.#step(decision.step);
    const state = nextStepState(before.state, event);
    if (state === undefined) {
      throw new HoldfastError('FAILED_PRECONDITION', `"${before.id}" is ${before.state}: it can't ${event}`);
    }
    const starts = event === 'dispatch' || event === 'wait';
    const told = withReport(before, report);
    const step: StepRow = {
      ...told,
      state,
      attempt: starts ? before.attempt + 1 : before.attempt,
      facts: starts ? {} : told.facts,
      message: starts || event === 'succeed' ? (report.message ?? '') : told.message,
      remedy: report.remedy ?? (event === 'fail' || event === 'lose' ? before.remedy : ''),
      dueAt: this.#dueAt(before, decision),
      startedAt: starts ? (before.startedAt ?? this.#now) : before.startedAt,
      finishedAt: FINAL.has(state) ? this.#now : null,
    };
    this.#steps.set(step.id, step);
    const why = step.message === '' ? '' : `: ${step.message}`;
    this.#events.push({
      step: step.id,
      kind: 'state',
      message: `${before.state} → ${state}${why}`.slice(0, WORDS_MAX),
    });
    if (event === 'succeed' && step.spec.type === 'snapshot') this.#repin(step);
    if (event === 'dispatch' && decision.phase === undefined)
      this.#steps.set(step.id, { ...step, phase: '', round: 0 });
    if (decision.phase !== undefined) this.#phase(step, decision.phase);
  }

  /** A snapshot that the run itself took, of a primary that does nothing any more, is what it goes on with. */
  #repin(step: StepRow): void {
    const { point } = this.#run;
    const sources = point.sources.map((one): PinnedSource => {
      const snapshotId = step.facts[`${one.source}.snapshot`];
      if (snapshotId === undefined) return one;
      return { ...one, snapshotId, target: one.target === null ? null : { kind: 'latest' }, atMs: this.#now.getTime() };
    });
    const atMs = sources.length === 0 ? point.atMs : Math.min(...sources.map((one) => one.atMs));
    this.#run = { ...this.#run, point: { ...point, sources, atMs } };
  }

  #dueAt(before: StepRow, { event, dueInMs }: Extract<Decision, { kind: 'step' }>): Date | null {
    if (dueInMs !== undefined) return this.#in(dueInMs);
    return event === 'begin' || event === 'applied' || event === 'unblock' ? before.dueAt : null;
  }

  #phase(step: StepRow, phase: Phase, report: Extract<Decision, { kind: 'phase' }>['report'] = {}): void {
    const round = step.phase === phase ? step.round + 1 : 0;
    this.#steps.set(step.id, { ...withReport(step, report), phase, round });
    this.#orders.push({ step: step.id, attempt: step.attempt, phase, round });
  }

  #step(id: string): StepRow {
    const step = this.#steps.get(id);
    if (step === undefined) throw new HoldfastError('NOT_FOUND', `the run has no step "${id}"`);
    return step;
  }

  #in(ms: number): Date {
    return new Date(this.#now.getTime() + ms);
  }
}

const FINAL: ReadonlySet<StepState> = new Set(['ok', 'failed', 'timed-out', 'skipped', 'undone']);

function withReport(step: StepRow, report: NonNullable<Extract<Decision, { kind: 'step' }>['report']>): StepRow {
  const { message, remedy, output, facts } = report;
  return {
    ...step,
    message: message === undefined || message === '' ? step.message : message.slice(0, WORDS_MAX),
    remedy: remedy === undefined ? step.remedy : remedy.slice(0, WORDS_MAX),
    output: output === undefined || output === '' ? step.output : output.slice(0, OUTPUT_MAX),
    facts: { ...step.facts, ...facts },
  };
}
