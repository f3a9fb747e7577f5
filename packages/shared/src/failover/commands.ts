// What a host keeps on disk about who serves, and which commands it refuses because of it.
//
// Hazard: an order that was late, or comes from a controller that was replaced or from a catalog that was rolled back, is
// carried out once somebody else serves already. So a host keeps the highest numbers that it ever took, and takes nothing less.
//
// Invariants (decisions.test.ts): C1 neither term, epoch nor attempt of an accepted command is below what the disk holds;
// C2 an order of a catalog that was replaced is refused for ever.

import type { CommandNumbers, GranterId, HostId, HostReport } from './messages.ts';

export interface HostRecord {
  readonly host: HostId;
  readonly highestEpoch: number;
  /** The epoch under which this host served last; it serves again only while nothing higher is known. */
  readonly servingEpoch: number;
  /** As a holder: standing grants that it relies on, and the highest ended one, by granter. */
  readonly standing: Readonly<Record<GranterId, number>>;
  readonly ended: Readonly<Record<GranterId, number>>;
  /** As a granter: the last standing grant that it gave, and whether it still binds. */
  readonly serial: number;
  readonly disarmed: boolean;
  readonly term: number;
  /** The highest attempt that was accepted or refused for good. */
  readonly attempt: number;
  readonly catalog: string;
  readonly retiredCatalogs: readonly string[];
}

/** Replaced catalogs that a host remembers; restoring a catalog is a rare act of a person. */
const MAX_RETIRED = 64;

export function newHostRecord(host: HostId, catalog: string): HostRecord {
  return {
    host,
    highestEpoch: 0,
    servingEpoch: 0,
    standing: {},
    ended: {},
    serial: 0,
    disarmed: false,
    term: 0,
    attempt: 0,
    catalog,
    retiredCatalogs: [],
  };
}

export type Refusal = 'other catalog' | 'lower term' | 'lower epoch' | 'lower attempt';

/** Why a command is refused; undefined when it may be carried out. A promotion that was accepted already is answered before this. */
export function refuseCommand(record: HostRecord, command: CommandNumbers): Refusal | undefined {
  if (command.catalog !== record.catalog) return 'other catalog';
  if (command.term < record.term) return 'lower term';
  if (command.epoch <= record.servingEpoch || command.epoch < record.highestEpoch) return 'lower epoch';
  if (command.attempt <= record.attempt) return 'lower attempt';
  return undefined;
}

/** The record after an inquiry of `catalog`; the same object when there is nothing to write. A retired catalog stays retired. */
export function adoptCatalog(record: HostRecord, catalog: string): HostRecord {
  if (catalog === record.catalog || record.retiredCatalogs.includes(catalog)) return record;
  // The numbers begin anew with the catalog; the epoch never does.
  return {
    ...record,
    catalog,
    retiredCatalogs: [...record.retiredCatalogs, record.catalog].slice(-MAX_RETIRED),
    term: 0,
    attempt: 0,
  };
}

export function reportOf(record: HostRecord): HostReport {
  const { host, highestEpoch, servingEpoch, catalog } = record;
  const serial = Math.max(record.standing['controller'] ?? 0, record.ended['controller'] ?? 0);
  return { host, highestEpoch, servingEpoch, serial, catalog };
}
