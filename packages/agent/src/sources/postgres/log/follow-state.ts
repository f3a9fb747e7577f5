// What is known of following one log, and what is reported of it. Pure: times are arguments.
//
// Invariants (follow-state.test.ts): F1 the lag in time is the age of the oldest commit that is not stored, or of the oldest moment
// at which more was written than is stored; F2 nothing is claimed of a server that is not heard, or that is not the one that was
// followed: then the lag is the time since it was known last.

import type { LogSlot, LogStatus, LogStream } from '@holdfast/shared/format/log-point';
import { positionOf } from './lsn.ts';

/** More than this behind is catching up. */
const CLOSE_BYTES = 16n * 1024n * 1024n;
/** What a server said last holds for this long: it is asked every few seconds. */
const HEARD_MS = 45_000;

export class FollowState {
  /** A follower is at work, from its slot on. */
  following = false;
  streaming = false;
  stream: LogStream | undefined;
  /** Everything of the stream up to here is in the vault. */
  stored: bigint | undefined;
  completeToMs = 0;
  slot: LogSlot | undefined;
  /** What the follower, the slot's watch and the bases have to say; '' or a sentence. */
  readonly notes = { follow: '', slot: '', base: '' };
  /** The end of the server's log, as heard last. */
  #serverEnd = 0n;
  /** Server's clock minus ours (monotonic), ms. */
  #clockOffsetMs: number | undefined;
  /** Commits that are not stored, by the end of their pieces, in order: when the first of each piece committed. */
  #waiting: { readonly end: bigint; readonly firstCommitAtMs: number }[] = [];
  /** Of the piece that is still open. */
  openFirstCommitAtMs: number | undefined;
  /** When the server's log was first seen beyond what is stored; monotonic, since a standby's clock is not known. */
  #aheadSinceMs: number | undefined;
  /** Where its log ended, as heard last, which may be before what was heard earlier; and when, monotonic. */
  #heard: { readonly end: bigint; readonly atMs: number } | undefined;
  /** Monotonic: up to then everything is known to be stored. Before anything is, since when it is asked for. */
  #knownToMs: number | undefined;

  get serverEnd(): bigint {
    return this.#serverEnd;
  }

  /** @param clockMs server's clock, where it is known */
  heard(end: bigint, clockMs: number | undefined, monotonicMs: number): void {
    if (clockMs !== undefined) this.#clockOffsetMs = clockMs - monotonicMs;
    this.#heard = { end, atMs: monotonicMs };
    if (end > this.#serverEnd) this.#serverEnd = end;
    if (this.stored !== undefined && this.#serverEnd > this.stored) this.#aheadSinceMs ??= monotonicMs;
  }

  /** Another stream, or the same one from another place. */
  began(stream: LogStream, stored: bigint, serverEnd: bigint): void {
    this.stream = stream;
    this.stored = stored;
    this.#serverEnd = serverEnd;
    this.#waiting = [];
    this.openFirstCommitAtMs = undefined;
    this.#aheadSinceMs = undefined;
  }

  cut(end: bigint, firstCommitAtMs: number | undefined): void {
    if (firstCommitAtMs !== undefined) this.#waiting.push({ end, firstCommitAtMs });
  }

  storedUpTo(end: bigint, monotonicMs: number): void {
    this.stored = end;
    let done = 0;
    while (done < this.#waiting.length && this.#waiting[done]!.end <= end) done++;
    if (done > 0) this.#waiting.splice(0, done);
    this.#aheadSinceMs = this.#serverEnd > end ? monotonicMs : undefined;
  }

  /** Bytes that the server has and the vault has not. */
  get lagBytes(): number {
    const lag = this.stored === undefined ? 0n : this.#serverEnd - this.stored;
    return lag > 0n ? Number(lag) : 0;
  }

  status(monotonicMs: number): LogStatus {
    const { stream, stored, slot, completeToMs } = this;
    const close = BigInt(this.lagBytes) <= CLOSE_BYTES;
    return {
      state: this.streaming ? (close ? 'following' : 'catching-up') : 'waiting',
      stream,
      stored: stored === undefined ? undefined : positionOf(stored),
      lagBytes: this.lagBytes,
      lagMs: Math.round(this.#lagMs(monotonicMs)),
      completeToMs,
      slot,
      note: [this.notes.follow, this.notes.slot, this.notes.base].filter((note) => note !== '').join('; '),
    };
  }

  #lagMs(monotonicMs: number): number {
    const measured = this.#measuredLagMs(monotonicMs);
    const { stored } = this;
    const heard = this.#heard !== undefined && monotonicMs - this.#heard.atMs <= HEARD_MS ? this.#heard : undefined;
    // A log that ends before what is stored of it is another history, and nothing of that is stored.
    const isKnown = heard !== undefined && stored !== undefined && (this.streaming || heard.end >= stored);
    if (isKnown) this.#knownToMs = monotonicMs - measured;
    this.#knownToMs ??= monotonicMs;
    return Math.max(measured, monotonicMs - this.#knownToMs);
  }

  #measuredLagMs(monotonicMs: number): number {
    const now = this.#serverNow(monotonicMs);
    const oldest = this.#waiting[0]?.firstCommitAtMs ?? this.openFirstCommitAtMs;
    if (oldest !== undefined && now !== undefined) return Math.max(0, now - oldest);
    // What was not received yet may hold commits.
    return this.#aheadSinceMs === undefined ? 0 : monotonicMs - this.#aheadSinceMs;
  }

  #serverNow(monotonicMs: number): number | undefined {
    return this.#clockOffsetMs === undefined ? undefined : monotonicMs + this.#clockOffsetMs;
  }
}
