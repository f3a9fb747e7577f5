// After the catalog was restored, or its PostgreSQL's system id or timeline changed: what is true is asked of the hosts.
//
// Hazard: a catalog of yesterday believes in yesterday's primary and yesterday's epoch. So it grants and orders nothing until
// both hosts reported; reporting binds a host to the new catalog, so that no order of the old one, however late, is taken after it.
//
// Invariants (decisions.test.ts): the next epoch is above every reported one; a host that serves the highest is the primary.

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
