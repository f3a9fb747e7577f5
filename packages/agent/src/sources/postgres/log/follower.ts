// Follows a server's log into the vault: one connection, one session of the vault, until either of them ends.
//
// Hazard: an acknowledgement too early. What the server is told to be flushed it forgets; so that is only what the vault has
// stored. Hazard: silence. A server whose standby does not answer within wal_sender_timeout ends the connection; so a status goes
// out on time, also while nothing is read because the vault is slow.
//
// Invariants (guard.db.test.ts): R1 what is stored is the server's log, byte for byte, each byte once; R2 the server is never
// told of more than is stored; R3 at most HELD_BYTES_MAX and one message are held; R4 another timeline begins with its own file,
// after everything of the one before is stored; R5 a log goes on only where the server has the bytes that are stored before.
//
// Elsewhere on purpose: where to begin (start-plan.ts), when to begin again (guard.ts).

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogRange, LogStream } from '@holdfast/shared/format/log-point';
import type { Timer } from '@holdfast/shared/runtime/clock';
import { Completeness } from './completeness.ts';
import { statusUpdate, type ServerMessage } from './copy-messages.ts';
import type { FollowerDeps } from './follower-deps.ts';
import { emptyRange, rangeOfPiece } from './log-ranges.ts';
import { fileStart } from './lsn.ts';
import { TailCheck, tailOf, TailKeeper } from './log-tail.ts';
import { PieceCutter, type Piece } from './piece-cutter.ts';
import { PieceMerger, type StoredPiece } from './piece-merger.ts';
import type { LogStreaming } from './server-connection.ts';
import { beginSession, readFromOf, storeHistory, tailBefore, type SessionStart } from './session-start.ts';
import type { SealedBytes } from './vault-writer.ts';
import { WalReader } from './wal-reader.ts';

export const HELD_BYTES_MAX = 16 * 1024 * 1024;
export const PIECE_BYTES = 1024 * 1024;
/** While far behind: a file is then four pieces, and need not be merged. */
const PIECE_BYTES_BEHIND = 4 * 1024 * 1024;
const BEHIND_BYTES = 32n * 1024n * 1024n;
export const PIECE_MS = 250;
/** What was stored is acknowledged within this, in one message. */
const ACKNOWLEDGE_MS = 100;
/** How often the time up to which the log is complete is stored while nothing is written; and soon after something was. */
const COMPLETE_EVERY_MS = 60_000;
const COMPLETE_AFTER_MS = 10_000;

export class Follower {
  readonly #deps: FollowerDeps;
  readonly #merger: PieceMerger;
  readonly #tails: TailKeeper;
  #check: TailCheck | undefined;
  #streaming: LogStreaming | undefined;
  #cutter: PieceCutter | undefined;
  #complete = new Completeness(0);
  #start: Omit<SessionStart, 'stream' | 'from' | 'goesOn'> = {
    standby: false,
    statusMs: 0,
    fileBytes: 0,
    slotStart: 0n,
  };
  #paused = false;
  #timers: { piece?: Timer | undefined; acknowledge?: Timer | undefined; status?: Timer | undefined } = {};
  #completeSentMs = 0;
  #completeSentAt = Number.NEGATIVE_INFINITY;
  #activeSince = false;
  /** An empty piece belongs behind one with content. */
  #hasContent = false;

  constructor(deps: FollowerDeps) {
    this.#deps = deps;
    this.#tails = new TailKeeper(deps);
    this.#merger = new PieceMerger(deps.merge, (sealed, range) => {
      deps.writer.write({
        range: () => range,
        content: sealed,
        heldBytes: 0,
        stored: (kept) => this.#merged(kept, range),
      });
    });
  }

  /** Follows until something ends it. Throws what did; details.sqlState '58P01': the server does not have the log any more. */
  async run(): Promise<never> {
    const { state, writer, connection, log, sourceId } = this.#deps;
    state.following = true;
    try {
      const start = await beginSession(this.#deps);
      this.#start = start;
      this.#hasContent = start.goesOn !== undefined;
      this.#completeSentMs = start.goesOn?.completeToMs ?? 0;
      this.#complete = new Completeness(this.#completeSentMs);
      let { stream, from } = start;
      const tail = tailBefore(start, this.#tails.load());
      if (tail !== undefined) this.#check = new TailCheck(tail);
      let readFrom = readFromOf(start, tail);
      for (;;) {
        const end = await this.#leg(stream, from, readFrom);
        if (end.kind === 'ended') throw new HoldfastError('UNREACHABLE', 'the server ended the stream of its log');
        const piece = this.#cutter?.flush();
        if (piece !== undefined) this.#cut(piece);
        await writer.drained();
        log.info('postgres.timeline', { sourceId, timeline: end.timeline });
        stream = { ...stream, timeline: end.timeline };
        from = fileStart(end.position, start.fileBytes);
        readFrom = from;
        this.#check = undefined;
        storeHistory(writer, stream, await connection.history(end.timeline));
      }
    } finally {
      this.#stopTimers();
      this.#tails.save(true);
      if (!this.#deps.signal.aborted) {
        state.streaming = false;
        state.following = false;
      }
    }
  }

  /** The server's log ended at `end` when its clock (its primary's) showed `clockMs`. */
  sighted(end: bigint, clockMs: number): void {
    this.#complete.saw(end, clockMs);
    this.#noteComplete();
    this.#storeComplete();
  }

  /** One timeline, to its end. */
  async #leg(stream: LogStream, from: bigint, readFrom: bigint): ReturnType<() => LogStreaming['ended']> {
    const { connection, slotName, state } = this.#deps;
    const reader = new WalReader(readFrom, false, this.#start.fileBytes);
    this.#cutter = new PieceCutter(from, readFrom, reader, {
      fileBytes: this.#start.fileBytes,
      pieceBytes: PIECE_BYTES,
    });
    state.began(stream, from, from);
    this.#paused = false;
    const streaming = connection.stream({
      slot: slotName,
      timeline: stream.timeline,
      from: readFrom,
      onMessage: (message) => this.#heard(message),
    });
    this.#streaming = streaming;
    state.streaming = true;
    this.#status();
    this.#deps.changed();
    // The vault's end ends the leg too: nothing can be stored any more.
    const lost = this.#deps.session.ended().then(() => {
      throw new HoldfastError('SESSION_ENDED', 'the session with the vault was closed');
    });
    try {
      return await Promise.race([streaming.ended, lost]);
    } finally {
      this.#streaming = undefined;
      this.#stopTimers();
    }
  }

  #heard(message: ServerMessage): void {
    const { state, clock } = this.#deps;
    const now = clock.monotonicMs();
    state.heard(message.serverEnd, this.#start.standby ? undefined : message.sentAtMs, now);
    if (message.kind === 'keepalive') {
      if (message.replyWanted) this.#status();
      return;
    }
    // A keepalive is no sight: it tells what was sent, not what there is.
    if (!this.#start.standby) this.#complete.saw(message.serverEnd, message.sentAtMs);
    this.#check?.push(message.start, message.bytes);
    const cutter = this.#cutter!;
    cutter.pieceBytes = message.serverEnd - message.start > BEHIND_BYTES ? PIECE_BYTES_BEHIND : PIECE_BYTES;
    for (const piece of cutter.push(message.start, message.bytes, now)) this.#cut(piece);
    state.openFirstCommitAtMs = cutter.firstCommitAtMs;
    if (cutter.openBytes > 0) this.#timers.piece ??= clock.after(PIECE_MS, () => this.#pieceDue());
    if (!this.#paused && this.#deps.writer.heldBytes + cutter.openBytes >= HELD_BYTES_MAX) {
      this.#paused = true;
      this.#streaming?.pause();
    }
    this.#deps.changed();
  }

  #pieceDue(): void {
    const { clock, writer } = this.#deps;
    this.#timers.piece = undefined;
    const cutter = this.#cutter;
    const openedAt = cutter?.openedAtMs;
    if (cutter === undefined || openedAt === undefined) return;
    const due = openedAt + PIECE_MS - clock.monotonicMs();
    // While others wait to be sent, one more small piece helps nobody.
    if (due > 0 || writer.waiting > 1) {
      this.#timers.piece = clock.after(Math.max(due, PIECE_MS / 5), () => this.#pieceDue());
      return;
    }
    this.#cut(cutter.flush()!);
  }

  #cut(piece: Piece): void {
    const { state, writer } = this.#deps;
    const stream = state.stream!;
    state.cut(piece.end, piece.firstCommitAtMs);
    state.openFirstCommitAtMs = undefined;
    this.#hasContent = true;
    this.#activeSince = true;
    // Far behind, or on a standby, commits alone tell the time.
    if (piece.lastCommitAtMs !== undefined) this.#complete.saw(piece.end, piece.lastCommitAtMs);
    const tail = tailOf(stream, piece.start, piece.bytes);
    writer.write({
      range: () => rangeOfPiece(stream, piece, this.#complete.upTo(piece.end)),
      content: piece.bytes,
      heldBytes: Number(piece.end - piece.start),
      stored: (sealed, range) => {
        this.#tails.stored(tail);
        this.#stored({ envelope: sealed.envelope, range }, piece.endsFile);
      },
    });
  }

  #stored(stored: StoredPiece, endsFile: boolean): void {
    const { state, writer, notes, clock } = this.#deps;
    const { stream, end, completeToMs } = stored.range;
    state.storedUpTo(end.order, clock.monotonicMs());
    notes.stored(stream, end.order);
    this.#completeSentMs = Math.max(this.#completeSentMs, completeToMs);
    this.#noteComplete();
    this.#merger.stored(stored, endsFile, writer.heldBytes > HELD_BYTES_MAX / 2);
    this.#timers.acknowledge ??= clock.after(ACKNOWLEDGE_MS, () => this.#status());
    if (this.#paused && writer.heldBytes < HELD_BYTES_MAX / 2) {
      this.#paused = false;
      this.#streaming?.resume();
    }
    this.#deps.changed();
  }

  #merged({ envelope }: SealedBytes, range: LogRange): void {
    this.#merger.stored({ envelope, range }, false, false);
  }

  #noteComplete(): void {
    const { state } = this.#deps;
    if (state.stored !== undefined) state.completeToMs = this.#complete.upTo(state.stored);
    this.#deps.changed();
  }

  /** An empty piece says up to when the log is complete, of a database that writes nothing. */
  #storeComplete(): void {
    const { state, writer, clock } = this.#deps;
    const { stream, stored, completeToMs } = state;
    const now = clock.monotonicMs();
    const every = this.#activeSince ? COMPLETE_AFTER_MS : COMPLETE_EVERY_MS;
    const idle = writer.heldBytes === 0 && writer.waiting === 0 && this.#cutter?.openBytes === 0;
    if (!idle || !this.#hasContent || stream === undefined || stored === undefined) return;
    if (completeToMs <= this.#completeSentMs || now - this.#completeSentAt < every) return;
    this.#completeSentAt = now;
    this.#completeSentMs = completeToMs;
    this.#activeSince = false;
    const range = emptyRange(stream, stored, completeToMs);
    writer.write({
      range: () => range,
      content: Buffer.alloc(0),
      heldBytes: 0,
      stored: ({ envelope }) => this.#merger.stored({ envelope, range }, false, false),
    });
  }

  /** Tells the server how far it may forget, and that somebody is here. */
  #status(): void {
    const { clock, state } = this.#deps;
    this.#timers.acknowledge?.cancel();
    this.#timers.acknowledge = undefined;
    this.#timers.status?.cancel();
    this.#timers.status = clock.after(this.#start.statusMs, () => this.#status());
    this.#tails.save(false);
    const written = this.#cutter?.next ?? 0n;
    const stored = state.stored ?? 0n;
    // Of what ends with a file its last byte stays unsaid: with it the server would forget the file, and with that the beginning of
    // a record that goes on in the next one, which is read again after a break.
    const endsFile = stored > 0n && fileStart(stored, this.#start.fileBytes) === stored;
    const confirmed = endsFile ? stored - 1n : stored;
    // The server takes this for its slot's place, even back to where it has nothing any more: what it would refuse to send is not
    // to be claimed by the slot from then on. Zero says nothing.
    const flushed = confirmed < this.#start.slotStart ? 0n : confirmed;
    this.#streaming?.send(
      statusUpdate({
        written: written > confirmed ? written : confirmed,
        flushed,
        nowMs: clock.wallMs(),
        replyWanted: false,
      }),
    );
  }

  #stopTimers(): void {
    for (const timer of Object.values(this.#timers)) timer?.cancel();
    this.#timers = {};
  }
}
