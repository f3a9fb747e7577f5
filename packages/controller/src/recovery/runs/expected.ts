// Which failovers will begin by themselves a moment from now? What a run depends on may die with it, and be promoted seconds later.
//
// Hazard: a run that is held back for a failover that never comes. So a silence counts for a while only, where a verdict can still come of it,
// and never where nobody but a person promotes; and whoever waits has a patience of his own (turn.ts).
//
// Invariant (expected.test.ts; by what replicas see: failover/failover.db.test.ts): E1 a primary that was just heard, a controller that looks cut
// off, and a plan that can't be promoted by itself are not waited for.
//
// Pure.

import { FAILOVER_TIMING } from '@holdfast/shared/failover/timing';
import type { Plan } from '@holdfast/shared/recovery/plan';

import type { ApplicationLook } from '../contract.ts';

/** Two heartbeats were lost. Less than any suspicion takes: plans on one host may suspect it at different times. */
const SILENT_MS = 2 * FAILOVER_TIMING.renewMs;
/** From the suspicion to the promotion takes some twelve seconds; what takes longer than this doesn't come by itself. */
const VERDICT_MS = 60_000;

/** Whether it may be at all: a look at the plan's document decides. */
export function isSilent(look: ApplicationLook, nowMs: number): boolean {
  if (look.row.phase !== 'open') return true;
  const { lastSignOfLifeAt, suspectedAt, verdict } = look;
  if (verdict === 'isolated') return false;
  // Since this replica began, its primary may not have been heard at all.
  return (
    suspectedAt !== undefined || (lastSignOfLifeAt !== undefined && nowMs - lastSignOfLifeAt.getTime() >= SILENT_MS)
  );
}

/** @param nowMs the wall clock of the replica that looks */
export function isExpected({ detect }: Pick<Plan, 'detect'>, look: ApplicationLook, nowMs: number): boolean {
  if (!isSilent(look, nowMs)) return false;
  const { row, suspectedAt, lastSignOfLifeAt } = look;
  // It is on its way, whoever wanted it.
  if (row.phase !== 'open') return true;
  if (detect.mode === 'manual' || (detect.mode === 'automatic' && row.disarmed !== 0)) return false;
  const suspectAfterMs = Math.max(detect.suspectAfter ?? FAILOVER_TIMING.suspectAfterMs, SILENT_MS);
  const sinceMs = suspectedAt?.getTime() ?? (lastSignOfLifeAt?.getTime() ?? nowMs) + suspectAfterMs;
  return nowMs - sinceMs < VERDICT_MS;
}
