// Which paths of a continuous source may have changed, and when to back them up. Pure: time is an argument.
//
// Hazard: a tree that changes without pause must neither be backed up without pause nor wait for a quiet that never comes,
// and the list of its changes must not grow without bound.
//
// Invariants (change-collector.property.test.ts): K1 a noted path is covered by what is taken, itself or by a path above it
// or by `everything`; K2 no more than MAX_PATHS paths are held; K3 due no earlier than QUIET_MS after the first change, and
// no later than MAX_WAIT_MS after it; K4 taken paths are sorted and none is beneath another.

import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';

export interface Changes {
  readonly paths: ReadonlySet<ByteString>;
  /** Too many to name: everything has to be looked at. */
  readonly everything: boolean;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
}

export const QUIET_MS = 2000;
export const MAX_WAIT_MS = 6000;
export const MAX_PATHS = 10_000;

/** Adds paths of the manifest to what was noted before (undefined: nothing). */
export function noteChanges(
  changes: Changes | undefined,
  paths: Iterable<ByteString> | 'everything',
  nowMs: number,
): Changes {
  const firstAtMs = changes?.firstAtMs ?? nowMs;
  const everything = { paths: new Set<ByteString>(), everything: true, firstAtMs, lastAtMs: nowMs };
  if (paths === 'everything' || changes?.everything === true) return everything;
  const all = new Set(changes?.paths);
  for (const path of paths) {
    all.add(path);
    if (all.size > MAX_PATHS) return everything;
  }
  return { paths: all, everything: false, firstAtMs, lastAtMs: nowMs };
}

/** When to back up what was noted. */
export function dueAt(changes: Changes): number {
  return Math.min(changes.lastAtMs + QUIET_MS, changes.firstAtMs + MAX_WAIT_MS);
}

/** What a backup is told: sorted, none beneath another; undefined for everything. */
export function takenPaths(changes: Changes): ByteString[] | undefined {
  if (changes.everything || changes.paths.has('')) return undefined;
  const taken: ByteString[] = [];
  for (const path of [...changes.paths].toSorted(comparePaths)) {
    const last = taken.at(-1);
    if (last === undefined || !path.startsWith(`${last}/`)) taken.push(path);
  }
  return taken;
}

/** What a backup that failed had taken, together with what was noted since. */
export function giveBack(taken: Changes, since: Changes | undefined, nowMs: number): Changes {
  return noteChanges(since, taken.everything ? 'everything' : taken.paths, nowMs);
}
