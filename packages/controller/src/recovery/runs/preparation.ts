// Preparations: while a primary is suspected, and nobody has been promoted, what may run ahead runs already. A preparation is a run in a state of
// its own, of all steps of the plan; the failover's run adopts it, row and all, so what was done is done, and what is being done goes on. Where
// the primary is heard again instead, it ends.
//
// Hazards: work on a standby for a network that hiccups, again and again; an installation that is killed in the middle because the primary is well;
// a failover that waits for what was meant to make it faster; and figures of failovers that were none.
//
// Invariants:
//   PR1 nothing but steps that preparesAhead() names is carried out, so nothing on another host than the standby, and nobody is promoted
//       (run-machine.property.test.ts);
//   PR2 of a plan at most one is live, and none begins beside another run (preparation.db.test.ts, as all that follow);
//   PR3 no failover waits for it: its run adopts it if it is of the same revision and direction, and else ends it;
//   PR4 when the primary is heard again it begins nothing any more, and ends: nothing of it is at work then. Only what is changing the host in that
//       moment may finish, within the time that the step has;
//   PR5 killed at any moment, another replica goes on with it, and applies nothing a second time that a probe finds done;
//   PR6 it is told to nobody, is no failover in any figure, and leaves no report; what it did, and what failed, stands in its rows;
//   PR7 the next one begins at the earliest 1, 2, 4 … 60 minutes after one that was for nothing.
//
// Pure. It begins in follow-suspicion.ts; its rows are those of runs.

import type { ApplicationLook } from '../contract.ts';
import { isAtWork } from './run-states.ts';
import type { Decision, RunRow, RunView } from './run-view.ts';

/** What decides whether it is still wanted. */
export interface Present {
  readonly look: ApplicationLook | undefined;
  /** The primary was heard of since it began, at whichever replica. */
  readonly isHeard: boolean;
  /** Of the plan, live, and it did not adopt this one. */
  readonly otherRun: 'real' | 'drill' | undefined;
}

export interface Needless {
  readonly reason: string;
  /** What is being changed on the host may finish. */
  readonly gently: boolean;
}

/** Undefined: it goes on. A replica that has just begun to drive knows of no suspicion yet: that alone ends nothing. */
export function whyNeedless(run: Pick<RunRow, 'fromHost' | 'fromName'>, present: Present): Needless | undefined {
  const { look, isHeard, otherRun } = present;
  if (otherRun !== undefined) return { reason: 'another run came', gently: otherRun === 'drill' };
  if (look === undefined) return undefined;
  if (look.splitBrain) return { reason: 'two hosts claim to serve', gently: false };
  if (look.row.primary !== run.fromHost) {
    // A promotion that came by itself gets its run, which adopts this one.
    return look.row.automatic ? undefined : { reason: `${run.fromName} is not the primary any more`, gently: true };
  }
  const isWell = look.verdict === 'alive' && isHeard;
  return isWell ? { reason: `${run.fromName} was heard again`, gently: true } : undefined;
}

/** PR4. */
export function endOf(view: RunView, { reason, gently }: Needless): Decision[] {
  return gently && changesHost(view) ? [] : [{ kind: 'run', event: 'cancel', reason }];
}

/** To kill an installation would leave the standby worse than it was. A host that is lost ends it, too: its job does not stay open. */
function changesHost({ steps, jobs }: RunView): boolean {
  return steps.some(
    ({ id, spec, state, phase }) =>
      spec.type === 'rebuild' &&
      isAtWork(state) &&
      phase === 'apply' &&
      jobs.some((job) => job.stepId === id && job.acknowledged && job.report === undefined),
  );
}

const MINUTE_MS = 60_000;
const REST_MAX_MS = 60 * MINUTE_MS;
/** A network that was quiet for so long is no flapping one. */
export const FORGOTTEN_AFTER_MS = 6 * 60 * MINUTE_MS;

/** PR7. @param ended when those that no failover adopted ended, newest first. Returns how long it is until the next may begin; 0: it may. */
export function restMs(ended: readonly Date[], now: Date): number {
  const lately = ended.filter((at) => now.getTime() - at.getTime() < FORGOTTEN_AFTER_MS);
  const [last] = lately;
  if (last === undefined) return 0;
  const rest = Math.min(REST_MAX_MS, MINUTE_MS * 2 ** Math.min(lately.length - 1, 10));
  return Math.max(0, last.getTime() + rest - now.getTime());
}
