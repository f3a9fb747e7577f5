// A vault's log store in memory, for engines' tests: it takes pieces and gaps by the vault's own rules (log-order.ts), says what it
// has, and serves it. It can break its sessions and hold back its acknowledgements.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { checkMerge, headAfterGap, headAfterSegment, type LogHead } from '@holdfast/shared/format/log-order';
import {
  sameStream,
  type DatabasePoint,
  type LogGap,
  type LogRange,
  type LogStream,
} from '@holdfast/shared/format/log-point';
import { ObjectKind, objectId, parseHeader } from '@holdfast/shared/format/envelope';
import type { LogClient, LogReadSession, LogSession, SealedLogSegment } from '../link/log-port.ts';

export const MEMORY_LOG_WINDOW_BYTES = 16 * 1024 * 1024;

export interface MemorySegment {
  readonly id: Buffer;
  readonly envelope: Buffer<ArrayBuffer>;
  readonly range: LogRange;
}

export class MemoryLog {
  /** Live pieces and files in the order stored; what a merged piece replaced is gone. */
  segments: MemorySegment[] = [];
  readonly gaps: LogGap[] = [];
  /** What was committed: decides `baseNeeded`. Add to it what a test's base says. */
  readonly bases: DatabasePoint[] = [];
  /** Called before each piece and gap is taken, with how many were taken so far; an error ends the session, a promise holds it back. */
  beforeStore: (taken: number) => Promise<void> | void = () => undefined;
  readonly #heads: LogHead[] = [];
  #live: MemoryLogSession | undefined;
  #taken = 0;

  get client(): LogClient {
    return {
      openLog: async ({ signal }) => this.#open(signal),
      openLogRead: async () => this.#read(),
    };
  }

  /** Ends the live session as a broken connection does. */
  disconnect(): void {
    this.#live?.fail(new HoldfastError('UNREACHABLE', 'the connection broke'));
  }

  /** The newest run of a stream. */
  head(stream: LogStream): LogHead | undefined {
    return this.#heads.find((head) => sameStream(head.stream, stream));
  }

  #open(signal: AbortSignal): LogSession {
    this.#live?.fail(new HoldfastError('SESSION_ENDED', 'a newer stream of this source has taken over'));
    const session = new MemoryLogSession(this.#heads.toReversed(), this.#baseNeeded(), {
      beforeStore: async () => this.beforeStore(this.#taken++),
      store: (segment) => this.#store(segment),
      storeGap: (gap) => this.#storeGap(gap),
    });
    this.#live = session;
    signal.addEventListener('abort', () => session.fail(new HoldfastError('CANCELLED', 'cancelled')), { once: true });
    return session;
  }

  #store(segment: MemorySegment): void {
    const { id, envelope, range } = segment;
    if (!objectId(envelope).equals(id) || parseHeader(envelope).kind !== ObjectKind.logSegment) {
      throw new HoldfastError('PROTOCOL_VIOLATION', 'the bytes sent are not that log segment');
    }
    const own = this.segments.filter(({ range: stored }) => sameStream(stored.stream, range.stream));
    const same = own.find(
      ({ range: stored }) => stored.file === range.file && covers(range, stored) && covers(stored, range),
    );
    // Empty pieces at one place differ in the time that they tell alone.
    const tellsMore = range.start.order === range.end.order && range.completeToMs !== same?.range.completeToMs;
    if (same?.id.equals(id) === true && !tellsMore) return;
    if (range.file !== '') {
      this.segments = this.segments.filter((one) => !own.includes(one) || one.range.file !== range.file);
    } else if (range.merged) {
      const covered = own
        .filter(({ range: stored }) => stored.file === '' && covers(range, stored))
        .toSorted((a, b) => Number(a.range.start.order - b.range.start.order || a.range.end.order - b.range.end.order));
      checkMerge(
        range,
        covered.map((one) => ({ start: one.range.start.order, end: one.range.end.order })),
      );
      this.segments = this.segments.filter((one) => !covered.includes(one));
    } else {
      this.#setHead(headAfterSegment(this.head(range.stream), range));
    }
    this.segments.push(segment);
  }

  #storeGap(gap: LogGap): void {
    const told = this.gaps.findIndex(
      (one) => sameStream(one.stream, gap.stream) && one.start.order === gap.start.order,
    );
    this.#setHead(headAfterGap(this.head(gap.stream), gap));
    if (told >= 0) this.gaps.splice(told, 1);
    this.gaps.push(gap);
  }

  #setHead(head: LogHead): void {
    const index = this.#heads.findIndex((one) => sameStream(one.stream, head.stream));
    if (index >= 0) this.#heads.splice(index, 1);
    this.#heads.push(head);
  }

  #baseNeeded(): boolean {
    const newest = this.#heads.at(-1);
    const reaches = (base: DatabasePoint): boolean =>
      newest === undefined ||
      (sameStream(base.stream, newest.stream) &&
        newest.start.order <= base.start.order &&
        base.end.order <= newest.end.order);
    return !this.bases.some((base) => base.hasLog && reaches(base));
  }

  #read(): LogReadSession {
    const all = (): MemorySegment[] => this.segments;
    return {
      async *list(stream, start, end) {
        const found = all().filter(
          ({ range }) =>
            sameStream(range.stream, stream) &&
            (range.file !== '' || (range.end.order > start && (end === undefined || range.start.order < end))),
        );
        found.sort((a, b) => Number(a.range.start.order - b.range.start.order));
        for (const { id, range, envelope } of found) yield { id, range, length: envelope.length };
      },
      async *fetch(ids) {
        for (const id of ids) {
          const found = all().find((one) => one.id.equals(id));
          if (found === undefined) {
            throw new HoldfastError(
              'DAMAGED',
              `log segment ${Buffer.from(id).toString('hex')}: the vault does not have it`,
            );
          }
          yield { id: found.id, envelope: Buffer.from(found.envelope) };
        }
      },
      close: () => undefined,
    };
  }
}

interface SessionPorts {
  beforeStore(): Promise<void>;
  store(segment: MemorySegment): void;
  storeGap(gap: LogGap): void;
}

class MemoryLogSession implements LogSession {
  readonly ends: readonly LogHead[];
  readonly baseNeeded: boolean;
  readonly windowBytes = MEMORY_LOG_WINDOW_BYTES;
  onStored: (count: number) => void = () => undefined;
  readonly #ports: SessionPorts;
  readonly #ended = Promise.withResolvers<void>();
  #turn: Promise<void> = Promise.resolve();
  #moved = Promise.withResolvers<void>();
  #failure: HoldfastError | undefined;
  #waitingBytes = 0;
  #stored = 0;

  constructor(ends: readonly LogHead[], baseNeeded: boolean, ports: SessionPorts) {
    this.ends = ends;
    this.baseNeeded = baseNeeded;
    this.#ports = ports;
    this.#ended.promise.catch(() => undefined);
  }

  async send(segment: SealedLogSegment): Promise<void> {
    const taken = copyOf(segment);
    this.#take(taken.envelope.length, () => this.#ports.store(taken)).catch(() => undefined);
    while (this.#failure === undefined && this.#waitingBytes > this.windowBytes) await this.#moved.promise;
    if (this.#failure !== undefined) throw this.#failure;
  }

  gap(gap: LogGap): Promise<void> {
    return this.#take(0, () => this.#ports.storeGap(gap));
  }

  ended(): Promise<void> {
    return this.#ended.promise;
  }

  close(): void {
    this.#ended.resolve();
    this.#failure ??= new HoldfastError('SESSION_ENDED', 'the session was closed');
    this.#tell();
  }

  fail(error: HoldfastError): void {
    this.#failure ??= error;
    this.#ended.reject(this.#failure);
    this.#tell();
  }

  #take(bytes: number, work: () => void): Promise<void> {
    this.#waitingBytes += bytes;
    const before = this.#turn;
    const done = (async (): Promise<void> => {
      await before;
      if (this.#failure !== undefined) throw this.#failure;
      await this.#ports.beforeStore();
      if (this.#failure !== undefined) throw this.#failure;
      work();
      this.#waitingBytes -= bytes;
      this.onStored(++this.#stored);
      this.#tell();
    })();
    this.#turn = done.catch((error: unknown) => this.fail(toHoldfastError(error)));
    return done;
  }

  #tell(): void {
    this.#moved.resolve();
    this.#moved = Promise.withResolvers<void>();
  }
}

function copyOf({ id, envelope, range }: SealedLogSegment): MemorySegment {
  return { id: Buffer.from(id), envelope: Buffer.from(envelope), range };
}

function covers(outer: LogRange, inner: LogRange): boolean {
  return outer.start.order <= inner.start.order && inner.end.order <= outer.end.order;
}
