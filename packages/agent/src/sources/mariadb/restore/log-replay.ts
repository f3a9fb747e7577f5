// The log from a base's point to a target, as statements for a server: pieces from the vault are put together to the server's own
// files, cut exactly between two transactions, and given to mariadb-binlog, whose statements go to one client.
//
// Hazards: files that grow beyond bounds (one at a time, removed when its statements are written; as large as the server's
// max_binlog_size made it); a damaged piece (its seal and every event's checksum are checked; the replay ends before it with an error).
//
// Invariants (restore.db.test.ts): every transaction up to the target once, none after it; a transaction is whole or absent.

import { closeSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { sameStream, type DatabasePoint } from '@holdfast/shared/format/log-point';
import type { EngineRestore } from '../../../jobs/job.ts';
import type { ListedSegment, LogReadSession, ServedSegment } from '../../../link/log-port.ts';
import type { KeyRing } from '../../../restore/key-ring.ts';
import { EventReader, type BinlogEvent } from '../binlog/event-reader.ts';
import { BINLOG_MAGIC, comparePositions, fromLogPosition, type BinlogPosition } from '../binlog/position.ts';
import { TransactionTracker } from '../binlog/transactions.ts';
import { placesOf } from '../follow/piece-builder.ts';
import { momentsIn, StopPlan, type Moment } from './stop-plan.ts';

export interface ReplayDeps {
  readonly session: LogReadSession;
  readonly keys: KeyRing;
  /** A directory of this restore's own. */
  readonly directory: string;
  readonly signal: AbortSignal;
  /** Applies events of a file from `offset` to its end. */
  apply(path: string, offset: number): Promise<void>;
  onBytes(bytes: number): void;
}

export interface Replayed {
  readonly position: BinlogPosition;
  readonly gtid: string;
  /** Server's clock; 0: nothing was committed. */
  readonly lastCommitAtMs: number;
  readonly transactions: number;
}

/** Throws DAMAGED (a piece, or a hole), FAILED_PRECONDITION (the target lies before the base, or behind the log), CANCELLED. */
export async function replayLog(
  restore: EngineRestore,
  base: DatabasePoint,
  formatDescription: Buffer,
  deps: ReplayDeps,
): Promise<Replayed> {
  const start = fromLogPosition(base.start);
  const { log } = restore;
  const moments: Moment[] = [];
  const listed = log === undefined ? [] : await list(deps.session, base, log, moments);
  // Also when the controller says that nothing lies behind the target: it knows the log's own clock, not the moments.
  const stop = new StopPlan(restore.target, moments, { position: start, gtid: base.gtid });
  const replay = new Replay(start, formatDescription, stop, deps);
  try {
    for (let at = 0; at < listed.length && !replay.stopped; at += FETCHED_AT_ONCE) {
      const ids = listed.slice(at, at + FETCHED_AT_ONCE);
      let next = 0;
      for await (const { id, envelope } of deps.session.fetch(ids.map((one) => one.id))) {
        const piece = ids[next++];
        if (piece === undefined || replay.stopped) break;
        if (deps.signal.aborted) throw new HoldfastError('CANCELLED', 'the restore was cancelled');
        deps.onBytes(envelope.length);
        await replay.piece(piece, opened(deps.keys, { id, envelope }, piece));
      }
    }
    await replay.finish();
  } finally {
    replay.close();
  }
  stop.assertReached();
  return replay.result();
}

const FETCHED_AT_ONCE = 16;

/** Throws DAMAGED with where the log can be replayed up to. */
function opened(keys: KeyRing, { id, envelope }: ServedSegment, { range }: ListedSegment): Buffer {
  try {
    return keys.open(envelope, { id, kind: ObjectKind.logSegment }).plain;
  } catch (cause) {
    const { message } = cause instanceof Error ? cause : new Error(String(cause));
    throw new HoldfastError(
      'DAMAGED',
      `the stored log from ${range.start.text} to ${range.end.text} is damaged: ${message}`,
      {
        hint: 'Restore to a point before it, or from a later base.',
        cause,
      },
    );
  }
}

/** Pieces from the base's point on, without what belongs to the log but is not of it. Throws DAMAGED for a hole. */
async function list(
  session: LogReadSession,
  base: DatabasePoint,
  log: NonNullable<EngineRestore['log']>,
  moments: Moment[],
): Promise<ListedSegment[]> {
  if (!sameStream(log.stream, base.stream)) {
    throw new HoldfastError('FAILED_PRECONDITION', 'the log to replay is of another server than the snapshot');
  }
  const found: ListedSegment[] = [];
  let at = base.start.order;
  for await (const piece of session.list(log.stream, base.start.order, log.end.order)) {
    const { range } = piece;
    moments.push(...momentsIn(range.marks));
    if (range.file !== '' || range.end.order <= at || range.start.order >= log.end.order) continue;
    if (range.start.order > at)
      throw new HoldfastError('DAMAGED', `the stored log has a hole before ${range.start.text}`);
    at = range.end.order;
    found.push(piece);
  }
  if (at < log.end.order) throw new HoldfastError('DAMAGED', `the stored log ends before ${log.end.text}`);
  return found;
}

class Replay {
  readonly #deps: ReplayDeps;
  readonly #stop: StopPlan;
  readonly #formatDescription: Buffer;
  readonly #from: BinlogPosition;
  readonly #tracker = new TransactionTracker();
  #reader: EventReader;
  #file: string;
  #fd: number | undefined;
  /** The file's next byte. */
  #offset: number;
  /** Bytes up to here are to be applied. */
  #goodTo: BinlogPosition;
  #begun: BinlogPosition;
  #applyFrom: number;
  #lastCommitAtMs = 0;
  #transactions = 0;
  stopped = false;

  constructor(from: BinlogPosition, formatDescription: Buffer, stop: StopPlan, deps: ReplayDeps) {
    this.#deps = deps;
    this.#stop = stop;
    this.#formatDescription = formatDescription;
    this.#from = from;
    this.#file = from.file;
    this.#offset = from.offset;
    this.#goodTo = from;
    this.#begun = from;
    this.#applyFrom = from.offset;
    this.stopped = stop.complete;
    this.#reader = this.#newReader();
    // From the middle of a file on its layout must be known.
    if (from.offset > BINLOG_MAGIC.length) this.#reader.push(formatDescription);
  }

  async piece({ range }: ListedSegment, plain: Buffer): Promise<void> {
    const places = placesOf({ start: fromLogPosition(range.start), end: fromLogPosition(range.end) }, plain);
    for (const place of places) {
      if (comparePositions(place, this.#from) < 0 && place.file !== this.#from.file) continue;
      if (place.file !== this.#file) await this.#nextFile(place.file);
      const skip = Math.max(0, this.#offset - place.offset);
      if (skip < place.bytes.length) this.#take(place.bytes.subarray(skip));
      if (this.stopped) return;
    }
  }

  /** What is left of the last file. */
  async finish(): Promise<void> {
    await this.#applyFile();
  }

  result(): Replayed {
    return {
      position: this.#goodTo,
      gtid: this.#stop.gtid,
      lastCommitAtMs: this.#lastCommitAtMs,
      transactions: this.#transactions,
    };
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    rmSync(this.#path(), { force: true });
  }

  #path(): string {
    return join(this.#deps.directory, this.#file);
  }

  async #nextFile(file: string): Promise<void> {
    await this.#applyFile();
    this.#file = file;
    this.#offset = 0;
    this.#goodTo = { file, offset: 0 };
    this.#applyFrom = BINLOG_MAGIC.length;
    this.#reader = this.#newReader();
  }

  #newReader(): EventReader {
    return new EventReader((event) => this.#event(event));
  }

  /** Everything is read here, so that the place to stop is known; what lies behind it is written too, and cut off. */
  #take(bytes: Buffer): void {
    const fd = (this.#fd ??= this.#create());
    for (let done = 0; done < bytes.length;) {
      done += writeSync(fd, bytes, done, bytes.length - done, this.#offset + done);
    }
    const skip = this.#offset < BINLOG_MAGIC.length ? BINLOG_MAGIC.length - this.#offset : 0;
    this.#reader.push(bytes.subarray(Math.min(skip, bytes.length)));
    this.#offset += bytes.length;
  }

  #create(): number {
    const fd = openSync(this.#path(), 'wx', 0o600);
    if (this.#offset > 0) {
      writeSync(fd, BINLOG_MAGIC, 0, BINLOG_MAGIC.length, 0);
      writeSync(fd, this.#formatDescription, 0, this.#formatDescription.length, BINLOG_MAGIC.length);
    }
    return fd;
  }

  #event(event: BinlogEvent): void {
    if (this.stopped) return;
    // The layout that was given to start with ends before the point.
    const end = { file: this.#file, offset: event.endOffset };
    if (comparePositions(end, this.#from) <= 0) return;
    if (!this.#tracker.open) this.#begun = { file: this.#file, offset: event.endOffset - event.length };
    const commit = this.#tracker.next(event);
    if (commit !== undefined) {
      if (!this.#stop.takes({ ...commit, start: this.#begun, end })) {
        this.stopped = true;
        return;
      }
      this.#transactions++;
      this.#lastCommitAtMs = Math.max(this.#lastCommitAtMs, commit.atMs);
      this.stopped = this.#stop.complete;
    }
    if (!this.#tracker.open) this.#goodTo = end;
  }

  async #applyFile(): Promise<void> {
    const fd = this.#fd;
    if (fd === undefined) return;
    const to = this.#goodTo.file === this.#file ? this.#goodTo.offset : 0;
    if (to > this.#applyFrom) {
      ftruncateSync(fd, to);
      await this.#deps.apply(this.#path(), this.#applyFrom);
    }
    this.close();
  }
}
