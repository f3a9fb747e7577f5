// Do two hosts claim what only one can have? Asked of what they report, by the controller that drives.
//
// Hazard: after a person's override (or a defect) both hosts serve, and everything looks well from each of them.
//
// Pure. Tested in decisions.test.ts.

import type { LeaseRow } from './lease-row.ts';
import type { HostId, HostReport } from './messages.ts';

/** Whether the reports contradict each other, or the row, in a way that no order of this catalog explains. */
export function claimsCollide(row: LeaseRow, identity: string, reports: ReadonlyMap<HostId, HostReport>): boolean {
  // Until it is verified, the catalog is the one that may be wrong.
  if (row.identity !== identity) return false;
  const first = reports.get(row.primary);
  const second = reports.get(row.standby);
  const highest = Math.max(first?.servingEpoch ?? 0, second?.servingEpoch ?? 0);
  // It served after the copy was taken that the catalog was restored from, and another host goes on from before.
  const { skippedAbove = 0, skippedBelow = 0 } = row;
  const forgotten = (epoch = 0): boolean => epoch > skippedAbove && epoch < skippedBelow;
  if (forgotten(first?.servingEpoch) || forgotten(second?.servingEpoch)) return true;
  const ordered = row.phase === 'open' ? row.epoch : row.nextEpoch;
  if (highest > ordered) return true;
  return first !== undefined && second !== undefined && highest > 0 && first.servingEpoch === second.servingEpoch;
}
