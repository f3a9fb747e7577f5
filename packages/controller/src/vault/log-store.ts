// One stream that stores a source's log: pieces in, whole checked segments to the log in order, counts of what is durable out.
//
// Hazard: as for a backup's stream (ingest-stream.ts): lengths are believed under a limit and once their bytes are reserved, ids
// are recomputed (I1), a silent stream ends. Besides: a flood of tiny pieces would be a flood of rows and syncs, so what arrives
// while one transaction is under way goes together into the next, and a stream takes only so many a second.
//
// A newer stream of the same source ends this one (vault.ts tells it; log-append.ts refuses it). Any error ends the stream and
// leaves what was acknowledged.
//
// Tested in log-store.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, ObjectKind } from '@holdfast/shared/format/envelope';
import type { LogGap, LogRange } from '@holdfast/shared/format/log-point';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';

import { AnswerQueue } from './answer-queue.ts';
import type { LogStoreBegan, LogStoreStream, ObjectPart } from './contract.ts';
import type { ByteBudget, VaultLimits } from './ingest-limits.ts';
import { PART_MAX_BYTES } from './ingest-stream.ts';
import type { LogItem } from './log-append.ts';
import { receivedObject, tooLarge, violation } from './received-object.ts';

export interface LogStoreDeps {
  readonly budget: ByteBudget;
  readonly limits: VaultLimits;
  readonly clock: Clock;
  /** Stores items in order, all or none. */
  readonly append: (items: readonly LogItem[]) => Promise<void>;
  /** Throws when a quota forbids so many more bytes. */
  readonly admit: (bytes: number) => void;
  readonly closed: () => void;
}

/** Items that one transaction takes. */
const BATCH_MAX_ITEMS = 128;
/** Items that wait for one. */
const WAITING_MAX_ITEMS = 512;
/** Pieces and gaps a second, on average and at once: a log of 500 MB/s in pieces of 1 MiB. */
const ITEMS_A_SECOND = 500;
const ITEMS_AT_ONCE = 2000;
const ANSWERS_WAITING_MAX = 64;

interface Incoming {
  readonly id: Buffer;
  readonly buffer: Buffer;
  readonly startedAtMs: number;
  filled: number;
}

export class LogStore implements LogStoreStream {
  readonly began: LogStoreBegan;
  readonly #deps: LogStoreDeps;
  readonly #answers = new AnswerQueue<{ readonly count: number }>(ANSWERS_WAITING_MAX);
  #incoming: Incoming | undefined;
  #waiting: { readonly item: LogItem; readonly bytes: number }[] = [];
  #storing = false;
  #unacknowledgedBytes = 0;
  #storedCount = 0;
  #allowance = ITEMS_AT_ONCE;
  #allowanceAtMs: number;
  #idle: Timer | undefined;
  #roomMade: (() => void) | undefined;
  #ended: HoldfastError | undefined;

  constructor(began: LogStoreBegan, deps: LogStoreDeps) {
    this.began = began;
    this.#deps = deps;
    this.#allowanceAtMs = deps.clock.monotonicMs();
    this.#watchIdle();
  }

  get answers(): AsyncIterable<{ readonly count: number }> {
    return this.#answers;
  }

  part(part: ObjectPart): Promise<void> {
    return this.#receive(async () => {
      const { data } = part;
      if (data.length > PART_MAX_BYTES) throw tooLarge('a piece of an object', PART_MAX_BYTES);
      const incoming = this.#continues(part) ? this.#incoming! : await this.#start(part);
      if (this.#deps.clock.monotonicMs() - incoming.startedAtMs > this.#deps.limits.objectMs) {
        throw new HoldfastError('TIMED_OUT', 'a log segment took too long to arrive');
      }
      data.copy(incoming.buffer, incoming.filled);
      incoming.filled += data.length;
      part.release?.();
    });
  }

  segment(id: Uint8Array, range: LogRange): Promise<void> {
    return this.#receive(async () => {
      const incoming = this.#incoming;
      if (incoming === undefined || incoming.filled < incoming.buffer.length || !incoming.id.equals(id)) {
        throw violation('a log segment without its bytes');
      }
      const none = { id: incoming.id, referenceProofs: Buffer.alloc(0) };
      const object = receivedObject(incoming.buffer, none, NO_SESSION, this.#deps.limits);
      if (object.kind !== ObjectKind.logSegment || object.references.length > 0) {
        throw new HoldfastError('NOT_ALLOWED', 'a log is made of log segments, which refer to nothing');
      }
      await this.#paced();
      this.#incoming = undefined;
      this.#store({ kind: 'segment', object, range }, incoming.buffer.length);
    });
  }

  gap(gap: LogGap): Promise<void> {
    return this.#receive(async () => {
      if (this.#incoming !== undefined) throw violation('a gap inside a log segment');
      await this.#paced();
      this.#store({ kind: 'gap', gap }, 0);
    });
  }

  alive(): Promise<void> {
    return this.#receive(async () => {
      await this.#answers.room();
      this.#answers.push({ count: this.#storedCount }, () => true);
    });
  }

  close(reason: unknown = new HoldfastError('CANCELLED', 'the stream was closed')): void {
    this.#end(toHoldfastError(reason));
  }

  async #receive(work: () => Promise<void>): Promise<void> {
    try {
      this.#assertOpen();
      this.#watchIdle();
      await work();
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      this.#end(error);
      throw error;
    }
  }

  #continues(part: ObjectPart): boolean {
    const incoming = this.#incoming;
    if (incoming === undefined) return false;
    const fits =
      incoming.id.equals(part.id) &&
      part.totalLength === incoming.buffer.length &&
      part.offset === incoming.filled &&
      part.data.length > 0 &&
      part.data.length <= incoming.buffer.length - incoming.filled;
    if (!fits) throw violation('a piece that does not follow the one before it');
    return true;
  }

  async #start(part: ObjectPart): Promise<Incoming> {
    const { limits, budget, admit, clock } = this.#deps;
    const { totalLength, data } = part;
    if (part.id.length !== ID_BYTES) throw violation('an object id of another length');
    if (totalLength > limits.objectBytes) throw tooLarge(`an object of ${totalLength} bytes`, limits.objectBytes);
    if (part.offset !== 0 || data.length === 0 || data.length > totalLength || part.referenceProofs.length > 0) {
      throw violation('a first piece that does not fit');
    }
    admit(totalLength);
    await this.#room(totalLength);
    await budget.acquire(totalLength);
    if (this.#ended !== undefined) {
      budget.release(totalLength);
      throw this.#ended;
    }
    this.#unacknowledgedBytes += totalLength;
    const incoming = {
      id: Buffer.from(part.id),
      buffer: Buffer.allocUnsafeSlow(totalLength),
      startedAtMs: clock.monotonicMs(),
      filled: 0,
    };
    this.#incoming = incoming;
    return incoming;
  }

  /** Until the window has room for so many bytes more, and the queue for an item. */
  async #room(bytes: number): Promise<void> {
    const { windowBytes } = this.#deps.limits;
    while (
      this.#waiting.length >= WAITING_MAX_ITEMS ||
      (this.#unacknowledgedBytes > 0 && this.#unacknowledgedBytes + bytes > windowBytes)
    ) {
      this.#assertOpen();
      await new Promise<void>((resolve) => (this.#roomMade = resolve));
    }
  }

  /** A token bucket: who sends more often waits. */
  async #paced(): Promise<void> {
    const { clock } = this.#deps;
    const now = clock.monotonicMs();
    const earned = ((now - this.#allowanceAtMs) * ITEMS_A_SECOND) / 1000;
    this.#allowance = Math.min(ITEMS_AT_ONCE, this.#allowance + earned) - 1;
    this.#allowanceAtMs = now;
    if (this.#allowance >= 0) return;
    await new Promise<void>((resolve) => void clock.after(1000 / ITEMS_A_SECOND, resolve));
    this.#assertOpen();
  }

  #store(item: LogItem, bytes: number): void {
    this.#waiting.push({ item, bytes });
    if (this.#storing) return;
    this.#storing = true;
    void this.#drain().finally(() => (this.#storing = false));
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0 && this.#ended === undefined) {
      const batch = this.#waiting.splice(0, batchLength(this.#waiting.map(({ item }) => item)));
      try {
        await this.#deps.append(batch.map(({ item }) => item));
        this.#storedCount += batch.length;
        this.#answers.push({ count: this.#storedCount }, () => true);
      } catch (error) {
        this.#end(toHoldfastError(error));
      } finally {
        for (const { bytes } of batch) this.#giveBack(bytes);
      }
    }
  }

  #giveBack(bytes: number): void {
    this.#unacknowledgedBytes -= bytes;
    this.#deps.budget.release(bytes);
    this.#roomMade?.();
  }

  #watchIdle(): void {
    this.#idle?.cancel();
    this.#idle = this.#deps.clock.after(
      this.#deps.limits.idleMs,
      () => this.#end(new HoldfastError('TIMED_OUT', 'the stream was silent for too long')),
      { background: true },
    );
  }

  #assertOpen(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  #end(error: HoldfastError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#idle?.cancel();
    if (this.#incoming !== undefined) this.#giveBack(this.#incoming.buffer.length);
    this.#incoming = undefined;
    // What a transaction is storing right now gives its bytes back itself.
    for (const { bytes } of this.#waiting.splice(0)) this.#giveBack(bytes);
    this.#roomMade?.();
    this.#answers.end(error);
    this.#deps.closed();
  }
}

/**
 * How many of the items go into one transaction. What may well be refused goes alone, so that nothing good is refused with it:
 * merged pieces, files, gaps.
 */
function batchLength(items: readonly LogItem[]): number {
  const isPlain = (item: LogItem): boolean => item.kind === 'segment' && !item.range.merged && item.range.file === '';
  const first = items.findIndex((item) => !isPlain(item));
  return Math.max(1, Math.min(BATCH_MAX_ITEMS, first === -1 ? items.length : first));
}

/** A log's pieces belong to no session: they are roots themselves. */
const NO_SESSION = { id: '', sourceId: '', epoch: 0, stream: 0, committed: false };
