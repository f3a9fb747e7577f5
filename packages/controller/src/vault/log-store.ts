// One stream that stores a source's log: pieces in, whole checked segments to the log in order, counts of what is durable out.
//
// Hazard: as for a backup's stream (receiving-stream.ts, ingest-stream.ts). Besides: a flood of tiny pieces would be a flood of
// rows and syncs, so what arrives while one transaction is under way goes together into the next, and a stream takes only so
// many a second.
//
// A newer stream of the same source ends this one (vault.ts tells it; log-append.ts refuses it). Any error ends the stream and
// leaves what was acknowledged.
//
// Tested in log-store.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { LogGap, LogRange } from '@holdfast/shared/format/log-point';

import { AnswerQueue } from './answer-queue.ts';
import type { LogStoreBegan, LogStoreStream, ObjectPart } from './contract.ts';
import type { LogItem } from './log-append.ts';
import { receivedObject, violation } from './received-object.ts';
import { ReceivingStream, type ReceivingDeps } from './receiving-stream.ts';

export interface LogStoreDeps extends ReceivingDeps {
  /** Stores items in order, all or none. */
  readonly append: (items: readonly LogItem[]) => Promise<void>;
}

/** Items that one transaction takes. */
const BATCH_MAX_ITEMS = 128;
/** Items that wait for one. */
const WAITING_MAX_ITEMS = 512;
/** Pieces and gaps a second, on average and at once: a log of 500 MB/s in pieces of 1 MiB. */
const ITEMS_A_SECOND = 500;
const ITEMS_AT_ONCE = 2000;
const ANSWERS_WAITING_MAX = 64;

interface Waiting {
  readonly item: LogItem;
  readonly bytes: number;
  readonly release: (() => void) | undefined;
}

export class LogStore extends ReceivingStream implements LogStoreStream {
  readonly began: LogStoreBegan;
  readonly #deps: LogStoreDeps;
  readonly #answers = new AnswerQueue<{ readonly count: number }>(ANSWERS_WAITING_MAX);
  #waiting: Waiting[] = [];
  #storing = false;
  #storedCount = 0;
  #allowance = ITEMS_AT_ONCE;
  #allowanceAtMs: number;

  constructor(began: LogStoreBegan, deps: LogStoreDeps) {
    super(deps);
    this.began = began;
    this.#deps = deps;
    this.#allowanceAtMs = deps.clock.monotonicMs();
  }

  get answers(): AsyncIterable<{ readonly count: number }> {
    return this.#answers;
  }

  part(part: ObjectPart): Promise<void> {
    return this.receive(async () => {
      if (part.referenceProofs.length > 0) throw violation('a log segment with references');
      await this.add(part);
    });
  }

  segment(id: Uint8Array, range: LogRange): Promise<void> {
    return this.receive(async () => {
      const { incoming } = this;
      if (incoming === undefined || incoming.filled < incoming.totalLength || !incoming.id.equals(id)) {
        throw violation('a log segment without its bytes');
      }
      const object = receivedObject(incoming.buffer, incoming, NO_SESSION, this.#deps.limits);
      if (object.kind !== ObjectKind.logSegment || object.references.length > 0) {
        throw new HoldfastError('NOT_ALLOWED', 'a log is made of log segments, which refer to nothing');
      }
      await this.#paced();
      this.take();
      this.#store({ item: { kind: 'segment', object, range }, bytes: incoming.totalLength, release: incoming.release });
    });
  }

  gap(gap: LogGap): Promise<void> {
    return this.receive(async () => {
      if (this.incoming !== undefined) throw violation('a gap inside a log segment');
      await this.#paced();
      this.#store({ item: { kind: 'gap', gap }, bytes: 0, release: undefined });
    });
  }

  alive(): Promise<void> {
    return this.receive(async () => {
      await this.#answers.room();
      this.#answers.push({ count: this.#storedCount }, () => true);
    });
  }

  protected override queueIsFull(): boolean {
    return this.#waiting.length >= WAITING_MAX_ITEMS;
  }

  protected override whenEnded(error: HoldfastError | undefined): void {
    // What a transaction is storing right now gives its bytes back itself.
    for (const waiting of this.#waiting.splice(0)) this.#done(waiting);
    this.#answers.end(error);
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
    this.assertOpen();
  }

  #store(waiting: Waiting): void {
    this.#waiting.push(waiting);
    if (this.#storing) return;
    this.#storing = true;
    void this.#drain().finally(() => (this.#storing = false));
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0 && this.isOpen) {
      const batch = this.#waiting.splice(0, batchLength(this.#waiting.map(({ item }) => item)));
      try {
        await this.#deps.append(batch.map(({ item }) => item));
        this.#storedCount += batch.length;
        this.#answers.push({ count: this.#storedCount }, () => true);
      } catch (error) {
        this.end(toHoldfastError(error));
      } finally {
        for (const waiting of batch) this.#done(waiting);
      }
    }
  }

  #done({ bytes, release }: Waiting): void {
    release?.();
    this.giveBack(bytes);
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
