// Whose turn is it? When a site is lost, many failovers are due at once: what others depend on comes first, then what matters most, a few
// at a time. Promotions don't wait for this: who serves is decided by leases; what waits is the work of the run behind it.
//
// Hazard: an order that becomes an outage. So nothing is held back for longer than PATIENCE_MS, whatever became of what it waits for;
// a run that waits for people holds no place; and of plans that depend on each other in a circle none waits for the other.
//
// Invariants (turn.property.test.ts): T1 of runs that wait at least one may begin while there is room; T2 of those that don't change no more
// than AT_ONCE are at work; T3 none begins before what it needs is back, or its patience is over; T4 who waited long enough begins.
//
// Pure.

import type { RunState } from './run-states.ts';

export interface DueRun {
  readonly id: string;
  readonly plan: string;
  /** The lower, the sooner. */
  readonly priority: number;
  /** Names of plans. */
  readonly dependsOn: readonly string[];
  readonly startedAtMs: number;
  /** waiting: it could begin. stands: it waits for people, or was given up. back: its application serves again. */
  readonly state: 'waiting' | 'at-work' | 'stands' | 'back';
}

const TURN: Readonly<Partial<Record<RunState, DueRun['state']>>> = {
  prechecking: 'waiting',
  'awaiting-approval': 'stands',
  running: 'at-work',
  verifying: 'at-work',
  'rolling-back': 'at-work',
  paused: 'stands',
  'split-brain-suspected': 'stands',
};

/** @param isAgreed as many people said yes as are needed */
export function turnOf(state: RunState, isAgreed: boolean): DueRun['state'] {
  return state === 'awaiting-approval' && isAgreed ? 'waiting' : (TURN[state] ?? 'back');
}

/** Failovers of one domain that work at the same time: they share the vault's disk and network. */
export const AT_ONCE = 4;
export const PATIENCE_MS = 600_000;

/** For people: why a run that waits may not begin yet; undefined: it may. `others` are the domain's other failovers that are not over. */
export function whyNotYet(own: DueRun, others: readonly DueRun[], nowMs: number): string | undefined {
  if (nowMs - own.startedAtMs >= PATIENCE_MS) return undefined;
  const needed = stillNeeded(own, others);
  if (needed.length > 0) return `it comes after ${needed.join(', ')} (dependsOn), for at most ${PATIENCE_MINUTES} min`;
  const before = others.filter(
    (other) =>
      other.state === 'at-work' ||
      (other.state === 'waiting' && comesBefore(other, own) && mayCount(other, own, others, nowMs)),
  );
  if (before.length < AT_ONCE) return undefined;
  return `other failovers come first (metadata.priority), ${AT_ONCE} at a time, for at most ${PATIENCE_MINUTES} min`;
}

const PATIENCE_MINUTES = PATIENCE_MS / 60_000;

/** One that waits for a plan that it depends on takes no place from those that don't. */
function mayCount(other: DueRun, own: DueRun, others: readonly DueRun[], nowMs: number): boolean {
  if (nowMs - other.startedAtMs >= PATIENCE_MS) return true;
  return stillNeeded(other, [own, ...others.filter(({ id }) => id !== other.id)]).length === 0;
}

/** Names of plans that are not back, and don't need this one themselves. */
function stillNeeded(own: DueRun, others: readonly DueRun[]): string[] {
  const due = new Map(others.filter(({ state }) => state !== 'back').map((other) => [other.plan, other]));
  const needed = own.dependsOn.filter((name) => name !== own.plan && due.has(name) && !needs(name, own.plan, due));
  return [...new Set(needed)].toSorted();
}

function needs(name: string, wanted: string, due: ReadonlyMap<string, DueRun>): boolean {
  const seen = new Set<string>();
  const open = [name];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (next === wanted) return true;
    if (seen.has(next)) continue;
    seen.add(next);
    open.push(...(due.get(next)?.dependsOn ?? []));
  }
  return false;
}

function comesBefore(one: DueRun, other: DueRun): boolean {
  return (one.priority - other.priority || one.startedAtMs - other.startedAtMs || (one.id < other.id ? -1 : 1)) < 0;
}
