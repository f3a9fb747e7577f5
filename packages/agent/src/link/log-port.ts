// A database's log, to and from the vault, in the agent's own types. log-session.ts and log-read-session.ts implement this over
// vault.proto; an engine's test may implement it in memory (testing/memory-log.ts).

import type { LogEnd, LogGap, LogRange, LogStream } from '@holdfast/shared/format/log-point';

export interface LogClient {
  /**
   * Opens the one stream that stores a source's log; a newer one ends it. Throws NOT_FOUND, UNREACHABLE, CANCELLED.
   */
  openLog(request: { readonly sourceId: string; readonly signal: AbortSignal }): Promise<LogSession>;
  /** Opens reads under a log grant. Throws NOT_ALLOWED. */
  openLogRead(grant: Uint8Array, options: { readonly signal: AbortSignal }): Promise<LogReadSession>;
}

/** A log segment that was sealed (object kind 4). */
export interface SealedLogSegment {
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
  readonly range: LogRange;
}

/**
 * Stores segments in order. It is not mended beneath: when the connection breaks every pending and later call throws
 * UNREACHABLE, and the engine opens a new one and goes on from what that says is stored.
 */
export interface LogSession {
  /** Of every stream that the source ever had, newest first: where to go on. */
  readonly ends: readonly LogEnd[];
  /** No committed base from which the newest stream can be replayed to its end. */
  readonly baseNeeded: boolean;
  readonly windowBytes: number;
  /** Resolves when the next may be sent (the window has room), not when it is stored. Calls may not overlap. */
  send(segment: SealedLogSegment): Promise<void>;
  /** Resolves when it is durable: the vault will refuse points within it, and say so. */
  gap(gap: LogGap): Promise<void>;
  /** Called with the number of segments and gaps, in the order sent, that are durable. */
  onStored: (count: number) => void;
  /** Rejects with what ended the session; resolves only after `close`. */
  ended(): Promise<void>;
  close(): void;
}

export interface ListedSegment {
  readonly id: Uint8Array;
  readonly range: LogRange;
  /** Bytes of the envelope. */
  readonly length: number;
}

/** A segment as it was served, whole. Its id is *claimed*: `open` checks it against the bytes. */
export interface ServedSegment {
  readonly id: Uint8Array;
  readonly envelope: Buffer<ArrayBuffer>;
}

/** A broken connection is mended beneath. */
export interface LogReadSession {
  /** Segments that overlap [start, end) of a stream, in order, and its files; what a merged one replaced is left out. */
  list(stream: LogStream, start: bigint, end: bigint | undefined): AsyncIterable<ListedSegment>;
  /** At most 64, answered in this order. Throws DAMAGED (named) for one that the vault can't serve. */
  fetch(ids: readonly Uint8Array[]): AsyncIterable<ServedSegment>;
  close(): void;
}
