// What the streams that store objects have in common: pieces in, whole objects out, within a window and a budget.
//
// Hazard: the sender is hostile. A length is believed only under the limit and once its bytes are reserved, pieces follow each
// other, an object takes only so long, and a stream that is silent ends. Any error ends the stream.
//
// What becomes of a whole object, and when its bytes are given back, is the stream's own: ingest-stream.ts, log-store.ts. Tested
// in ingest.db.test.ts, hostile-agent.db.test.ts and log-store.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, PROOF_BYTES } from '@holdfast/shared/format/envelope';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';

import type { ObjectPart } from './contract.ts';
import type { ByteBudget, VaultLimits } from './ingest-limits.ts';
import { tooLarge, violation } from './received-object.ts';

const PART_MAX_BYTES = 1024 * 1024;

export interface ReceivingDeps {
  readonly budget: ByteBudget;
  readonly limits: VaultLimits;
  readonly clock: Clock;
  /** Throws when a quota forbids so many more bytes. */
  readonly admit: (bytes: number) => void;
  readonly closed: () => void;
}

export interface IncomingObject {
  readonly id: Buffer;
  readonly totalLength: number;
  readonly referenceProofs: Buffer;
  readonly startedAtMs: number;
  /** The piece itself, when the only one so far is the whole object. */
  readonly buffer: Buffer;
  filled: number;
  /** To be called when `buffer` is not needed any more. */
  readonly release: (() => void) | undefined;
}

export abstract class ReceivingStream {
  readonly #deps: ReceivingDeps;
  #incoming: IncomingObject | undefined;
  #unacknowledgedBytes = 0;
  #idle: Timer | undefined;
  #roomMade: (() => void) | undefined;
  #ended: HoldfastError | undefined;

  protected constructor(deps: ReceivingDeps) {
    this.#deps = deps;
    this.#watchIdle();
  }

  close(reason: unknown = new HoldfastError('CANCELLED', 'the stream was closed')): void {
    this.end(toHoldfastError(reason));
  }

  /** After the stream's end, once. @param error absent: it ended well */
  protected abstract whenEnded(error: HoldfastError | undefined): void;

  /** Whether what was received already has to be stored before more is taken, whatever the window says. */
  protected queueIsFull(): boolean {
    return false;
  }

  /** Every message goes through here: a failure ends the stream, a message proves life. */
  protected async receive(work: () => Promise<void>): Promise<void> {
    try {
      this.assertOpen();
      this.#watchIdle();
      await work();
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      this.end(error);
      throw error;
    }
  }

  /** The object whose pieces are coming; it stays until it is taken. */
  protected get incoming(): IncomingObject | undefined {
    return this.#incoming;
  }

  /** Throws PROTOCOL_VIOLATION, LIMIT_EXCEEDED, TIMED_OUT, and what `admit` throws. */
  protected async add(part: ObjectPart): Promise<IncomingObject> {
    if (part.data.length > PART_MAX_BYTES) throw tooLarge('a piece of an object', PART_MAX_BYTES);
    return this.#incoming === undefined ? await this.#begin(part) : this.#goOn(this.#incoming, part);
  }

  /** The whole object is somebody's from now on, who gives its bytes back. */
  protected take(): void {
    this.#incoming = undefined;
  }

  protected giveBack(bytes: number): void {
    this.#unacknowledgedBytes -= bytes;
    this.#deps.budget.release(bytes);
    this.#roomMade?.();
  }

  protected get isOpen(): boolean {
    return this.#ended === undefined;
  }

  protected assertOpen(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  protected end(error?: HoldfastError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error ?? new HoldfastError('FAILED_PRECONDITION', 'the stream has ended with its commit');
    this.#idle?.cancel();
    if (this.#incoming !== undefined) this.giveBack(this.#incoming.totalLength);
    this.#incoming = undefined;
    this.#roomMade?.();
    this.whenEnded(error);
    this.#deps.closed();
  }

  async #begin(part: ObjectPart): Promise<IncomingObject> {
    const { limits, budget, admit, clock } = this.#deps;
    const { totalLength, data, referenceProofs } = part;
    if (part.id.length !== ID_BYTES) throw violation('an object id of another length');
    if (totalLength > limits.objectBytes) throw tooLarge(`an object of ${totalLength} bytes`, limits.objectBytes);
    if (part.offset !== 0 || data.length === 0 || data.length > totalLength)
      throw violation('a first piece that does not fit');
    if (referenceProofs.length > limits.objectReferences * PROOF_BYTES || referenceProofs.length % PROOF_BYTES !== 0) {
      throw violation('proofs of a wrong length');
    }
    admit(totalLength);
    await this.#room(totalLength);
    await budget.acquire(totalLength);
    if (this.#ended !== undefined) {
      budget.release(totalLength);
      throw this.#ended;
    }
    this.#unacknowledgedBytes += totalLength;
    const whole = data.length === totalLength;
    const buffer = whole ? data : Buffer.allocUnsafeSlow(totalLength);
    if (!whole) data.copy(buffer, 0);
    const incoming = {
      id: Buffer.from(part.id),
      totalLength,
      referenceProofs: Buffer.from(referenceProofs),
      startedAtMs: clock.monotonicMs(),
      buffer,
      filled: data.length,
      release: whole ? part.release : undefined,
    };
    this.#incoming = incoming;
    // Last: everything of the part is a view of the same bytes.
    if (!whole) part.release?.();
    return incoming;
  }

  #goOn(incoming: IncomingObject, part: ObjectPart): IncomingObject {
    const { data } = part;
    const fits =
      incoming.id.equals(part.id) &&
      part.totalLength === incoming.totalLength &&
      part.offset === incoming.filled &&
      data.length > 0 &&
      data.length <= incoming.totalLength - incoming.filled;
    if (!fits) throw violation('a piece that does not follow the one before it');
    if (this.#deps.clock.monotonicMs() - incoming.startedAtMs > this.#deps.limits.objectMs) {
      throw new HoldfastError('TIMED_OUT', 'an object took too long to arrive');
    }
    data.copy(incoming.buffer, incoming.filled);
    incoming.filled += data.length;
    part.release?.();
    return incoming;
  }

  /** Until the window has room for so many bytes more; one object that is larger may travel alone. */
  async #room(bytes: number): Promise<void> {
    const { windowBytes } = this.#deps.limits;
    while (this.queueIsFull() || (this.#unacknowledgedBytes > 0 && this.#unacknowledgedBytes + bytes > windowBytes)) {
      this.assertOpen();
      await new Promise<void>((resolve) => (this.#roomMade = resolve));
    }
  }

  #watchIdle(): void {
    this.#idle?.cancel();
    this.#idle = this.#deps.clock.after(
      this.#deps.limits.idleMs,
      () => this.end(new HoldfastError('TIMED_OUT', 'the stream was silent for too long')),
      { background: true },
    );
  }
}
