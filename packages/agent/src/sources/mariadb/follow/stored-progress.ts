// How far the log of each source is stored, within this process: a base that ends at a position waits here until the log has
// reached it, since the vault takes no base whose log it doesn't have.

import type { LogPosition, LogStream } from '@holdfast/shared/format/log-point';
import { sameStream } from '@holdfast/shared/format/log-point';

interface Progress {
  readonly stream: LogStream;
  readonly order: bigint;
}

const reached = new Map<string, Progress>();
const listeners = new Set<() => void>();

/** Said by a source's guard. */
export function noteStored(sourceId: string, stream: LogStream, end: LogPosition): void {
  reached.set(sourceId, { stream, order: end.order });
  for (const listener of listeners) listener();
}

/** The guard stands down. */
export function forgetStored(sourceId: string): void {
  reached.delete(sourceId);
  for (const listener of listeners) listener();
}

/** Resolves when the log is stored up to `position`, when another stream is followed, or when `signal` is aborted. */
export async function storedUpTo(
  sourceId: string,
  stream: LogStream,
  position: LogPosition,
  signal: AbortSignal,
): Promise<void> {
  const arrived = Promise.withResolvers<void>();
  const look = (): void => {
    const progress = reached.get(sourceId);
    // A guard that has yet to connect will come to this stream; one that follows another never will.
    const never = progress !== undefined && !sameStream(progress.stream, stream);
    if (never || signal.aborted || (progress !== undefined && progress.order >= position.order)) arrived.resolve();
  };
  listeners.add(look);
  signal.addEventListener('abort', look);
  try {
    look();
    await arrived.promise;
  } finally {
    listeners.delete(look);
    signal.removeEventListener('abort', look);
  }
}
