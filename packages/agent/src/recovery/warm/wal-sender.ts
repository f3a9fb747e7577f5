// Gives a standby server the log that the vault has, as its primary would: over a socket that only the server's account can reach.
//
//   vault's log ──stored-wal──▶ WalSender ──replication protocol──▶ the standby's receiver ──▶ replay, on and on
//
// Hazard: memory, and a receiver that waits. Pieces are sent one after the other as the socket takes them; while there is no more, the
// receiver is kept from giving up.
//
// Hazard: being done too early. `drain` resolves only when what was the end of the stored log, seen after it was called, is on the standby's disk.

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { sleep, type Clock } from '@holdfast/shared/runtime/clock';
import type { Log } from '@holdfast/shared/runtime/log';
import type { LogReadSession } from '../../link/log-port.ts';
import type { KeyRing } from '../../restore/key-ring.ts';
import { fileStart, formatLsn, historyFileName } from '../../sources/postgres/log/lsn.ts';
import {
  beginCopy,
  endCopy,
  keepalive,
  MessageReader,
  nextTimeline,
  ready,
  refusal,
  row,
  walData,
  welcome,
  type FromStandby,
} from './replication-messages.ts';
import { storedFrom, type StoredPiece, type WalWay } from './stored-wal.ts';

export interface WalSenderDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly keys: KeyRing;
  /** Of the base: before this nothing was stored. */
  readonly baseStart: bigint;
  readonly serverVersion: string;
  readonly walFileBytes: number;
  /** The way as it is known now, and a session that may read it. Throws while there is none. */
  readonly source: () => Promise<{ readonly session: LogReadSession; readonly way: WalWay }>;
  /** The log can't be given any further, now (UNREACHABLE, NOT_ALLOWED) or ever (DAMAGED). Called each time. */
  readonly failed: (error: HoldfastError) => void;
}

export interface ReplayState {
  readonly timeline: number;
  readonly applied: bigint;
  /** Server's clock: everything committed up to then is replayed; 0: not known. */
  readonly completeToMs: number;
}

const LOOK_MS = 250;
const KEEPALIVE_MS = 5000;
const RETRY_MS = 1000;
const DRAIN_MS = 25;
const SENT_AT_ONCE = 128 * 1024;
const TIMES_KEPT = 4096;

export class WalSender {
  readonly #deps: WalSenderDeps;
  readonly #server: Server;
  readonly #over = new AbortController();
  readonly #sent: { end: bigint; completeToMs: number }[] = [];
  #connection: Connection | undefined;
  #replayed: ReplayState | undefined;
  #flushed = 0n;
  /** Of the newest look for more that found none: when it began, and what had been sent. */
  #end: { readonly lookedAtMs: number; readonly at: bigint } | undefined;
  /** Somebody waits for the end of the stored log. */
  #hurry = Promise.withResolvers<void>();

  constructor(deps: WalSenderDeps) {
    this.#deps = deps;
    this.#server = createServer((socket) => this.#connected(socket));
  }

  /** @param path of the socket; at most 107 bytes. Throws INVALID_ARGUMENT. */
  async listen(path: string): Promise<void> {
    if (Buffer.byteLength(path) > 107) {
      throw new HoldfastError('INVALID_ARGUMENT', `the path of the socket ${path} is too long for a socket`, {
        hint: 'Give the restore step a target with a shorter path.',
      });
    }
    this.#server.listen(path);
    await once(this.#server, 'listening');
  }

  /** Undefined until the standby has said where it is. */
  get replayed(): ReplayState | undefined {
    return this.#replayed;
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  /** Whether all that is stored was sent when somebody last looked, and is replayed. */
  get caughtUp(): boolean {
    return this.#end !== undefined && (this.#replayed?.applied ?? 0n) >= this.#end.at;
  }

  /** Resolves with the end of the stored log once the standby has it on disk. Throws CANCELLED. */
  async drain(signal: AbortSignal): Promise<bigint> {
    const { clock } = this.#deps;
    const calledAtMs = clock.monotonicMs();
    let end: bigint | undefined;
    this.#hurry.resolve();
    this.#hurry = Promise.withResolvers();
    for (;;) {
      if (signal.aborted) throw new HoldfastError('CANCELLED', 'cancelled while the rest of the log was replayed');
      if (end === undefined && (this.#end?.lookedAtMs ?? 0) >= calledAtMs) end = this.#end?.at;
      if (end !== undefined) {
        if (this.#flushed >= end) return end;
        // Not faster than it can answer: a receiver that is asked without a pause writes nothing to its disk.
        this.#connection?.ask(end);
      }
      await sleep(clock, DRAIN_MS, signal);
    }
  }

  async close(): Promise<void> {
    this.#over.abort();
    this.#connection?.socket.destroy();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await closed;
  }

  #connected(socket: Socket): void {
    // A standby has one receiver; a newer one takes the place of one that hangs.
    this.#connection?.socket.destroy();
    const connection = new Connection(socket, this.#deps.clock, this.#over.signal);
    this.#connection = connection;
    socket.on('data', (chunk) => {
      try {
        for (const message of connection.reader.take(chunk)) this.#heard(connection, message);
      } catch (error) {
        this.#deps.log.warn('warm.receiver-refused', { error: toHoldfastError(error).message });
        socket.destroy();
      }
    });
    socket.on('error', () => undefined);
    socket.once('close', () => {
      connection.over.abort();
      if (this.#connection === connection) this.#connection = undefined;
    });
  }

  #heard(connection: Connection, message: FromStandby): void {
    switch (message.kind) {
      case 'startup':
        connection.write(welcome(this.#deps.serverVersion));
        return;
      case 'status':
        this.#status(connection, message.flushed, message.applied);
        return;
      case 'copy-done':
        connection.ended.resolve();
        return;
      case 'end':
        connection.socket.end();
        return;
      case 'other':
        if (message.text !== 'feedback' && message.text !== 'H')
          connection.write(Buffer.concat([refusal(`a log from a vault knows no ${message.text}`), ready()]));
        return;
      case 'identify':
      case 'history':
      case 'start':
        void this.#answer(connection, message).catch((thrown: unknown) => {
          const error = toHoldfastError(thrown);
          if (!connection.over.signal.aborted) this.#deps.failed(error);
          connection.write(Buffer.concat([refusal(error.message), ready()]));
          connection.socket.end();
        });
    }
  }

  async #answer(
    connection: Connection,
    message: Extract<FromStandby, { kind: 'identify' | 'history' | 'start' }>,
  ): Promise<void> {
    const { session, way } = await this.#deps.source();
    if (message.kind === 'identify') {
      const newest = way.parts.at(-1)!;
      const identity = [
        ['systemid', way.systemIdentifier],
        ['timeline', String(newest.timeline)],
        // A receiver that is further than this would wait instead of asking: what is not stored yet is waited for here.
        ['xlogpos', formatLsn(newest.to - 1n)],
        ['dbname', undefined],
      ] as const;
      connection.write(Buffer.concat([row(identity, 'IDENTIFY_SYSTEM'), ready()]));
      return;
    }
    if (message.kind === 'history') {
      const name = historyFileName(message.timeline);
      const segment = way.histories.get(name);
      if (segment === undefined) throw new HoldfastError('DAMAGED', `the history ${name} is not in the vault`);
      for await (const { id, envelope } of session.fetch([segment.id])) {
        const { plain } = this.#deps.keys.open(envelope, { id, kind: 4 });
        connection.write(
          Buffer.concat([
            row(
              [
                ['filename', name],
                ['content', Buffer.from(plain)],
              ],
              'TIMELINE_HISTORY',
            ),
            ready(),
          ]),
        );
      }
      return;
    }
    await this.#stream(connection, message.timeline, message.at);
  }

  async #stream(connection: Connection, timeline: number, from: bigint): Promise<void> {
    connection.write(beginCopy());
    connection.timeline = timeline;
    let at = from;
    let damagedAt: bigint | undefined;
    let quietSinceMs = this.#deps.clock.monotonicMs();
    while (!connection.over.signal.aborted) {
      const lookedAtMs = this.#deps.clock.monotonicMs();
      const { session, way } = await this.#ready(connection);
      const index = way.parts.findIndex((part) => part.timeline === timeline);
      const part = way.parts[index];
      if (part === undefined)
        throw new HoldfastError('DAMAGED', `timeline ${timeline} is not on the way of the stored log`);
      const neededFrom = index === 0 ? this.#deps.baseStart : part.from;
      const begun = at;
      // The first file of a timeline holds the end of its parent's part.
      const whole = index === 0 ? part : { ...part, from: fileStart(part.from, this.#deps.walFileBytes) };
      try {
        for await (const piece of storedFrom(session, this.#deps.keys, way, whole, at, neededFrom)) {
          await this.#send(connection, piece);
          at = piece.start + BigInt(piece.bytes.length);
        }
      } catch (thrown) {
        const error = toHoldfastError(thrown);
        if (connection.over.signal.aborted) return;
        // A piece that was merged with others between being listed and being fetched is no hole: it is looked at again.
        const again = error.code === 'DAMAGED' && damagedAt === at;
        damagedAt = at;
        if (again || error.code !== 'DAMAGED') this.#deps.failed(error);
        if (again) throw error;
        await sleep(this.#deps.clock, RETRY_MS, connection.over.signal);
        continue;
      }
      const next = way.parts[index + 1];
      if (next !== undefined && at >= part.to) return this.#endTimeline(connection, next.timeline, part.to);
      this.#end = { lookedAtMs, at };
      const nowMs = this.#deps.clock.monotonicMs();
      if (at > begun) quietSinceMs = nowMs;
      else if (nowMs - quietSinceMs > KEEPALIVE_MS) {
        connection.ask(at);
        quietSinceMs = nowMs;
      }
      await Promise.race([sleep(this.#deps.clock, LOOK_MS, connection.over.signal), this.#hurry.promise]);
    }
  }

  /** The way, once there is one: a controller that is away is waited for. */
  async #ready(connection: Connection): Promise<{ readonly session: LogReadSession; readonly way: WalWay }> {
    for (;;) {
      try {
        return await this.#deps.source();
      } catch (thrown) {
        const error = toHoldfastError(thrown);
        this.#deps.failed(error);
        if (error.code === 'DAMAGED' || connection.over.signal.aborted) throw error;
        connection.ask(this.#end?.at ?? 0n);
        await sleep(this.#deps.clock, RETRY_MS, connection.over.signal);
      }
    }
  }

  async #send(connection: Connection, { start, bytes, completeToMs }: StoredPiece): Promise<void> {
    const end = start + BigInt(bytes.length);
    for (let at = 0; at < bytes.length; at += SENT_AT_ONCE) {
      const some = bytes.subarray(at, at + SENT_AT_ONCE);
      await connection.writeAll(walData(start + BigInt(at), end, this.#deps.clock.wallMs(), some));
    }
    this.#sent.push({ end, completeToMs });
    if (this.#sent.length > TIMES_KEPT) this.#sent.splice(0, this.#sent.length - TIMES_KEPT);
  }

  async #endTimeline(connection: Connection, timeline: number, at: bigint): Promise<void> {
    connection.ended = Promise.withResolvers<void>();
    connection.write(endCopy());
    await connection.ended.promise;
    connection.write(nextTimeline(timeline, formatLsn(at)));
  }

  #status(connection: Connection, flushed: bigint, applied: bigint): void {
    if (flushed > this.#flushed) this.#flushed = flushed;
    let completeToMs = this.#replayed?.completeToMs ?? 0;
    while (this.#sent[0] !== undefined && this.#sent[0].end <= applied) {
      completeToMs = Math.max(completeToMs, this.#sent.shift()!.completeToMs);
    }
    if (applied > 0n) this.#replayed = { timeline: connection.timeline, applied, completeToMs };
  }
}

/** One receiver's. */
class Connection {
  readonly socket: Socket;
  readonly reader = new MessageReader();
  readonly over = new AbortController();
  readonly #clock: Clock;
  timeline = 0;
  /** The receiver has ended its side of the copy. */
  ended = Promise.withResolvers<void>();

  constructor(socket: Socket, clock: Clock, end: AbortSignal) {
    this.socket = socket;
    this.#clock = clock;
    end.addEventListener('abort', () => this.over.abort(), { once: true });
    this.over.signal.addEventListener('abort', () => this.ended.resolve(), { once: true });
  }

  write(bytes: Buffer): boolean {
    return this.socket.destroyed || !this.socket.writable ? true : this.socket.write(bytes);
  }

  async writeAll(bytes: Buffer): Promise<void> {
    if (this.over.signal.aborted) throw new HoldfastError('CANCELLED', 'the receiver is gone');
    if (this.write(bytes)) return;
    // Ends with an error when the receiver does: the next write says so.
    await once(this.socket, 'drain', { signal: this.over.signal }).catch(() => undefined);
  }

  /** For a status, now. */
  ask(end: bigint): void {
    this.write(keepalive(end, this.#clock.wallMs(), true));
  }
}
