// One connection's worth of following: events come in from the server, pieces go out to the vault, in order and nothing else.
//
//     server ── parts of events ──▶ PieceBuilder ── pieces ──▶ seal ──▶ log session ──▶ vault
//
// Hazards: a slow vault (pieces that wait are bounded by QUEUE_BYTES, beyond that the server's socket is not read; the server keeps
// its log on its own disk); a commit that waits for company (no piece waits longer than PIECE_MS for its event to end).
//
// Whatever ends one side ends the other: `run` rejects, and the guard begins again from what is stored.
// Tested in log-guard.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { sameStream, type LogPosition } from '@holdfast/shared/format/log-point';
import { seal, type SealOptions } from '@holdfast/shared/format/seal';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import type { LogSession } from '../../../link/log-port.ts';
import { comparePositions, fromLogPosition } from '../binlog/position.ts';
import { serverErrorOf, type ServerSession } from '../protocol/server-session.ts';
import { gtidAt, type ServerMoment } from '../server-facts.ts';
import { PieceBuilder, type Anchor, type Piece } from './piece-builder.ts';
import type { ResumePlan } from './resume-plan.ts';

export interface FollowerDeps {
  readonly server: ServerSession;
  readonly session: LogSession;
  readonly plan: ResumePlan;
  readonly keys: DomainKeys;
  readonly compression: SealOptions;
  readonly clock: Clock;
  /** As a replica of the server. */
  readonly replicaId: number;
  /** A piece is durable. */
  onStored(stored: StoredPiece): void;
}

export interface StoredPiece {
  readonly end: LogPosition;
  readonly anchor: Anchor | undefined;
  readonly completeToMs: number;
}

const PIECE_MS = 250;
const QUEUE_BYTES = 8 * 1024 * 1024;
const HEARTBEAT_S = 5;
const SILENT_MS = 30_000;
const MARKS_A_PIECE = 32;
const COMPLETE_AFTER_MS = 2_000;
const COMPLETE_EVERY_MS = 60_000;

export class BinlogFollower {
  readonly #deps: FollowerDeps;
  readonly #failed = Promise.withResolvers<never>();
  #builder: PieceBuilder | undefined;
  #queue: Piece[] = [];
  #queuedBytes = 0;
  #sending = false;
  #paused = false;
  #timer: Timer | undefined;
  #status: number | undefined;
  #errorPacket: Buffer = Buffer.alloc(0);
  readonly #unstored: StoredPiece[] = [];
  #storedCount = 0;
  #completeToMs = 0;
  #completeSaidAt = 0;
  /** Since the last empty piece. */
  #written = true;
  /** Where the stored log ends, once something of it is stored: an empty piece belongs behind one with content. */
  #sentEnd: LogPosition | undefined;
  /** When the server was where: goes out with the next piece that reaches there. */
  #moments: ServerMoment[] = [];

  constructor(deps: FollowerDeps) {
    this.#deps = deps;
    this.#failed.promise.catch(() => undefined);
    const stored = deps.session.ends.find(({ stream }) => sameStream(stream, deps.plan.record.stream));
    if (deps.plan.gap === undefined) this.#sentEnd = stored?.end;
  }

  /** Follows until something ends it: always rejects. */
  async run(): Promise<never> {
    const { server, session, plan, replicaId } = this.#deps;
    session.onStored = (count) => this.#stored(count);
    session.ended().then(
      () => this.#fail(new HoldfastError('SESSION_ENDED', 'the log session was closed')),
      (error: unknown) => this.#fail(error),
    );
    try {
      await server.query(`SET @master_heartbeat_period = ${HEARTBEAT_S * 1e9}`);
      await server.query(
        'SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum',
      );
      await server.query('SET @mariadb_slave_capability = 4');
      const { from, storedTo, expect } = plan;
      if (plan.gap !== undefined) {
        this.#unstored.push({ end: plan.gap.end, anchor: undefined, completeToMs: plan.gap.toMs });
        await session.gap(plan.gap);
      }
      const gtid = await gtidAt(server, from);
      const [row] = await server.query('SELECT @@global.binlog_checksum AS kind');
      const start = { from, storedTo, expect, gtid, checksums: row?.['kind'] === 'CRC32' };
      this.#builder = new PieceBuilder(start, () => this.#takePiece());
      server.endAfterMs(SILENT_MS);
      await server.followBinlog({
        serverId: replicaId,
        file: from.file,
        offset: from.offset,
        stream: { onPart: (part, last) => this.#part(part, last), onEnd: (error) => this.#fail(error) },
      });
      return await this.#failed.promise;
    } finally {
      this.#timer?.cancel();
      this.#queue = [];
      server.close();
    }
  }

  /** The server's log ended there then. Of each place the first and the last moment are kept: what is before it, and what after. */
  noteMoment(moment: ServerMoment): void {
    const [before, last] = this.#moments.slice(-2);
    const again = [before, last].every(
      (one) => one !== undefined && comparePositions(one.position, moment.position) === 0,
    );
    if (again) this.#moments.pop();
    this.#moments.push(moment);
    if (this.#moments.length > MARKS_A_PIECE) this.#moments.splice(0, this.#moments.length - MARKS_A_PIECE);
  }

  /**
   * Everything is stored, and the server's log still ends there: an empty piece says up to when the log is complete, soon after
   * something was written, and then now and then.
   */
  noteQuiet(moment: ServerMoment): void {
    const at = this.#sentEnd;
    const idle = !this.#sending && this.#queue.length === 0 && this.#unstored.length === 0;
    if (!idle || at === undefined || this.#builder?.pendingBytes !== 0) return;
    if (comparePositions(fromLogPosition(at), moment.position) !== 0 || moment.atMs <= this.#completeToMs) return;
    const now = this.#deps.clock.monotonicMs();
    if (now - this.#completeSaidAt < (this.#written ? COMPLETE_AFTER_MS : COMPLETE_EVERY_MS)) return;
    this.#completeSaidAt = now;
    this.#moments.push(moment);
    const { gtid } = this.#builder;
    const nothing = { firstCommitAtMs: undefined, lastCommitAtMs: undefined, commits: 0, gtid, anchor: undefined };
    this.#queue.push({ bytes: Buffer.alloc(0), start: at, end: at, ...nothing });
    this.#written = false;
    void this.#sendAll();
  }

  #part(part: Buffer, last: boolean): void {
    try {
      let body = part;
      if (this.#status === undefined) {
        this.#status = part[0];
        body = part.subarray(1);
      }
      if (this.#status === 0) this.#builder?.push(body, last);
      else if (this.#errorPacket.length < 1024) this.#errorPacket = Buffer.concat([this.#errorPacket, body]);
      if (last) {
        if (this.#status !== 0 && this.#status !== undefined) throw this.#refusal();
        this.#status = undefined;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    if ((this.#builder?.pendingBytes ?? 0) > 0) this.#schedule();
    if (!this.#paused && this.#queuedBytes > QUEUE_BYTES) {
      this.#paused = true;
      // Not read on purpose: its silence then says nothing.
      this.#deps.server.endAfterMs(0);
      this.#deps.server.pause();
    }
  }

  #refusal(): HoldfastError {
    if (this.#status !== 0xff) return new HoldfastError('UNREACHABLE', 'the server ended its log');
    return serverErrorOf(Buffer.concat([Buffer.from([0xff]), this.#errorPacket]));
  }

  #schedule(): void {
    this.#timer ??= this.#deps.clock.after(PIECE_MS, () => {
      this.#timer = undefined;
      if (this.#builder?.withinEvent === true) this.#schedule();
      else this.#takePiece();
    });
  }

  #takePiece(): void {
    const piece = this.#builder?.take();
    if (piece === undefined) return;
    this.#queue.push(piece);
    this.#written = true;
    this.#queuedBytes += piece.bytes.length;
    if (!this.#sending) void this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#sending = true;
    try {
      for (let piece = this.#queue.shift(); piece !== undefined; piece = this.#queue.shift()) {
        await this.#send(piece);
        this.#queuedBytes -= piece.bytes.length;
        if (this.#paused && this.#queuedBytes < QUEUE_BYTES / 2) {
          this.#paused = false;
          this.#deps.server.endAfterMs(SILENT_MS);
          this.#deps.server.resume();
        }
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#sending = false;
    }
  }

  async #send(piece: Piece): Promise<void> {
    const { session, plan, keys, compression } = this.#deps;
    const marks = this.#marksOf(piece);
    const { start, end, firstCommitAtMs, lastCommitAtMs, anchor } = piece;
    this.#completeToMs = Math.max(this.#completeToMs, lastCommitAtMs ?? 0);
    const completeToMs = this.#completeToMs;
    const { id, envelope } = seal(keys, ObjectKind.logSegment, [], piece.bytes, compression);
    this.#unstored.push({ end, anchor, completeToMs });
    const range = {
      stream: plan.record.stream,
      start,
      end,
      file: '',
      firstCommitAtMs,
      lastCommitAtMs,
      completeToMs,
      marks,
      merged: false,
    };
    this.#sentEnd = end;
    await session.send({ id, envelope, range });
  }

  /** Moments that the piece reaches: from the last of them on, what follows is younger. */
  #marksOf(piece: Piece): string[] {
    const end = fromLogPosition(piece.end);
    const reached = this.#moments.filter(({ position }) => comparePositions(position, end) <= 0);
    this.#moments = this.#moments.filter((moment) => !reached.includes(moment));
    this.#completeToMs = Math.max(this.#completeToMs, reached.at(-1)?.atMs ?? 0);
    const marks = reached.map(({ atMs, position }) => `clock=${atMs}@${position.file}:${position.offset}`);
    return piece.gtid === '' || piece.gtid.length > 1000 ? marks : [...marks, `gtid=${piece.gtid}`];
  }

  #stored(count: number): void {
    for (; this.#storedCount < count; this.#storedCount++) {
      const stored = this.#unstored.shift();
      if (stored !== undefined) this.#deps.onStored(stored);
    }
  }

  #fail(error: unknown): void {
    this.#failed.reject(error);
  }
}
