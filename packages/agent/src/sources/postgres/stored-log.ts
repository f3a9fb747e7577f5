// How far each source's log is stored, for whoever must wait for it: a base commits only after the log up to its end is in the vault.
//
// Hazard: a wait that can't end. Without a follower nothing will ever be stored, and what lies in a gap never will be: both are
// errors at once. One registry a process; follower and waiters run on its main thread.
//
// Invariants (stored-log.test.ts): L1 a wait ends when its position is stored, at once when it is already; L2 it fails when a gap
// covers the position, when no log is followed, or when its signal says so; nothing is left behind.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { sameStream, type LogPosition, type LogStream } from '@holdfast/shared/format/log-point';

interface Waiter {
  readonly stream: LogStream;
  readonly position: LogPosition;
  resolve(): void;
  reject(error: HoldfastError): void;
}

interface Followed {
  readonly stored: { readonly stream: LogStream; end: bigint }[];
  readonly waiters: Set<Waiter>;
}

/** Of one source that is followed. */
export interface StoredLogNotes {
  /** Everything of `stream` up to `end` is stored, from the beginning of its newest run on. */
  stored(stream: LogStream, end: bigint): void;
  /** Nobody has what lies between. */
  gap(stream: LogStream, start: bigint, end: bigint): void;
  /** The log is not followed any more. */
  stop(): void;
}

/** A stream for each timeline that a source had lately. */
const STREAMS_MAX = 8;
const followed = new Map<string, Followed>();

/** Says that the log of a source is followed from now on. A newer one for the same source takes its place. */
export function noteStoredLog(sourceId: string): StoredLogNotes {
  const own: Followed = { stored: [], waiters: followed.get(sourceId)?.waiters ?? new Set() };
  followed.set(sourceId, own);
  return {
    stored(stream, end) {
      const known = own.stored.find((one) => sameStream(one.stream, stream));
      if (known === undefined) own.stored.unshift({ stream, end });
      else if (known.end < end) known.end = end;
      own.stored.length = Math.min(own.stored.length, STREAMS_MAX);
      for (const waiter of own.waiters) if (isStored(own, waiter)) waiter.resolve();
    },
    gap(stream, start, end) {
      for (const waiter of own.waiters) {
        const lost = sameStream(waiter.stream, stream) && waiter.position.order > start && waiter.position.order <= end;
        if (lost) waiter.reject(lostIn(waiter.position));
      }
    },
    stop() {
      if (followed.get(sourceId) !== own) return;
      followed.delete(sourceId);
      for (const waiter of own.waiters) waiter.reject(notFollowed());
    },
  };
}

/**
 * Resolves when everything up to `position` of a source's log is in the vault.
 * Throws FAILED_PRECONDITION (its log is not followed, or was lost there), CANCELLED.
 */
export async function waitUntilStored(
  sourceId: string,
  stream: LogStream,
  position: LogPosition,
  signal: AbortSignal,
): Promise<void> {
  const own = followed.get(sourceId);
  if (own === undefined) throw notFollowed();
  if (signal.aborted) throw cancelled();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const waiter: Waiter = { stream, position, resolve, reject };
  if (isStored(own, waiter)) return;
  const abort = (): void => reject(cancelled());
  own.waiters.add(waiter);
  signal.addEventListener('abort', abort, { once: true });
  try {
    await promise;
  } finally {
    own.waiters.delete(waiter);
    signal.removeEventListener('abort', abort);
  }
}

function isStored(own: Followed, { stream, position }: Waiter): boolean {
  return own.stored.some((one) => sameStream(one.stream, stream) && one.end >= position.order);
}

function notFollowed(): HoldfastError {
  return new HoldfastError(
    'FAILED_PRECONDITION',
    'the log of this source is not followed, so nothing of it gets stored',
  );
}

function lostIn(position: LogPosition): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', `the log around ${position.text} was lost before it was stored`);
}

function cancelled(): HoldfastError {
  return new HoldfastError('CANCELLED', 'cancelled while waiting for the log to be stored');
}
