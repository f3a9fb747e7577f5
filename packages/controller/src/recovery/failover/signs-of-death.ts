// When the primary was last heard, suspected and declared dead, on this replica's wall clock: what a run's measured RTO begins with. And whether
// it is suspected now.
//
// Pure. Tested in signs-of-death.test.ts and failover.db.test.ts.

import type { ControllerSettings, ControllerState } from '@holdfast/shared/failover/controller-state';

import type { SignsOfDeath } from '../contract.ts';

export const NO_SIGNS: SignsOfDeath = {
  lastSignOfLifeAt: undefined,
  suspectedAt: undefined,
  declaredDeadAt: undefined,
};

/**
 * The witnesses had time to say a first word, and it is not this controller that looks cut off: after its restart all hosts are silent for a
 * while. Where a plan has no witnesses, nobody can tell that, and silence is enough.
 */
export function isSuspected({ verdict, round }: ControllerState, { witnesses }: ControllerSettings): boolean {
  return verdict === 'suspected' || verdict === 'dead' || (round !== undefined && witnesses.length === 0);
}

/** @param wallMs the wall clock at `nowMs` of the monotonic one */
export function followSigns(
  signs: SignsOfDeath,
  before: ControllerState,
  after: ControllerState,
  nowMs: number,
  wallMs: number,
): SignsOfDeath {
  let { lastSignOfLifeAt, suspectedAt, declaredDeadAt } = signs;
  if (after.primaryHeardMs !== before.primaryHeardMs && after.row !== undefined) {
    lastSignOfLifeAt = new Date(wallMs - (nowMs - after.primaryHeardMs));
  }
  if (after.round === undefined) {
    suspectedAt = undefined;
    declaredDeadAt = undefined;
  } else if (before.round === undefined) suspectedAt = new Date(wallMs);
  if (after.verdict === 'dead' && before.verdict !== 'dead') declaredDeadAt = new Date(wallMs);
  return { lastSignOfLifeAt, suspectedAt, declaredDeadAt };
}
