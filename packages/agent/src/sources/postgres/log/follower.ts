// Follows a server's log into the vault: one connection, one session of the vault, until either of them ends.
//
// Hazard: an acknowledgement too early. What the server is told to be flushed it forgets; so that is only what the vault has
// stored. Hazard: silence. A server whose standby does not answer within wal_sender_timeout ends the connection; so a status goes
// out on time, also while nothing is read because the vault is slow.
//
// Invariants (follower.db.test.ts): R1 what is stored is the server's log, byte for byte, each byte once; R2 the server is never
// told of more than is stored; R3 at most HELD_BYTES_MAX and one message are held; R4 another timeline begins with its own file,
// after everything of the one before is stored.
//
// Elsewhere on purpose: where to begin (start-plan.ts), when to begin again (guard.ts).

import { HoldfastError } from '@holdfast/shared/base/errors';
import { sameStream, type LogGap, type LogStream } from '@holdfast/shared/format/log-point';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { LogSession } from '../../../link/log-port.ts';
import type { StoredLogNotes } from '../stored-log.ts';
import { Completeness } from './completeness.ts';
import { statusUpdate, type ServerMessage } from './copy-messages.ts';
import type { FollowState } from './follow-state.ts';
import { ancestorsOf, parseHistoryFile, type TimelineFork } from './history-file.ts';
import { fileStart, historyFileName, positionOf, WAL_PAGE_BYTES } from './lsn.ts';
import { PieceCutter, type Piece } from './piece-cutter.ts';
import { PieceMerger, type Merge } from './piece-merger.ts';
import type { LogStreaming, ServerConnection } from './server-connection.ts';
import type { ServerLook } from './slot-watch.ts';
import { planStart, type StartPlan } from './start-plan.ts';
import type { SealedBytes, VaultWriter } from './vault-writer.ts';
import { WalReader } from './wal-reader.ts';

export const HELD_BYTES_MAX = 16 * 1024 * 1024;
export const PIECE_BYTES = 1024 * 1024;
/** While far behind: a file is then four pieces, and need not be merged. */
const PIECE_BYTES_BEHIND = 4 * 1024 * 1024;
const BEHIND_BYTES = 32n * 1024n * 1024n;
export const PIECE_MS = 250;
/** What was stored is acknowledged within this, in one message. */
const ACKNOWLEDGE_MS = 100;
const STATUS_MS = 10_000;
/** Read again before the place to go on from, so that the record which goes on there is known. */
const READ_BACK_BYTES = 128 * 1024;
/** How often the time up to which the log is complete is stored while nothing is written; and soon after something was. */
const COMPLETE_EVERY_MS = 60_000;
const COMPLETE_AFTER_MS = 10_000;

export interface FollowerDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly sourceId: string;
  readonly slotName: string;
  readonly session: LogSession;
  readonly writer: VaultWriter;
  readonly merge: Merge;
  readonly connection: ServerConnection;
  readonly state: FollowState;
  readonly notes: StoredLogNotes;
  readonly keepBytes: number;
  /** Of the log before this something is gone. */
  readonly removed: { readonly before: bigint; readonly reason: string } | undefined;
  look(): Promise<ServerLook>;
  /** It streams; a base that is needed may be taken now. @param gap the log has a new one */
  began(plan: { readonly baseNeeded: boolean; readonly gap: LogGap | undefined }): void;
  changed(): void;
}

export class Follower {
  readonly #deps: FollowerDeps;
  readonly #merger: PieceMerger;
  #streaming: LogStreaming | undefined;
  #cutter: PieceCutter | undefined;
  #complete = new Completeness(0);
  #standby = false;
  #fileBytes = 0;
  #paused = false;
  #timers: { piece?: Timer | undefined; acknowledge?: Timer | undefined; status?: Timer | undefined } = {};
  #statusMs = STATUS_MS;
  #completeSentMs = 0;
  #completeSentAt = Number.NEGATIVE_INFINITY;
  #activeSince = false;
  /** An empty piece belongs behind one with content. */
  #hasContent = false;

  constructor(deps: FollowerDeps) {
    this.#deps = deps;
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
    const { state } = this.#deps;
    state.following = true;
    try {
      const plan = await this.#begin();
      let { stream, from } = plan;
      for (;;) {
        const end = await this.#leg(stream, from);
        if (end.kind === 'ended') throw new HoldfastError('UNREACHABLE', 'the server ended the stream of its log');
        const piece = this.#cutter?.flush();
        if (piece !== undefined) this.#cut(piece);
        await this.#deps.writer.drained();
        this.#deps.log.info('postgres.timeline', { sourceId: this.#deps.sourceId, timeline: end.timeline });
        stream = { ...stream, timeline: end.timeline };
        from = fileStart(end.position, this.#fileBytes);
        this.#storeHistory(stream, await this.#deps.connection.history(end.timeline));
      }
    } finally {
      this.#stopTimers();
      state.streaming = false;
      state.following = false;
    }
  }

  /** The server's log ended at `end` when its clock (its primary's) showed `clockMs`. */
  sighted(end: bigint, clockMs: number): void {
    this.#complete.saw(end, clockMs);
    this.#noteComplete();
    this.#storeComplete();
  }

  async #begin(): Promise<StartPlan & { kind: 'follow' }> {
    const { connection, session, slotName, keepBytes, removed, writer, notes } = this.#deps;
    const look = await this.#ensureSlot();
    const identity = await connection.identify();
    const text = identity.timeline > 1 ? await connection.history(identity.timeline) : '';
    const history = parseHistoryFile(text);
    this.#standby = look.standby;
    this.#fileBytes = look.fileBytes;
    this.#statusMs = Math.min(STATUS_MS, look.senderTimeoutMs > 0 ? look.senderTimeoutMs / 4 : STATUS_MS);
    const slotStart = look.slot?.restart;
    if (slotStart === undefined)
      throw new HoldfastError('UNREACHABLE', `the slot ${slotName} is reserved by nothing yet`);
    const server = { ...identity, history, fileBytes: look.fileBytes, slotStart, standby: look.standby };
    const plan = planStart(server, session.ends, { keepBytes, removed });
    // A standby that was restarted replays for a while what it had; a server that went back needs a person.
    if (plan.kind === 'wait') throw new HoldfastError(look.standby ? 'UNREACHABLE' : 'FAILED_PRECONDITION', plan.note);
    const gap =
      plan.gap === undefined ? undefined : { ...plan.gap, toMs: Math.floor(look.clockMs ?? this.#deps.clock.wallMs()) };
    if (gap !== undefined) {
      await writer.gap(gap);
      notes.gap(gap.stream, gap.start.order, gap.end.order);
      this.#deps.log.error('postgres.gap', {
        sourceId: this.#deps.sourceId,
        from: gap.start.text,
        to: gap.end.text,
        reason: gap.reason,
      });
    }
    this.#keepHistory(plan.stream, server, text);
    const known = session.ends.find((end) => sameStream(end.stream, plan.stream));
    const goesOn = gap === undefined && known?.end.order === plan.from;
    this.#hasContent = goesOn;
    this.#complete = new Completeness(goesOn ? known.completeToMs : 0);
    this.#completeSentMs = goesOn ? known.completeToMs : 0;
    if (goesOn) notes.stored(plan.stream, plan.from);
    this.#deps.state.notes.follow = plan.note;
    this.#deps.began({ baseNeeded: plan.baseNeeded || gap !== undefined || session.baseNeeded, gap });
    return plan;
  }

  /** Ours, with its log reserved. One that the server gave up is made anew. */
  async #ensureSlot(): Promise<ServerLook> {
    const { connection, slotName } = this.#deps;
    const look = await this.#deps.look();
    if (look.slot !== undefined && look.slot.walStatus !== 'lost' && look.slot.restart !== undefined) return look;
    if (look.slot !== undefined) await connection.dropSlot(slotName);
    await connection.createSlot(slotName);
    return this.#deps.look();
  }

  #keepHistory(
    stream: LogStream,
    server: { readonly timeline: number; readonly history: readonly TimelineFork[] },
    text: string,
  ): void {
    const known = this.#deps.session.ends.some((end) => sameStream(end.stream, stream));
    if (text !== '' && !known && server.timeline === stream.timeline) this.#storeHistory(stream, text);
  }

  #storeHistory(stream: LogStream, text: string): void {
    const ancestors = ancestorsOf(stream.systemIdentifier, parseHistoryFile(text));
    const position = ancestors[0]?.position ?? positionOf(0n);
    this.#deps.writer.write({
      range: () => ({
        stream,
        start: position,
        end: position,
        file: historyFileName(stream.timeline),
        firstCommitAtMs: undefined,
        lastCommitAtMs: undefined,
        completeToMs: 0,
        marks: [],
        merged: false,
        ancestors,
      }),
      content: Buffer.from(text),
      heldBytes: 0,
      stored: () => undefined,
    });
  }

  /** One timeline, to its end. */
  async #leg(stream: LogStream, from: bigint): ReturnType<() => LogStreaming['ended']> {
    const { connection, slotName, state } = this.#deps;
    const back = from - (from % BigInt(WAL_PAGE_BYTES)) - BigInt(READ_BACK_BYTES);
    const begin = fileStart(from, this.#fileBytes);
    const readFrom = back < begin ? begin : back;
    const reader = new WalReader(readFrom, false, this.#fileBytes);
    this.#cutter = new PieceCutter(from, readFrom, reader, { fileBytes: this.#fileBytes, pieceBytes: PIECE_BYTES });
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
    state.heard(message.serverEnd, this.#standby ? undefined : message.sentAtMs, now);
    if (message.kind === 'keepalive') {
      if (message.replyWanted) this.#status();
      return;
    }
    // A keepalive is no sight: it tells what was sent, not what there is.
    if (!this.#standby) this.#complete.saw(message.serverEnd, message.sentAtMs);
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
    writer.write({
      range: () => ({
        stream,
        start: positionOf(piece.start),
        end: positionOf(piece.end),
        file: '',
        firstCommitAtMs: piece.firstCommitAtMs === undefined ? undefined : Math.floor(piece.firstCommitAtMs),
        lastCommitAtMs: piece.lastCommitAtMs === undefined ? undefined : Math.ceil(piece.lastCommitAtMs),
        completeToMs: this.#complete.upTo(piece.end),
        marks: piece.restorePoints.map((name) => `name=${name}`),
        merged: false,
      }),
      content: piece.bytes,
      heldBytes: Number(piece.end - piece.start),
      stored: (sealed, range) => this.#stored({ envelope: sealed.envelope, range }, piece.endsFile),
    });
  }

  #stored(
    stored: { readonly envelope: Uint8Array; readonly range: Parameters<PieceMerger['stored']>[0]['range'] },
    endsFile: boolean,
  ): void {
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

  #merged({ envelope }: SealedBytes, range: Parameters<PieceMerger['stored']>[0]['range']): void {
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
    const position = positionOf(stored);
    writer.write({
      range: () => ({
        stream,
        start: position,
        end: position,
        file: '',
        firstCommitAtMs: undefined,
        lastCommitAtMs: undefined,
        completeToMs,
        marks: [],
        merged: false,
      }),
      content: Buffer.alloc(0),
      heldBytes: 0,
      stored: ({ envelope }, range) => this.#merger.stored({ envelope, range }, false, false),
    });
  }

  /** Tells the server how far it may forget, and that somebody is here. */
  #status(): void {
    const { clock, state } = this.#deps;
    this.#timers.acknowledge?.cancel();
    this.#timers.acknowledge = undefined;
    this.#timers.status?.cancel();
    this.#timers.status = clock.after(this.#statusMs, () => this.#status());
    const written = this.#cutter?.next ?? 0n;
    const flushed = state.stored ?? 0n;
    this.#streaming?.send(
      statusUpdate({
        written: written > flushed ? written : flushed,
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
