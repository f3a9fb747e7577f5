// What a run and a step may be, and what may become of them: one total table each. The compiler demands every cell.
//
// Hazard: an edge that nobody thought of, in the middle of a disaster: a failed run that goes on, a drill that is committed, a step that is
// applied after it was skipped. So every event in every state is written down here, and what is not allowed is refused.
//
// Invariants (run-machine.property.test.ts walks both tables):
//   RM1 a state that is an end has no way out, and every other one has a way to an end;
//   RM2 steps that change hosts are started in `running` alone (those that run ahead also before), undone in `rolling-back` alone;
//   RM3 a step that is ok, skipped or undone is never applied again.
//
// Pure. Which event is due is decided in scheduler.ts and run-machine.ts.

export const RUN_STATES = [
  /** No failover yet: what may run ahead does, while the primary is suspected. */
  'preparing',
  'prechecking',
  'awaiting-approval',
  'running',
  'paused',
  'verifying',
  'awaiting-commit',
  'committed',
  'reprotecting',
  'done',
  'cancelled',
  'rolling-back',
  'rolled-back',
  'failed',
  'split-brain-suspected',
  'cleaning',
  'clean-up-incomplete',
] as const;
export type RunState = (typeof RUN_STATES)[number];

export const RUN_EVENTS = [
  /** People have to agree first. */
  'ask',
  'go',
  'pause',
  'steps-done',
  /** The new primary serves, and that was looked at once more. */
  'served',
  'commit',
  'reprotect',
  'finish',
  /** Nothing was changed yet. */
  'cancel',
  'roll-back',
  'rolled-back',
  'fail',
  /** Two hosts claim epochs. */
  'freeze',
  /** A drill is over, however it went. */
  'tidy',
  'left-over',
] as const;
export type RunEvent = (typeof RUN_EVENTS)[number];

const no = undefined;
type RunTable = { readonly [S in RunState]: { readonly [E in RunEvent]: RunState | undefined } };

/** The end: nothing happens any more. */
const end = {
  ask: no,
  go: no,
  pause: no,
  'steps-done': no,
  served: no,
  commit: no,
  reprotect: no,
  finish: no,
  cancel: no,
  'roll-back': no,
  'rolled-back': no,
  fail: no,
  freeze: no,
  tidy: no,
  'left-over': no,
} as const;

const freeze = 'split-brain-suspected';
const RUNS: RunTable = {
  // The run that adopts it begins as every other one (start-run.ts).
  preparing: { ...end, cancel: 'cancelled' },
  prechecking: {
    ...end,
    ask: 'awaiting-approval',
    go: 'running',
    cancel: 'cancelled',
    fail: 'failed',
    freeze,
    tidy: 'cleaning',
  },
  'awaiting-approval': { ...end, go: 'running', pause: 'paused', cancel: 'cancelled', fail: 'failed', freeze },
  running: {
    ...end,
    pause: 'paused',
    'steps-done': 'verifying',
    'roll-back': 'rolling-back',
    fail: 'failed',
    freeze,
    tidy: 'cleaning',
  },
  paused: {
    ...end,
    ask: 'awaiting-approval',
    go: 'running',
    cancel: 'cancelled',
    'roll-back': 'rolling-back',
    fail: 'failed',
    freeze,
    tidy: 'cleaning',
  },
  verifying: { ...end, pause: 'paused', served: 'awaiting-commit', fail: 'failed', freeze, tidy: 'cleaning' },
  'awaiting-commit': { ...end, commit: 'committed', fail: 'failed', freeze },
  committed: { ...end, reprotect: 'reprotecting', finish: 'done', fail: 'failed', freeze },
  reprotecting: { ...end, finish: 'done', fail: 'failed', freeze },
  'rolling-back': { ...end, pause: 'paused', 'rolled-back': 'rolled-back', fail: 'failed', freeze },
  // A person found that it is settled, or gives it up.
  'split-brain-suspected': { ...end, pause: 'paused', fail: 'failed' },
  cleaning: { ...end, finish: 'done', fail: 'failed', 'left-over': 'clean-up-incomplete' },
  done: end,
  cancelled: end,
  'rolled-back': end,
  failed: end,
  'clean-up-incomplete': end,
};

export const STEP_STATES = [
  'pending',
  'ready',
  'dispatched',
  'running',
  'verifying',
  'waiting',
  'retrying',
  'ok',
  'failed',
  'timed-out',
  'skipped',
  'unknown',
  'undoing',
  'undone',
] as const;
export type StepState = (typeof STEP_STATES)[number];

export const STEP_EVENTS = [
  /** All that it needs is done. */
  'unblock',
  'dispatch',
  /** Its host has said that it began. */
  'begin',
  /** For a person, or for time to pass. */
  'wait',
  'applied',
  'succeed',
  'fail',
  'retry',
  'time-out',
  /** Nobody can tell what became of it. */
  'lose',
  'skip',
  'undo',
  'undone',
] as const;
export type StepEvent = (typeof STEP_EVENTS)[number];

type StepTable = { readonly [S in StepState]: { readonly [E in StepEvent]: StepState | undefined } };

const still = {
  unblock: no,
  dispatch: no,
  begin: no,
  wait: no,
  applied: no,
  succeed: no,
  fail: no,
  retry: no,
  'time-out': no,
  lose: no,
  skip: no,
  undo: no,
  undone: no,
} as const;

const atWork = { succeed: 'ok', fail: 'failed', 'time-out': 'timed-out', lose: 'unknown' } as const;
const STEPS: StepTable = {
  pending: { ...still, unblock: 'ready', skip: 'skipped' },
  ready: { ...still, dispatch: 'dispatched', wait: 'waiting', skip: 'skipped' },
  dispatched: { ...still, ...atWork, begin: 'running', applied: 'verifying' },
  running: { ...still, ...atWork, applied: 'verifying' },
  verifying: { ...still, ...atWork },
  waiting: { ...still, succeed: 'ok', fail: 'failed', 'time-out': 'timed-out', skip: 'skipped' },
  retrying: { ...still, dispatch: 'dispatched', wait: 'waiting', skip: 'skipped', undo: 'undoing' },
  // Half of it may have been done: what can be undone, is.
  failed: { ...still, retry: 'retrying', skip: 'skipped', undo: 'undoing' },
  'timed-out': { ...still, retry: 'retrying', skip: 'skipped', undo: 'undoing' },
  // Its host may still say what became of it.
  unknown: {
    ...still,
    applied: 'verifying',
    succeed: 'ok',
    fail: 'failed',
    retry: 'retrying',
    skip: 'skipped',
    undo: 'undoing',
  },
  ok: { ...still, undo: 'undoing' },
  undoing: { ...still, undone: 'undone', fail: 'failed', 'time-out': 'timed-out', lose: 'unknown' },
  skipped: still,
  undone: still,
};

/** Undefined: refused. */
export function nextRunState(state: RunState, event: RunEvent): RunState | undefined {
  return RUNS[state][event];
}

/** Undefined: refused. */
export function nextStepState(state: StepState, event: StepEvent): StepState | undefined {
  return STEPS[state][event];
}

const ENDS: ReadonlySet<RunState> = new Set(['done', 'cancelled', 'rolled-back', 'failed', 'clean-up-incomplete']);

export function isEnd(state: RunState): boolean {
  return ENDS.has(state);
}

/** It is on its way at a host, or at somebody's desk. */
export function isAtWork(state: StepState): boolean {
  return state === 'dispatched' || state === 'running' || state === 'verifying' || state === 'undoing';
}

/** What needs it may go on. */
export function isSettled(state: StepState): boolean {
  return state === 'ok' || state === 'skipped';
}

export function isRunState(text: string): text is RunState {
  return RUN_STATES.some((state) => state === text);
}
