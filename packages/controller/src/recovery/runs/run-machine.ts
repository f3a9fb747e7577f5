// What is due for a run: pure, from its rows to decisions. The engine writes them, all or none, and asks again until nothing is due.
//
// Hazard: a decision on rows that have changed meanwhile. So a view carries the run's version, and its decisions are written only while
// that still holds (transitions.ts).
//
// Invariants (run-machine.property.test.ts):
//   MC1 every decision is an edge of the tables in run-states.ts;
//   MC2 a run whose hosts answer comes to an end or waits for a person, whatever they answer;
//   MC3 paused, nothing starts; in a drill nothing is decided for the primary, a fence or traffic;
//   MC4 a run that has ended leaves no step at work: what ran ahead is cancelled with it.

import { preparesAhead, runsAhead } from '@holdfast/shared/recovery/run-ahead';
import type { Step } from '@holdfast/shared/recovery/step-types';

import { fenceNews } from './fence-machine.ts';
import { failedReason, spoiltReason, stuckUndoReason, unknownReason, wayOn, whatFailed } from './run-reasons.ts';
import { isAtWork } from './run-states.ts';
import type { Decision, RunView, StepRow } from './run-view.ts';
import { hasFailed, isDone, progressOf, startable, undoable, type Node } from './scheduler.ts';
import { isSettledUnknown, startDecisions, stepNews, type Allowed } from './step-machine.ts';
import { attemptsOf, canPrecheck, canUndo, standsOnOthers } from './step-policy.ts';

export function decide(view: RunView): Decision[] {
  switch (view.run.state) {
    case 'preparing':
      return runningAhead(view);
    case 'prechecking':
      return prechecking(view);
    case 'awaiting-approval':
      return awaitingApproval(view);
    case 'running':
      return running(view);
    case 'paused':
      return paused(view);
    case 'verifying':
      return verifying(view);
    case 'awaiting-commit':
      return awaitingCommit(view);
    case 'committed':
      return committed(view);
    case 'rolling-back':
      return rollingBack(view);
    case 'cleaning':
      return cleaning(view);
    default:
      return [];
  }
}

function nodesOf(view: RunView): Node[] {
  return view.steps.map(({ id, spec, state }) => {
    return { id, needs: spec.needs, ahead: mayRunAhead(view, spec), critical: spec.critical, state };
  });
}

function mayRunAhead({ run, plan }: RunView, spec: Step): boolean {
  return run.state === 'preparing' ? preparesAhead(spec, plan) : runsAhead(spec, plan);
}

const PRECHECKS_MAX = 16;
/** How long hosts may take to say that they could. */
export const PRECHECK_MS = 60_000;

/** A run that nobody planned does not wait for looks: what would fail, fails. */
function prechecking(view: RunView): Decision[] {
  const { run } = view;
  if (run.mode === 'unplanned') {
    const going = goOrAsk(view);
    return going.length > 0 ? going : goingOnAhead(view);
  }
  const opening = run.mode === 'drill' ? openSandbox(view) : undefined;
  if (opening !== undefined) return opening;
  const looked = view.steps.filter(
    (step) => step.hostId !== null && step.state === 'pending' && canPrecheck(step.spec.type),
  );
  const jobs = new Map(view.jobs.filter((job) => job.phase === 'precheck').map((job) => [job.stepId, job]));
  const open = looked.filter((step) => jobs.has(step.id) && jobs.get(step.id)?.report === undefined);
  const waiting = looked.filter((step) => !jobs.has(step.id));
  const found = looked.flatMap((step) => {
    const report = jobs.get(step.id)?.report;
    return report === undefined || report.state === 'ok' ? [] : [{ step, report }];
  });
  const bad = found.filter(({ step }) => step.spec.critical && !standsOnOthers(step.spec, view.plan));
  const giveUp = run.mode === 'drill' ? 'tidy' : 'fail';
  const [first] = bad;
  if (first !== undefined && open.length === 0) {
    const remedy = first.report.remedy === '' ? '' : ` (${first.report.remedy})`;
    const reason = `"${first.step.id}" could not work on ${first.step.hostName}: ${first.report.message}${remedy}`;
    return [{ kind: 'run', event: giveUp, reason }];
  }
  if (run.dueAt !== null && run.dueAt <= view.now && open.length > 0) {
    const hosts = [...new Set(open.map((step) => step.hostName))].join(', ');
    return [{ kind: 'run', event: giveUp, reason: `${hosts} did not answer in time` }];
  }
  const free = PRECHECKS_MAX - open.length;
  if (waiting.length > 0 && free > 0) {
    return [{ kind: 'prechecks', steps: waiting.slice(0, free).map((step) => step.id) }];
  }
  if (open.length > 0 || waiting.length > 0) return [];
  const notes = found.map(({ step, report }): Decision => {
    return { kind: 'note', step: step.id, message: `precheck: ${report.message}` };
  });
  const going = goOrAsk(view);
  // Noted with what they allowed, once: it may wait for its turn.
  return going.length > 0 ? [...notes, ...going] : [];
}

/** No sandbox, no drill. Undefined once it is there. */
function openSandbox(view: RunView): Decision[] | undefined {
  const job = view.jobs.find((one) => one.phase === 'open');
  if (job === undefined) return [{ kind: 'sandbox', phase: 'open', round: 0 }];
  const late = view.run.dueAt !== null && view.run.dueAt <= view.now;
  if (job.report === undefined) {
    return late ? [{ kind: 'run', event: 'tidy', reason: `${view.run.toName} does not answer` }] : [];
  }
  if (job.report.state === 'ok') return undefined;
  return [{ kind: 'run', event: 'tidy', reason: `no sandbox on ${view.run.toName}: ${job.report.message}` }];
}

function goOrAsk({ run, plan, approvals, notYet }: RunView): Decision[] {
  const agreed = approvals.get('') ?? 0;
  if (run.approvalsNeeded === 0 || run.approvedAt !== null || agreed >= run.approvalsNeeded) {
    return notYet === undefined ? [{ kind: 'run', event: 'go', ...drillLife(run.mode, plan.drill?.ttl) }] : [];
  }
  const dueInMs = plan.approvals?.timeout ?? 600_000;
  const reason = `${run.approvalsNeeded - agreed} more must agree: ${wayOn(run, 'approve')}`;
  return [{ kind: 'run', event: 'ask', reason, dueInMs }];
}

const DRILL_LIFE_MS = 2 * 3_600_000;

function drillLife(mode: string, ttlMs: number | undefined): { dueInMs?: number } {
  return mode === 'drill' ? { dueInMs: ttlMs ?? DRILL_LIFE_MS } : {};
}

function awaitingApproval(view: RunView): Decision[] {
  const { run } = view;
  if (view.spoilt.length > 0) return [{ kind: 'run', event: 'fail', reason: spoiltReason(view) }];
  const isAgreed = (view.approvals.get('') ?? 0) >= run.approvalsNeeded;
  if (isAgreed && view.notYet === undefined) return [{ kind: 'run', event: 'go' }];
  if (!isAgreed && run.dueAt !== null && run.dueAt <= view.now) {
    const reason = `nobody approved in time; it still can be: ${wayOn(run, 'approve')}`;
    return [{ kind: 'run', event: 'pause', pause: 'approval', reason }];
  }
  return runningAhead(view);
}

function runningAhead(view: RunView): Decision[] {
  return [...goingOnAhead(view), ...starting(view, true)];
}

/** What was begun. */
function goingOnAhead(view: RunView): Decision[] {
  const ahead = view.steps.filter((step) => mayRunAhead(view, step.spec));
  return newsOf(view, ahead, { start: true, look: true });
}

function running(view: RunView): Decision[] {
  const { run } = view;
  if (run.mode === 'drill' && run.dueAt !== null && run.dueAt <= view.now) return overdueDrill();
  const news = newsOf(view, view.steps, { start: true, look: true });
  if (news.length > 0) return news;
  const trouble = troubleOf(view);
  if (trouble.length > 0) return trouble;
  const started = starting(view, false);
  if (started.length > 0) return started;
  const progress = progressOf(nodesOf(view));
  if (progress === 'finished') return [{ kind: 'run', event: 'steps-done' }];
  if (progress === 'going') return [];
  const failed = view.steps.filter((step) => hasFailed(step)).map((step) => step.id);
  const reason = `all that does not need ${failed.join(', ')} is done; mend that, then: ${wayOn(run, 'retry')}`;
  return [{ kind: 'run', event: 'pause', pause: 'stuck', reason }];
}

function overdueDrill(): Decision[] {
  return [{ kind: 'run', event: 'tidy', reason: 'the drill’s time (drill.ttl) was over' }];
}

function newsOf(view: RunView, steps: readonly StepRow[], allowed: Allowed): Decision[] {
  return steps.flatMap((step) => {
    if (step.spec.type === 'fence') return fenceNews(view, step);
    return stepNews(view, step, allowed);
  });
}

function starting(view: RunView, aheadOnly: boolean): Decision[] {
  const byId = new Map(view.steps.map((step) => [step.id, step]));
  const ids = startable(nodesOf(view), { parallel: view.plan.limits.parallel, aheadOnly });
  return ids.flatMap((id) => {
    const step = byId.get(id);
    return step === undefined ? [] : startDecisions(view, step);
  });
}

/** Something that the run can't go on with, as the plan wants it. */
function troubleOf(view: RunView): Decision[] {
  const lost = view.steps.find((step) => step.state === 'unknown');
  if (lost !== undefined && (isSettledUnknown(lost) || (lost.hostAwayMs ?? 0) > 0)) {
    return [
      { kind: 'run', event: 'pause', pause: 'unknown', reason: unknownReason(view.run, lost, isSettledUnknown(lost)) },
    ];
  }
  const failed = view.steps.find((step) => hasFailed(step) && step.spec.critical && !willRetry(step));
  if (failed === undefined || view.plan.onFailure === 'continue') return [];
  const late = failed.spec.type === 'approval' && failed.state === 'timed-out';
  if (view.plan.onFailure === 'rollback' && mayRollBack(view)) {
    return [{ kind: 'run', event: 'roll-back', reason: whatFailed(failed) }];
  }
  return [{ kind: 'run', event: 'pause', pause: late ? 'approval' : 'step', reason: failedReason(view.run, failed) }];
}

function willRetry(step: StepRow): boolean {
  return step.state === 'failed' && step.attempt < attemptsOf(step.spec);
}

/** Nobody was promoted by it yet: an epoch can't be taken back, and the old primary would serve beside the new one. */
export function mayRollBack({ run, serving }: RunView): boolean {
  return run.mode !== 'drill' && !(serving.epoch >= run.epoch && serving.primary === run.toHost);
}

function paused(view: RunView): Decision[] {
  const { run } = view;
  if (run.mode === 'drill' && run.dueAt !== null && run.dueAt <= view.now) return overdueDrill();
  const news = newsOf(view, view.steps, { start: false, look: run.pause === 'unknown' });
  if (news.length > 0) return news;
  if (run.pause === 'unknown' && !view.steps.some((step) => step.state === 'unknown')) {
    return [{ kind: 'run', event: 'go', reason: '' }];
  }
  return [];
}

function verifying(view: RunView): Decision[] {
  const { run, serving } = view;
  if (run.mode === 'drill') return [{ kind: 'run', event: 'tidy' }];
  if (hasFence(view) && (serving.primary !== run.toHost || serving.epoch !== run.epoch)) {
    return [{ kind: 'run', event: 'fail', reason: `epoch ${serving.epoch} has come meanwhile: another failover` }];
  }
  const remindAfter = view.plan.after?.commit.remindAfter;
  return [{ kind: 'run', event: 'served', ...(remindAfter === undefined ? {} : { dueInMs: remindAfter }) }];
}

function awaitingCommit({ run, plan, now }: RunView): Decision[] {
  const { policy, remindAfter } = plan.after?.commit ?? { policy: 'manual' };
  if (policy === 'automatic') return [{ kind: 'run', event: 'commit' }];
  const isDue = remindAfter !== undefined && run.dueAt !== null && run.dueAt <= now;
  return isDue ? [{ kind: 'remind', dueInMs: remindAfter }] : [];
}

export function hasFence(view: RunView): boolean {
  return view.steps.some((step) => step.spec.type === 'fence');
}

/** Only the one that stopped serving has something to be protected from. */
function committed(view: RunView): Decision[] {
  const wanted = hasFence(view) && view.plan.after?.reprotect !== 'manual';
  return [{ kind: 'run', event: wanted ? 'reprotect' : 'finish' }];
}

function rollingBack(view: RunView): Decision[] {
  const atWork = view.steps.filter((step) => isAtWork(step.state));
  const news = newsOf(view, atWork, { start: false, look: false });
  if (news.length > 0) return news;
  const stuck = view.steps.find((step) => step.phase === 'undo' && (hasFailed(step) || step.state === 'unknown'));
  if (stuck !== undefined) {
    return [{ kind: 'run', event: 'pause', pause: 'rollback', reason: stuckUndoReason(view.run, stuck) }];
  }
  const specs = new Map(view.steps.map((step) => [step.id, step.spec]));
  const ids = undoable(nodesOf(view), (id) => {
    const spec = specs.get(id);
    return spec !== undefined && canUndo(spec);
  });
  if (ids.length > 0) {
    return ids.map((step) => ({ kind: 'step', step, event: 'undo', phase: 'undo', dueInMs: 300_000 }));
  }
  return atWork.length > 0 ? [] : [{ kind: 'run', event: 'rolled-back' }];
}

const CLEANINGS_MAX = 3;

/** What a drill left is removed by its host; it goes on trying by itself after this gave up (the sandbox has an end of its own). */
function cleaning(view: RunView): Decision[] {
  const jobs = view.jobs.filter((job) => job.phase === 'close');
  if (jobs.some((job) => job.report === undefined)) {
    const late = view.run.dueAt !== null && view.run.dueAt <= view.now;
    const reason = `${view.run.toName} did not say that the sandbox is gone`;
    return late ? [{ kind: 'run', event: 'left-over', reason }] : [];
  }
  const last = jobs.at(-1)?.report;
  if (last?.state === 'ok') return [{ kind: 'run', event: view.run.reason === '' ? 'finish' : 'fail' }];
  if (jobs.length >= CLEANINGS_MAX) return [{ kind: 'run', event: 'left-over', reason: last?.message ?? '' }];
  // What still works in it ends with it.
  const atWork = view.steps.filter((step) => isAtWork(step.state));
  return [
    ...atWork.map((step): Decision => ({ kind: 'cancel-jobs', step: step.id })),
    { kind: 'sandbox', phase: 'close', round: jobs.length },
  ];
}

/** All that could be done is: for the run's times. */
export function allDone(steps: readonly StepRow[], which: (step: StepRow) => boolean): Date | undefined {
  const chosen = steps.filter(which);
  if (chosen.length === 0 || !chosen.every((step) => isDone({ state: step.state, critical: step.spec.critical })))
    return undefined;
  const finished = chosen.map((step) => step.finishedAt?.getTime() ?? 0);
  return new Date(Math.max(...finished));
}
