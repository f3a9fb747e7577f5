// The catalog's row of an application's leases, and what may be done to it: each operation is one conditional statement.
//
// Hazard: two replicas of the controller share nothing but this row. What one of them only remembers, the other may have undone.
// So a grant is an operation that must succeed before it is sent, and a withdrawal names the last grant that it knows of.
//
// Invariants (decisions.test.ts): R1 nothing succeeds against a catalog of another identity (system id and timeline) than the one
// that was verified, but the verification, or a person's override of it; R2 after a withdrawal no grant succeeds; R3 `nextEpoch` is above every epoch that was ever
// ordered; R4 terms, serials and attempts only grow.

import type { HostId } from './messages.ts';

export type LeasePhase = 'open' | 'withdrawn' | 'ordered';

export interface LeaseRow {
  /** The catalog that both hosts reported to last. */
  readonly identity: string;
  readonly phase: LeasePhase;
  readonly primary: HostId;
  readonly standby: HostId;
  readonly epoch: number;
  readonly nextEpoch: number;
  readonly grantSeq: number;
  readonly attempt: number;
  readonly serial: number;
  /** The standing grant that binds the controller; 0: armed. */
  readonly disarmed: number;
  /** The standing grant that an ordered promotion carries. */
  readonly orderSerial: number;
  /** The ordered promotion is a person's, who has confirmed the fence. */
  readonly confirmed: boolean;
  /** This epoch came by an automatic failover: it has a holdoff. */
  readonly automatic: boolean;
  readonly driver: string;
  readonly term: number;
  /** Moved by the driver; a replica that sees it stand still takes over. */
  readonly beat: number;
  /**
   * A person's override after a restore left the epochs between these out: a host that served under one of them did so after the copy was
   * taken. 0 or absent: nobody overrode.
   */
  readonly skippedAbove?: number;
  readonly skippedBelow?: number;
}

export type RowOperation =
  | { readonly kind: 'grant'; readonly host: HostId; readonly epoch: number }
  | { readonly kind: 'beat'; readonly term: number }
  | { readonly kind: 'drive'; readonly fromTerm: number; readonly driver: string }
  | { readonly kind: 'disarm'; readonly term: number; readonly above: number }
  | { readonly kind: 'arm'; readonly term: number; readonly serial: number }
  | { readonly kind: 'withdraw'; readonly term: number; readonly grantSeq: number }
  | { readonly kind: 'resume'; readonly term: number; readonly attempt: number }
  | { readonly kind: 'order'; readonly term: number; readonly attempt: number }
  | { readonly kind: 'person-order'; readonly term: number }
  | { readonly kind: 'refused'; readonly term: number; readonly attempt: number }
  | { readonly kind: 'promoted'; readonly host: HostId; readonly epoch: number }
  | {
      readonly kind: 'verify';
      readonly term: number;
      readonly primary: HostId;
      readonly standby: HostId;
      readonly epoch: number;
      readonly nextEpoch: number;
      readonly above: number;
    }
  | {
      readonly kind: 'override';
      readonly term: number;
      /** Off, as a person vouches. */
      readonly dead: HostId;
      readonly survivor: HostId;
      readonly epoch: number;
      readonly nextEpoch: number;
      readonly above: number;
      /** The survivor served last, as its own record says: it goes on, under the new epoch. */
      readonly goesOn: boolean;
    };

type Apply<K extends RowOperation['kind']> = (
  row: LeaseRow,
  operation: Extract<RowOperation, { kind: K }>,
  actualIdentity: string,
) => LeaseRow | undefined;

const refused = (): undefined => undefined;

const always = { beat, drive, disarm, verify, override, 'person-order': personOrder } as const;

/** Every operation in every phase: the compiler demands each cell. */
const table: { readonly [P in LeasePhase]: { readonly [K in RowOperation['kind']]: Apply<K> } } = {
  open: { ...always, grant, arm, withdraw, resume: refused, order: refused, refused, promoted: refused },
  withdrawn: {
    ...always,
    grant: refused,
    arm: refused,
    withdraw: refused,
    resume: reopen,
    order,
    refused: reopen,
    promoted: refused,
    disarm: refused,
  },
  ordered: {
    ...always,
    grant: refused,
    arm: refused,
    withdraw: refused,
    resume: refused,
    order: refused,
    refused: reopen,
    promoted,
    disarm: refused,
  },
};

/**
 * The row after `operation`, or undefined when its condition does not hold: nothing is written then. `assumedIdentity` is the
 * catalog's that the caller's knowledge is of.
 */
export function applyToRow(
  row: LeaseRow,
  operation: RowOperation,
  assumedIdentity: string,
  actualIdentity: string,
): LeaseRow | undefined {
  if (assumedIdentity !== actualIdentity) return undefined;
  const free = ['verify', 'override', 'drive', 'beat'].includes(operation.kind);
  if (row.identity !== actualIdentity && !free) return undefined;
  const apply = table[row.phase][operation.kind] as Apply<RowOperation['kind']>;
  return apply(row, operation, actualIdentity);
}

function grant(row: LeaseRow, operation: { readonly host: HostId; readonly epoch: number }): LeaseRow | undefined {
  if (operation.host !== row.primary || operation.epoch !== row.epoch) return undefined;
  return { ...row, grantSeq: row.grantSeq + 1 };
}

function beat(row: LeaseRow, operation: { readonly term: number }): LeaseRow | undefined {
  return operation.term === row.term ? { ...row, beat: row.beat + 1 } : undefined;
}

function drive(row: LeaseRow, operation: { readonly fromTerm: number; readonly driver: string }): LeaseRow | undefined {
  if (operation.fromTerm !== row.term) return undefined;
  return { ...row, driver: operation.driver, term: row.term + 1, beat: row.beat + 1 };
}

/** A new number even when it is disarmed: the primary may have put an end to the old one. */
function disarm(row: LeaseRow, operation: { readonly term: number; readonly above: number }): LeaseRow | undefined {
  if (operation.term !== row.term) return undefined;
  const serial = Math.max(row.serial, operation.above) + 1;
  return { ...row, serial, disarmed: serial };
}

function arm(row: LeaseRow, operation: { readonly term: number; readonly serial: number }): LeaseRow | undefined {
  if (operation.term !== row.term || operation.serial !== row.disarmed) return undefined;
  // An arming is a grant's end: whoever watches the grants counts from here.
  return { ...row, disarmed: 0, grantSeq: row.grantSeq + 1 };
}

function withdraw(
  row: LeaseRow,
  operation: { readonly term: number; readonly grantSeq: number },
): LeaseRow | undefined {
  if (operation.term !== row.term || operation.grantSeq !== row.grantSeq || row.disarmed !== 0) return undefined;
  return { ...row, phase: 'withdrawn', attempt: row.attempt + 1 };
}

function order(row: LeaseRow, operation: { readonly term: number; readonly attempt: number }): LeaseRow | undefined {
  if (operation.term !== row.term || operation.attempt !== row.attempt) return undefined;
  return { ...row, phase: 'ordered', serial: row.serial + 1, orderSerial: row.serial + 1, confirmed: false };
}

/** A new attempt, so that an answer to the one before cannot end this one. */
function personOrder(row: LeaseRow, operation: { readonly term: number }): LeaseRow | undefined {
  if (operation.term !== row.term) return undefined;
  const serial = row.serial + 1;
  return { ...row, phase: 'ordered', attempt: row.attempt + 1, serial, orderSerial: serial, confirmed: true };
}

/** Nobody serves under the epoch that was meant, and nobody ever will: the attempt is refused or was never ordered. */
function reopen(row: LeaseRow, operation: { readonly term: number; readonly attempt: number }): LeaseRow | undefined {
  if (operation.term !== row.term || operation.attempt !== row.attempt) return undefined;
  return { ...row, phase: 'open' };
}

function promoted(row: LeaseRow, operation: { readonly host: HostId; readonly epoch: number }): LeaseRow | undefined {
  if (operation.host !== row.standby || operation.epoch !== row.nextEpoch) return undefined;
  return {
    ...row,
    phase: 'open',
    primary: row.standby,
    standby: row.primary,
    epoch: row.nextEpoch,
    nextEpoch: row.nextEpoch + 1,
    disarmed: row.orderSerial,
    automatic: !row.confirmed,
  };
}

function verify(
  row: LeaseRow,
  operation: Extract<RowOperation, { kind: 'verify' }>,
  actualIdentity: string,
): LeaseRow | undefined {
  if (operation.term !== row.term || row.identity === actualIdentity) return undefined;
  // What was disarmed after the copy was taken is unknown: it counts as disarmed until the primary shakes hands.
  const serial = Math.max(row.serial, operation.above) + 1;
  const { primary, standby, epoch, nextEpoch } = operation;
  return {
    ...row,
    identity: actualIdentity,
    phase: 'open',
    primary,
    standby,
    epoch,
    nextEpoch,
    serial,
    disarmed: serial,
    attempt: row.attempt + 1,
  };
}

/** In place of a verification: one host has reported, the other one never will. */
function override(
  row: LeaseRow,
  operation: Extract<RowOperation, { kind: 'override' }>,
  actualIdentity: string,
): LeaseRow | undefined {
  const { dead, survivor, epoch, nextEpoch, goesOn } = operation;
  const primary = dead;
  const standby = survivor;
  const verified = verify(row, { ...operation, kind: 'verify', primary, standby }, actualIdentity);
  if (verified === undefined) return undefined;
  const open: LeaseRow = { ...verified, skippedAbove: epoch, skippedBelow: nextEpoch };
  return goesOn ? personOrder(open, operation) : open;
}
