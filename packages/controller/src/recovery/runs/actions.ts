// What people may do to a run: approve, pause, resume, skip, retry, abort, rollback, commit, confirm-fence, done, end-ahead. Pure.
//
// Hazard: a word said too late, to a run that has moved on meanwhile. So an action is held against the rows as they are when it is written,
// and refused with what is the case instead.
//
// Invariants (actions.test.ts): AC1 a fence is never skipped; AC2 nothing is rolled back or aborted once the new primary serves; AC3 only what a
// person can know is taken from a person: a fence of an unplanned run, a manual step; AC4 who means to end a preparation ends no failover: its run has
// the same id, so each has a word of its own.

import { HoldfastError } from '@holdfast/shared/base/errors';

import { fenceQuestion } from './fence-machine.ts';
import { mayRollBack } from './run-machine.ts';
import { isAtWork, isEnd } from './run-states.ts';
import type { Decision, RunView, StepRow } from './run-view.ts';
import { hasFailed } from './scheduler.ts';

export const ACTIONS = [
  'approve',
  'pause',
  'resume',
  'skip',
  'retry',
  'abort',
  'rollback',
  'commit',
  'confirm-fence',
  'done',
  'end-ahead',
] as const;
export type Action = (typeof ACTIONS)[number];

export interface Act {
  readonly action: Action;
  /** '': the run, or the one that waits. */
  readonly step: string;
  readonly reason: string;
  /** operator NAME */
  readonly actor: string;
}

export interface ActResult {
  readonly decisions: readonly Decision[];
  /** The step ('' the run) that the actor agrees to. */
  readonly approves?: string;
}

/** Throws FAILED_PRECONDITION when the run is not where this can be done, NOT_FOUND for a step that there is not, USAGE. */
export function actOn(view: RunView, act: Act): ActResult {
  const { run } = view;
  if (isEnd(run.state)) throw refused(`the run is over: ${run.state}`);
  switch (act.action) {
    case 'approve':
      return approve(view, act);
    case 'pause':
      return { decisions: [{ kind: 'run', event: 'pause', pause: 'operator', reason: because('paused', act) }] };
    case 'resume':
      return { decisions: resume(view) };
    case 'skip':
      return { decisions: skip(view, act) };
    case 'retry':
      return { decisions: retry(view, act) };
    case 'abort':
      return { decisions: abort(view, act) };
    case 'rollback':
      return { decisions: rollBack(view, act) };
    case 'commit':
      if (run.state !== 'awaiting-commit') throw refused(`the run is ${run.state}: there is nothing to commit yet`);
      return { decisions: [{ kind: 'run', event: 'commit' }] };
    case 'confirm-fence':
      return { decisions: confirmFence(view) };
    case 'end-ahead':
      return { decisions: endAhead(view, act) };
    default:
      return { decisions: [tick(view, act)] };
  }
}

function approve(view: RunView, act: Act): ActResult {
  const { run, steps } = view;
  const runWaits = run.state === 'awaiting-approval' || awaitsApproval(view);
  if (act.step === '' && runWaits) {
    return { approves: '', decisions: run.state === 'paused' ? [{ kind: 'run', event: 'ask', reason: '' }] : [] };
  }
  const open = steps.filter((step) => step.spec.type === 'approval' && (step.state === 'waiting' || hasFailed(step)));
  const step = chosen(view, open, act.step, 'nothing waits for approval');
  if (step.state === 'waiting') return { approves: step.id, decisions: [] };
  return { approves: step.id, decisions: [again(step), ...goOn(view)] };
}

/** It was paused before people had agreed to it. */
function awaitsApproval({ run }: RunView): boolean {
  return run.state === 'paused' && run.approvalsNeeded > 0 && run.approvedAt === null;
}

function resume(view: RunView): Decision[] {
  const { run, steps } = view;
  if (run.state === 'split-brain-suspected') {
    const reason = 'two hosts claimed to serve: make sure that one does, then resume';
    return [{ kind: 'run', event: 'pause', pause: 'operator', reason }];
  }
  if (run.state !== 'paused') throw refused(`the run is ${run.state}, not paused`);
  if (awaitsApproval(view)) {
    return [{ kind: 'run', event: 'ask', reason: '', dueInMs: view.plan.approvals?.timeout ?? 600_000 }];
  }
  if (run.pause === 'rollback') {
    const stuck = steps.filter((step) => step.phase === 'undo' && (hasFailed(step) || step.state === 'unknown'));
    return [
      { kind: 'run', event: 'roll-back', reason: '' },
      ...stuck.map((step): Decision => {
        return { kind: 'step', step: step.id, event: 'undo', phase: 'undo', dueInMs: 300_000 };
      }),
    ];
  }
  const fence = steps.find((step) => step.spec.type === 'fence' && isAtWork(step.state));
  const asked: Decision[] =
    run.pause === 'fence' && fence !== undefined
      ? [{ kind: 'facts', step: fence.id, facts: { primary: '', script: '' } }]
      : [];
  return [...asked, ...steps.filter(needsPerson).map(again), { kind: 'run', event: 'go', reason: '' }];
}

function needsPerson(step: StepRow): boolean {
  return step.state === 'unknown' || (hasFailed(step) && step.spec.critical);
}

function again(step: StepRow): Decision {
  return { kind: 'step', step: step.id, event: 'retry', dueInMs: 0 };
}

/** What paused the run is being dealt with; a person's own pause stays. */
function goOn({ run }: RunView): Decision[] {
  const isOver = run.state === 'paused' && ['step', 'unknown', 'approval', 'stuck'].includes(run.pause);
  return isOver ? [{ kind: 'run', event: 'go', reason: '' }] : [];
}

/** What the old primary held, and can't be taken from it: a person gives it up, or has it tried again. */
function divergedAgain(view: RunView, act: Act): Decision[] {
  const { diverged } = view.run;
  const open = view.plan.sources.filter((name) => {
    return diverged[name]?.state !== 'taken' && (act.step === '' || act.step === name);
  });
  if (open.length === 0) throw refused('nothing of the old primary is still to be kept');
  return open.map((source): Decision => {
    const nothing = { jobId: '', snapshotId: '' };
    const snapshot =
      act.action === 'skip'
        ? { ...nothing, state: 'skipped' as const, message: because('given up', act) }
        : { ...nothing, state: 'failed' as const, message: '' };
    return { kind: 'diverged', source, snapshot };
  });
}

function skip(view: RunView, act: Act): Decision[] {
  if (view.run.state === 'reprotecting') return divergedAgain(view, act);
  const open = view.steps.filter((step) => needsPerson(step) || step.state === 'waiting');
  const step = chosen(view, act.step === '' ? open : view.steps, act.step, 'no step has failed or waits');
  if (step.spec.type === 'fence') {
    throw refused('a fence can’t be skipped: two hosts would serve', 'Confirm it with: holdfast run confirm-fence');
  }
  const report = { message: because('skipped', act) };
  return [
    { kind: 'cancel-jobs', step: step.id },
    { kind: 'step', step: step.id, event: 'skip', report },
    ...goOn(view),
  ];
}

function retry(view: RunView, act: Act): Decision[] {
  if (view.run.state === 'reprotecting') return divergedAgain(view, act);
  const open = view.steps.filter((step) => step.state === 'unknown' || hasFailed(step));
  if (act.step === '' && open.length > 0) return [...open.map(again), ...goOn(view)];
  return [again(chosen(view, open, act.step, 'no step has failed')), ...goOn(view)];
}

/** AC4. */
function endAhead(view: RunView, act: Act): Decision[] {
  const { run } = view;
  if (run.state === 'preparing')
    return [...atWorkStopped(view), { kind: 'run', event: 'cancel', reason: because('ended', act) }];
  throw refused(
    `this is the ${run.mode} run itself, not what runs ahead of one`,
    `See: holdfast run show ${run.id.slice(0, 8)}`,
  );
}

function abort(view: RunView, act: Act): Decision[] {
  const { run } = view;
  const reason = because('aborted', act);
  const stop = atWorkStopped(view);
  if (run.mode === 'drill') return [...stop, { kind: 'run', event: 'tidy', reason }];
  switch (run.state) {
    case 'preparing':
      throw refused(
        'nothing fails over yet: this is what runs ahead of it',
        `End that: holdfast run end-ahead ${run.id.slice(0, 8)}`,
      );
    case 'prechecking':
    case 'awaiting-approval':
      return [...stop, { kind: 'run', event: 'cancel', reason }];
    case 'awaiting-commit':
    case 'committed':
    case 'reprotecting':
      throw refused(
        `${run.toName} serves already`,
        'Go back with a planned run: holdfast plan run PLAN --mode planned',
      );
    default:
      return [...stop, { kind: 'run', event: 'fail', reason }];
  }
}

function rollBack(view: RunView, act: Act): Decision[] {
  const reason = because('rolled back', act);
  if (view.run.mode === 'drill') return abort(view, act);
  if (!mayRollBack(view)) {
    throw refused(
      `${view.run.toName} is the primary already: its epoch can’t be taken back`,
      'Go back with a planned run: holdfast plan run PLAN --mode planned',
    );
  }
  return [{ kind: 'run', event: 'roll-back', reason }];
}

function confirmFence(view: RunView): Decision[] {
  const { run, steps } = view;
  const fence = steps.find((step) => step.spec.type === 'fence' && isAtWork(step.state));
  if (fence === undefined) throw refused('no fence waits for anybody');
  if (run.fenceProof !== '') throw refused(`the fence is proven already: ${run.fenceProof}`);
  if (run.mode === 'planned') {
    throw refused('in a planned run the primary says itself that it stopped', 'Abort it, and start an unplanned run.');
  }
  const proof: Decision = { kind: 'proof', proof: 'person' };
  return run.state === 'paused' && run.pause === 'fence' ? [proof, { kind: 'run', event: 'go', reason: '' }] : [proof];
}

function tick(view: RunView, act: Act): Decision {
  const open = view.steps.filter((step) => step.spec.type === 'manual' && step.state === 'waiting');
  const step = chosen(view, open, act.step, 'no manual step waits');
  return { kind: 'step', step: step.id, event: 'succeed', report: { message: because('done', act) } };
}

/** The named one of `open`, or the only one. */
function chosen(view: RunView, open: readonly StepRow[], id: string, none: string): StepRow {
  if (id !== '') {
    const named = view.steps.find((step) => step.id === id);
    if (named === undefined) throw new HoldfastError('NOT_FOUND', `the run has no step "${id.slice(0, 80)}"`);
    if (!open.includes(named)) throw refused(`"${id}" is ${named.state}`);
    return named;
  }
  const [first, second] = open;
  if (first === undefined) throw refused(view.run.pause === 'fence' ? fenceQuestion(view) : none);
  if (second !== undefined) {
    throw new HoldfastError('USAGE', 'there are several steps: name one', {
      hint: `One of: ${open.map((step) => step.id).join(', ')}`,
    });
  }
  return first;
}

function atWorkStopped({ steps }: RunView): Decision[] {
  return steps.filter((step) => isAtWork(step.state)).map((step): Decision => ({ kind: 'cancel-jobs', step: step.id }));
}

function because(what: string, { actor, reason }: Act): string {
  return `${what} by ${actor}${reason === '' ? '' : `: ${reason}`}`;
}

function refused(message: string, hint = ''): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', message, { hint });
}
