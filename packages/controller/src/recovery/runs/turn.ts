// Whose turn is it? When a site is lost, many failovers are due at once: what others depend on comes first, then what matters most, a few
// at a time. Promotions don't wait for this: who serves is decided by leases; what waits is the work of the run behind it. Planned runs (a host
// that is emptied) take turns among each other, and behind every failover.
//
// Hazard: an order that becomes an outage. So nothing is held back for longer than PATIENCE_MS, whatever became of what it waits for;
// a run that waits for people holds no place, nor does a failover that is only expected; and of plans that depend on each other in a circle none
// waits for the other.
//
// Invariants (turn.property.test.ts): T1 of runs that wait at least one may begin while there is room; T2 of those whose patience lasts no more
// begin than make `atOnce` at work; T3 none begins before what it needs is back, or its patience is over; T4 who waited long enough begins; T5 no
// failover waits for a planned run.
//
// Pure. Which failovers are expected: expected.ts.

import { waitsFor } from '@holdfast/shared/recovery/depends-on';

import type { RunState } from './run-states.ts';

export interface DueRun {
  /** Unique among all. */
  readonly id: string;
  readonly plan: string;
  /** The lower, the sooner. */
  readonly priority: number;
  /** Names of plans. */
  readonly dependsOn: readonly string[];
  /** A person's own time: it waits for failovers, and none for it. */
  readonly planned: boolean;
  /** When it could have begun if it were alone: its last approval that was needed, or its making. */
  readonly sinceMs: number;
  /** waiting: it could begin. expected: its run will come a moment later. stands: it waits for people, or was given up. back: its application serves again. */
  readonly state: 'waiting' | 'expected' | 'at-work' | 'stands' | 'back';
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

/** Runs of one domain that work at the same time share the vault's disk and network. */
export const AT_ONCE = { default: 4, max: 64 } as const;
export const PATIENCE_MS = 600_000;

/** For people: why a run that waits may not begin yet; undefined: it may. `others` are the domain's other runs that are not over. */
export function whyNotYet(
  own: DueRun,
  others: readonly DueRun[],
  nowMs: number,
  atOnce: number = AT_ONCE.default,
): string | undefined {
  if (nowMs - own.sinceMs >= PATIENCE_MS) return undefined;
  const needed = stillNeeded(own, others);
  if (needed.length > 0) return `it comes after ${needed.join(', ')} (dependsOn), for at most ${PATIENCE_MINUTES} min`;
  const before = rivalsOf(own, others).filter(
    (other) =>
      other.state === 'at-work' ||
      (other.state === 'waiting' && comesBefore(other, own) && mayCount(other, own, others, nowMs)),
  );
  if (before.length < atOnce) return undefined;
  return `other runs come first (metadata.priority), ${atOnce} at a time, for at most ${PATIENCE_MINUTES} min`;
}

const PATIENCE_MINUTES = PATIENCE_MS / 60_000;

/** T5. */
function rivalsOf(own: DueRun, others: readonly DueRun[]): readonly DueRun[] {
  return own.planned ? others : others.filter(({ planned }) => !planned);
}

/** One that waits for a plan that it depends on takes no place from those that don't. */
function mayCount(other: DueRun, own: DueRun, others: readonly DueRun[], nowMs: number): boolean {
  if (nowMs - other.sinceMs >= PATIENCE_MS) return true;
  return stillNeeded(other, [own, ...others.filter(({ id }) => id !== other.id)]).length === 0;
}

/** Names of plans that are not back, and don't need this one themselves. */
function stillNeeded(own: DueRun, others: readonly DueRun[]): string[] {
  const open = rivalsOf(own, others).filter(({ state }) => state !== 'back');
  return waitsFor({ name: own.plan, dependsOn: own.dependsOn }, new Map(open.map((other) => [other.plan, other])));
}

function comesBefore(one: DueRun, other: DueRun): boolean {
  const byMode = Number(one.planned) - Number(other.planned);
  return (byMode || one.priority - other.priority || one.sinceMs - other.sinceMs || (one.id < other.id ? -1 : 1)) < 0;
}
