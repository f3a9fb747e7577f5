// The bases that are being taken in this process, and who wants to hear of them: the guard that follows the source's log.
//
// Hazard: a base of one server in the history of another, when a source is set to another server while one runs. One registry a
// process, on its main thread.
//
// Invariants (base-registry.test.ts): BR1 a base ends when its source becomes another server, and no other does; BR2 whoever follows a
// source hears of each of its bases that is stored, whoever asked for it.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';

/** Of one base that is being taken. */
export interface BaseNotes {
  /** Aborted (FAILED_PRECONDITION) when the source is another server from now on, or none. */
  readonly signal: AbortSignal;
  /** It is in the vault. */
  stored(point: DatabasePoint): void;
  /** Whatever became of it. */
  end(): void;
}

interface RunningBase {
  readonly sourceId: string;
  readonly server: string;
  readonly abort: AbortController;
}

interface Follower {
  readonly server: string;
  readonly stored: (point: DatabasePoint) => void;
}

const running = new Set<RunningBase>();
const followers = new Map<string, Follower>();

/** @param server by which servers are told apart */
export function noteBase(sourceId: string, server: string): BaseNotes {
  const base: RunningBase = { sourceId, server, abort: new AbortController() };
  running.add(base);
  const now = followers.get(sourceId)?.server;
  if (now !== undefined) endBases(sourceId, (other) => other !== now);
  return {
    signal: base.abort.signal,
    stored: (point) => followers.get(sourceId)?.stored(point),
    end: () => void running.delete(base),
  };
}

/**
 * Takes a base, noted for as long as it takes, and heard of when it is in the vault. Throws what `take` does, and FAILED_PRECONDITION when
 * the source became another server meanwhile.
 * @param take is given when to stop, and says the point that the snapshot is committed with
 */
export async function takeBase<R>(
  sourceId: string,
  server: string,
  signal: AbortSignal,
  take: (signal: AbortSignal, pointIs: (point: DatabasePoint) => DatabasePoint) => Promise<R>,
): Promise<R> {
  const base = noteBase(sourceId, server);
  let committed: DatabasePoint | undefined;
  try {
    const report = await take(AbortSignal.any([signal, base.signal]), (point) => (committed = point));
    if (committed !== undefined) base.stored(committed);
    return report;
  } catch (error) {
    throw base.signal.aborted && !signal.aborted ? toHoldfastError(base.signal.reason) : error;
  } finally {
    base.end();
  }
}

export function isBaseRunning(sourceId: string): boolean {
  return [...running].some((base) => base.sourceId === sourceId);
}

/** Ends the bases of a source that are being taken from such servers. */
export function endBases(sourceId: string, isSuch: (server: string) => boolean): void {
  for (const base of running) {
    if (base.sourceId !== sourceId || !isSuch(base.server)) continue;
    base.abort.abort(new HoldfastError('FAILED_PRECONDITION', 'the source is not this server any more'));
  }
}

/**
 * A source is this server from now on, and its bases are heard of; those of another server end. One that follows it later takes the
 * place. Returns what ends it.
 */
export function followBases(sourceId: string, server: string, stored: Follower['stored']): () => void {
  endBases(sourceId, (other) => other !== server);
  const own: Follower = { server, stored };
  followers.set(sourceId, own);
  return () => {
    if (followers.get(sourceId) === own) followers.delete(sourceId);
  };
}
