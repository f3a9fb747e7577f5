// What our slot may keep on the server, and when to let go of it. Pure.
//
// Hazard: a slot that nobody reads keeps every byte of log, until production's disk is full and its database stops. No backup is
// worth that: past the bound the slot is dropped, and a gap recorded.
//
// Hazard: a server that waits for us. One whose synchronous_standby_names matches our name confirms no commit before we have it.
//
// Invariants (slot-safety.test.ts): K1 past the bound the slot goes, whoever is to blame; K2 a small remainder on the server's own
// bound, or its disk, is told before it is too late; K3 every form of synchronous_standby_names that matches us is seen.

import { bytesInWords } from './start-plan.ts';

export interface SlotSight {
  /** What the server keeps for the slot, in bytes. */
  readonly retainedBytes: number;
  /** reserved | extended | unreserved | lost (pg_replication_slots.wal_status) */
  readonly walStatus: string;
  /** Until the server itself lets go of it; undefined: it sets no bound. */
  readonly safeBytes: number | undefined;
  readonly active: boolean;
}

export interface DiskSight {
  readonly sizeBytes: number;
  readonly freeBytes: number;
}

export const DEFAULT_KEEP_BYTES = 16 * 1024 ** 3;
const DISK_SHARE = 10;
/** Of the server's disk: below this much of free space nothing is kept for us that is worth mentioning. */
const LEAST_FREE_SHARE = 50;
const LITTLE_BYTES = 256 * 1024 ** 2;
const SMALL_SAFE_BYTES = 1024 ** 3;

/** @param setting what was asked for, in bytes @param disk of the server's log, when it can be seen from here */
export function keepBytes(setting: number | undefined, disk: DiskSight | undefined): number {
  if (setting !== undefined) return setting;
  return disk === undefined
    ? DEFAULT_KEEP_BYTES
    : Math.min(DEFAULT_KEEP_BYTES, Math.floor(disk.sizeBytes / DISK_SHARE));
}

export type SlotVerdict =
  | { readonly kind: 'keep'; readonly note: string }
  /** Drop the slot: production comes first. */
  | { readonly kind: 'let-go'; readonly reason: string }
  /** The server has let go of it: drop what is left of it. */
  | { readonly kind: 'lost'; readonly reason: string };

/** @param falling what is kept gets less: the log is being read faster than it is written. A new slot begins with what the server keeps anyway */
export function judgeSlot(slot: SlotSight, keep: number, disk: DiskSight | undefined, falling: boolean): SlotVerdict {
  const { retainedBytes, walStatus, safeBytes } = slot;
  if (walStatus === 'lost') {
    return {
      kind: 'lost',
      reason:
        'the server gave up our slot: more log was written than max_slot_wal_keep_size lets it keep, or nobody read it for too long',
    };
  }
  if (retainedBytes > keep && !falling) {
    return {
      kind: 'let-go',
      reason: `the slot was dropped: ${bytesInWords(retainedBytes)} of log were kept for it, and walKeep is ${bytesInWords(keep)}`,
    };
  }
  if (
    disk !== undefined &&
    disk.freeBytes < disk.sizeBytes / LEAST_FREE_SHARE &&
    retainedBytes > LITTLE_BYTES &&
    !falling
  ) {
    return {
      kind: 'let-go',
      reason: `the slot was dropped: ${bytesInWords(retainedBytes)} of log were kept for it, and the server's disk has ${bytesInWords(disk.freeBytes)} left`,
    };
  }
  if (
    safeBytes !== undefined &&
    (walStatus === 'unreserved' || safeBytes < Math.min(SMALL_SAFE_BYTES, retainedBytes))
  ) {
    return {
      kind: 'keep',
      note: `after ${bytesInWords(Math.max(0, safeBytes))} more of log the server drops what it keeps for us (max_slot_wal_keep_size)`,
    };
  }
  if (retainedBytes > keep / 2) {
    return {
      kind: 'keep',
      note: `${bytesInWords(retainedBytes)} of log are kept on the server for us; at ${bytesInWords(keep)} the slot is dropped`,
    };
  }
  return { kind: 'keep', note: '' };
}

/**
 * Whether synchronous_standby_names makes commits wait for a standby named `name`.
 * Source: PostgreSQL's syncrep_gram.y: a list of names, FIRST n (list), n (list), or ANY n (list); * matches all; case does not count.
 */
export function waitsForUs(standbyNames: string, name: string): boolean {
  const list = /^\s*(?:(?:first|any)?\s*\d+\s*)?\((.*)\)\s*$/is.exec(standbyNames)?.[1] ?? standbyNames;
  const names = list.match(/"(?:[^"]|"")*"|[^,\s]+/g) ?? [];
  return names.some((one) => {
    const bare = one.startsWith('"') ? one.slice(1, -1).replaceAll('""', '"') : one;
    return one === '*' || bare.toLowerCase() === name.toLowerCase();
  });
}
