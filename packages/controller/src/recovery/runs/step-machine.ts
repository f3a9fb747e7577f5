// What is due for one step that is on its way: from what its jobs answered, and from the time that has passed. Pure.
//
// Hazard: repeating what was done. A job that was lost says nothing about the work, so the host is asked first (`probe`), and an answer
// that is no answer waits for a person.
//
// Invariants (run-machine.property.test.ts, engine.db.test.ts):
//   SM1 after a job was lost, or in a second attempt, nothing that can be probed is applied before a probe said `not-done`;
//   SM2 a probe that says `done` leads to `ok` without another apply;
//   SM3 no second restore begins while the job of the first may still be carried out.

import type { Decision, Phase, Report, RunView, StepJob, StepRow } from './run-view.ts';
import { isAtWork } from './run-states.ts';
import {
  ANSWER_GRACE_MS,
  attemptsOf,
  canProbe,
  LOOK_MS,
  phasesOf,
  retryDelayMs,
  timeoutMs,
  waits,
} from './step-policy.ts';

/** A host that was not heard of for this long is away: nobody knows what its steps do. */
export const AWAY_AFTER_MS = 20_000;
const ASK_AGAIN_MS = 1_000;

export interface Allowed {
  /** New work may begin: the run is running, or the step runs ahead. */
  readonly start: boolean;
  /** Looks at hosts, which change nothing. */
  readonly look: boolean;
}

/** For every step but the fence and notify, which are the engine's own (fence-machine.ts). */
export function stepNews(view: RunView, step: StepRow, allowed: Allowed): Decision[] {
  if (step.state === 'waiting') return waitingNews(view, step);
  if (step.state === 'retrying') {
    return allowed.start && isDue(view, step) ? startDecisions(view, step) : [];
  }
  const jobs = view.jobs.filter((job) => job.stepId === step.id && job.phase === step.phase);
  const report = combine(jobs, neededAnswers(view, step));
  if (step.state === 'failed') return allowed.start ? tryAgain(step) : [];
  if (step.state === 'unknown') {
    // Its answer may come late; what a probe could not tell is for a person.
    const isTold = report?.state === 'ok' || report?.state === 'failed';
    if (report !== undefined && isTold && step.phase !== 'probe') return afterReport(view, step, report, allowed);
    if (!allowed.look || !isPresent(step) || isSettledUnknown(step)) return [];
    // SM3. What can't be probed is asked for by its job: sent again if it never arrived, gone on with, or forgotten (fleet/jobs.ts).
    const isOpen = jobs.some((job) => job.report === undefined);
    return isOpen && !canProbe(step.spec.type) ? [] : probeAgain(step);
  }
  if (!isAtWork(step.state)) return [];
  if (report !== undefined) return afterReport(view, step, report, allowed, jobs);
  return stillAtWork(view, step, jobs);
}

/** A probe answered that it can't tell, or too often there was no answer: a person decides. */
export function isSettledUnknown(step: StepRow): boolean {
  return step.state === 'unknown' && (step.facts['probe'] === 'unknown' || step.attempt >= ATTEMPTS_LOST_MAX);
}

const ATTEMPTS_LOST_MAX = 10;

function isPresent(step: StepRow): boolean {
  return step.hostAwayMs === undefined || step.hostAwayMs === 0;
}

function isDue(view: RunView, step: StepRow): boolean {
  return step.dueAt === null || step.dueAt <= view.now;
}

/** What starts a step, at the first attempt or a later one. */
export function startDecisions(view: RunView, step: StepRow): Decision[] {
  const limit = timeoutMs(step.spec, view.plan);
  const due = limit === undefined ? {} : { dueInMs: limit };
  const unblock: Decision[] = step.state === 'pending' ? [{ kind: 'step', step: step.id, event: 'unblock' }] : [];
  if (waits(step.spec.type)) return [...unblock, { kind: 'step', step: step.id, event: 'wait', ...due }];
  const [first] = phasesOf(step.spec, view.plan, step.copyReplays);
  const again = step.attempt > 0 && canProbe(step.spec.type);
  const phase = first === undefined ? {} : { phase: again ? ('probe' as const) : first };
  const dueInMs = (limit ?? 0) * Math.max(1, phasesOf(step.spec, view.plan, step.copyReplays).length) + ANSWER_GRACE_MS;
  return [
    ...unblock,
    { kind: 'step', step: step.id, event: 'dispatch', ...phase, ...(limit === undefined ? {} : { dueInMs }) },
  ];
}

function waitingNews(view: RunView, step: StepRow): Decision[] {
  const { spec } = step;
  if (spec.type === 'approval') {
    const agreed = view.approvals.get(step.id) ?? 0;
    if (agreed >= (view.plan.approvals?.need ?? 1)) return [{ kind: 'step', step: step.id, event: 'succeed' }];
  }
  if (step.dueAt === null || step.dueAt > view.now) return [];
  if (spec.type === 'wait') return [{ kind: 'step', step: step.id, event: 'succeed' }];
  const message = spec.type === 'approval' ? 'nobody approved in time' : 'nobody ticked it in time';
  return [{ kind: 'step', step: step.id, event: 'time-out', report: { message } }];
}

function tryAgain(step: StepRow): Decision[] {
  if (step.phase === 'undo' || step.attempt >= attemptsOf(step.spec)) return [];
  return [{ kind: 'step', step: step.id, event: 'retry', dueInMs: retryDelayMs(step.attempt) }];
}

function probeAgain(step: StepRow): Decision[] {
  return [
    { kind: 'step', step: step.id, event: 'retry', dueInMs: 0 },
    {
      kind: 'step',
      step: step.id,
      event: 'dispatch',
      ...(canProbe(step.spec.type) ? { phase: 'probe' as const } : { phase: 'apply' as const }),
      dueInMs: LOOK_MS + ANSWER_GRACE_MS,
    },
  ];
}

function stillAtWork(view: RunView, step: StepRow, jobs: readonly StepJob[]): Decision[] {
  const { id, state, hostAwayMs } = step;
  if (step.dueAt !== null && step.dueAt <= view.now) {
    const report = {
      message: 'it took longer than it may',
      remedy: 'See what its host does, then: holdfast run retry',
    };
    return [
      { kind: 'cancel-jobs', step: id },
      { kind: 'step', step: id, event: 'time-out', report },
    ];
  }
  if (hostAwayMs !== undefined && hostAwayMs > AWAY_AFTER_MS) {
    const report = { message: `${step.hostName} is not there; nobody knows what became of it` };
    return [{ kind: 'step', step: id, event: 'lose', report }];
  }
  const began = state === 'dispatched' && jobs.some((job) => job.acknowledged);
  return began ? [{ kind: 'step', step: id, event: 'begin' }] : [];
}

function afterReport(
  view: RunView,
  step: StepRow,
  report: Report,
  allowed: Allowed,
  jobs: readonly StepJob[] = [],
): Decision[] {
  const { id } = step;
  const lose = (probe: string): Decision[] => [
    { kind: 'step', step: id, event: 'lose', report: { ...report, facts: { ...report.facts, probe } } },
  ];
  if (step.phase === 'undo') {
    const event = report.state === 'ok' ? 'undone' : 'fail';
    return [{ kind: 'step', step: id, event, report }];
  }
  if (step.phase === 'probe') {
    if (report.state === 'done') return nextPhase(view, step, 'apply', report);
    if (report.state === 'not-done') {
      const [first] = phasesOf(step.spec, view.plan, step.copyReplays);
      if (!allowed.start || first === undefined) return [];
      return [{ kind: 'phase', step: id, phase: first }];
    }
    if (report.state === 'running') {
      const finished = Math.max(0, ...jobs.map((job) => job.finishedAt?.getTime() ?? 0));
      return view.now.getTime() - finished < ASK_AGAIN_MS ? [] : [{ kind: 'phase', step: id, phase: 'probe' }];
    }
    return lose(report.state === 'lost' ? 'lost' : 'unknown');
  }
  if (report.state === 'ok') return nextPhase(view, step, step.phase === '' ? 'apply' : step.phase, report);
  if (report.state === 'failed') return [{ kind: 'step', step: id, event: 'fail', report }];
  return lose('lost');
}

/** After `phase` went well. */
function nextPhase(view: RunView, step: StepRow, phase: Phase, report: Report): Decision[] {
  const phases = phasesOf(step.spec, view.plan, step.copyReplays);
  const next = phases[phases.indexOf(phase) + 1];
  if (next === undefined) return [{ kind: 'step', step: step.id, event: 'succeed', report }];
  if (step.state === 'verifying') return [{ kind: 'phase', step: step.id, phase: next, report }];
  return [{ kind: 'step', step: step.id, event: 'applied', phase: next, report }];
}

/** Of a check that witnesses make, as many as detection asks for; else all. */
function neededAnswers(view: RunView, step: StepRow): number | undefined {
  const { spec } = step;
  return spec.type === 'check.http' && spec.from === 'witnesses' ? view.plan.detect.witnesses?.agree : undefined;
}

/** Facts of one of several say of which. */
function named(part: string, report: Report): Report {
  if (part === '') return report;
  const facts = Object.fromEntries(Object.entries(report.facts).map(([name, value]) => [`${part}.${name}`, value]));
  return { ...report, facts };
}

/** What all jobs of a phase say together; undefined while that is open. `enough`: so many that are well suffice. */
export function combine(jobs: readonly StepJob[], enough: number | undefined): Report | undefined {
  if (jobs.length === 0) return undefined;
  const reports = jobs.flatMap((job) =>
    job.report === undefined ? [] : [{ part: job.part, ...named(job.part, job.report) }],
  );
  const [only] = reports;
  if (jobs.length === 1) return only;
  const well = reports.filter((report) => report.state === 'ok');
  const needed = Math.min(enough ?? jobs.length, jobs.length);
  const open = jobs.length - reports.length;
  if (well.length < needed && well.length + open >= needed) return undefined;
  if (well.length < needed && enough === undefined && open > 0) return undefined;
  const bad = reports.find((report) => report.state !== 'ok');
  const told = well.length >= needed ? well : reports.filter((report) => report.state !== 'ok');
  return {
    state: well.length >= needed ? 'ok' : (bad?.state ?? 'unknown'),
    message: told.map(({ part, message }) => (message === '' ? part : `${part}: ${message}`)).join('; '),
    remedy: bad?.remedy ?? '',
    output: told.map(({ output }) => output).join(''),
    facts: Object.assign({}, ...told.map(({ facts }) => facts)) as Record<string, string>,
  };
}
