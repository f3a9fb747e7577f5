// After the catalog was restored, or its PostgreSQL's system id or timeline changed: what is true is asked of the hosts.
//
// Hazard: a catalog of yesterday believes in yesterday's primary and yesterday's epoch. So it grants and orders nothing until
// both hosts reported; reporting binds a host to the new catalog, so that no order of the old one, however late, is taken after it.
//
// A host that is lost for good never reports. Then a person vouches that it is off, and the other one's word is enough.
//
// Invariants (decisions.test.ts): the next epoch is above every reported one; a host that serves the highest is the primary; after an override
// it is above every epoch that the lost host can have served under (simulation.test.ts removes that).

import type { LeaseRow, RowOperation } from './lease-row.ts';
import type { HostId, HostReport } from './messages.ts';

export interface VerifiedCatalog {
  readonly primary: HostId;
  readonly standby: HostId;
  readonly epoch: number;
  readonly nextEpoch: number;
  /** Serials of standing grants must be above this. */
  readonly above: number;
}

/** What the reports prove; undefined while a host is missing or still takes orders of another catalog. */
export function verifyCatalog(
  identity: string,
  hosts: readonly [HostId, HostId],
  reports: ReadonlyMap<HostId, HostReport>,
): VerifiedCatalog | undefined {
  const [first, second] = hosts.map((host) => reports.get(host));
  if (first === undefined || second === undefined) return undefined;
  if (first.catalog !== identity || second.catalog !== identity) return undefined;
  const highest = Math.max(first.highestEpoch, second.highestEpoch);
  const primary = second.servingEpoch > first.servingEpoch ? second : first;
  const standby = primary === first ? second : first;
  return {
    primary: primary.host,
    standby: standby.host,
    // A host that was told of a higher epoch serves under its own no more: then nobody does, and a person decides.
    epoch: primary.servingEpoch,
    nextEpoch: highest + 1,
    above: Math.max(first.serial, second.serial),
  };
}

/** Why automatic mode is refused on this catalog, for people; undefined when it is not. */
export function refuseAutomatic(catalog: { readonly synchronous: boolean }): string | undefined {
  if (catalog.synchronous) return undefined;
  return 'the catalog replicates asynchronously: after its own failover it may have forgotten a promotion that was ordered';
}

/**
 * How many epochs a person's override leaves out. Each is a promotion that the restored catalog may have forgotten, so a lost host that comes
 * back is always below, and one that served in between is recognised (split-brain.ts).
 */
export const OVERRIDE_GAP = 1000;

export type Override = Extract<RowOperation, { kind: 'override' }>;

/** Why a catalog can't be overridden now. */
export type NoOverride = 'verified' | 'not a host of it' | 'has reported' | 'the other one is silent';

/** What a person's word that `dead` is off makes of a restored catalog. Pure, like the rest. */
export function overrideCatalog(
  row: LeaseRow,
  identity: string,
  dead: HostId,
  reports: ReadonlyMap<HostId, HostReport>,
): Override | NoOverride {
  if (row.identity === identity) return 'verified';
  if (dead !== row.primary && dead !== row.standby) return 'not a host of it';
  const survivor = dead === row.primary ? row.standby : row.primary;
  // Both have reported: the next look goes on by itself.
  if (reports.get(dead)?.catalog === identity) return 'has reported';
  const report = reports.get(survivor);
  if (report?.catalog !== identity) return 'the other one is silent';
  const lost = reports.get(dead);
  const { highestEpoch, servingEpoch } = report;
  // An order that the row knows of may have been carried out.
  const ordered = row.phase === 'open' ? row.nextEpoch - 1 : row.nextEpoch;
  const highest = Math.max(ordered, highestEpoch, lost?.highestEpoch ?? 0);
  const goesOn = servingEpoch > 0 && servingEpoch === highestEpoch;
  return {
    kind: 'override',
    term: row.term,
    dead,
    survivor,
    epoch: goesOn ? servingEpoch : Math.max(row.epoch, highestEpoch, lost?.servingEpoch ?? 0),
    nextEpoch: highest + OVERRIDE_GAP,
    above: Math.max(report.serial, lost?.serial ?? 0),
    goesOn,
  };
}
