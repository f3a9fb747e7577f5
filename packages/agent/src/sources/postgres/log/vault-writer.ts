// Sends pieces of a log to the vault, in order, and says when each is stored.
//
// Hazard: memory. The bytes that are held here (not sealed, sealed, sent, not yet acknowledged) are counted, and whoever reads
// the server stops at a bound. A piece's plain bytes are let go of as soon as it is sealed.
//
// Invariants (vault-writer.test.ts): V1 what is stored is told in the order written, once; V2 heldBytes is what was written and is
// not stored; V3 after a session's end nothing more is told, and every wait ends with its error.

import { freeMemory } from '@holdfast/shared/base/free-memory';
import { toHoldfastError, type HoldfastError } from '@holdfast/shared/base/errors';
import type { LogGap, LogRange } from '@holdfast/shared/format/log-point';
import type { BandwidthLimiter } from '../../../jobs/bandwidth-limiter.ts';
import type { LogSession } from '../../../link/log-port.ts';

export interface SealedBytes {
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
}

export interface Outgoing {
  /** Asked for when it is sealed: by then more may be known of the time. */
  range(): LogRange;
  /** Plain bytes, given away; or what was sealed elsewhere. */
  readonly content: Buffer<ArrayBuffer> | SealedBytes;
  /** Of the log itself: counts as held until it is stored. */
  readonly heldBytes: number;
  stored(sealed: SealedBytes, range: LogRange): void;
}

interface Sent {
  readonly outgoing: Outgoing | undefined;
  readonly sealed: SealedBytes | undefined;
  readonly range: LogRange | undefined;
}

export class VaultWriter {
  readonly #session: LogSession;
  readonly #seal: (plain: Uint8Array) => SealedBytes;
  readonly #limiter: BandwidthLimiter;
  readonly #queue: Outgoing[] = [];
  /** Sent, in order, not yet stored. */
  readonly #sent: Sent[] = [];
  #storedCount = 0;
  #heldBytes = 0;
  #pumping = false;
  #failure: HoldfastError | undefined;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(session: LogSession, seal: (plain: Uint8Array) => SealedBytes, limiter: BandwidthLimiter) {
    this.#session = session;
    this.#seal = seal;
    this.#limiter = limiter;
    session.onStored = (count) => this.#stored(count);
    session.ended().then(
      () => undefined,
      (error: unknown) => this.#fail(toHoldfastError(error)),
    );
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Pieces that wait for the ones before them to be sent. */
  get waiting(): number {
    return this.#queue.length;
  }

  write(outgoing: Outgoing): void {
    if (this.#failure !== undefined) return;
    this.#heldBytes += outgoing.heldBytes;
    this.#queue.push(outgoing);
    if (!this.#pumping) void this.#pump();
  }

  /** Before the first piece, or when all are stored. Resolves when it is durable. */
  async gap(gap: LogGap): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#sent.push({ outgoing: undefined, sealed: undefined, range: undefined });
    await this.#session.gap(gap);
  }

  /** Resolves when everything written is stored. Throws what ended the session. */
  drained(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#queue.length === 0 && this.#sent.length === 0 && !this.#pumping) return Promise.resolve();
    this.#drained ??= Promise.withResolvers<void>();
    return this.#drained.promise;
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    try {
      for (
        let next = this.#queue.shift();
        next !== undefined && this.#failure === undefined;
        next = this.#queue.shift()
      ) {
        await this.#send(next);
      }
    } catch (error) {
      this.#fail(toHoldfastError(error));
    }
    this.#pumping = false;
    this.#settle();
  }

  async #send(outgoing: Outgoing): Promise<void> {
    const { content } = outgoing;
    const plain = content instanceof Uint8Array;
    const range = outgoing.range();
    const sealed = plain ? this.#seal(content) : content;
    if (plain && content.length > 0) freeMemory(content);
    await this.#limiter.take(sealed.envelope.length);
    this.#sent.push({ outgoing, sealed, range });
    await this.#session.send({ ...sealed, range });
  }

  #stored(count: number): void {
    while (this.#storedCount < count && this.#sent.length > 0) {
      const { outgoing, sealed, range } = this.#sent.shift()!;
      this.#storedCount++;
      if (outgoing === undefined || sealed === undefined || range === undefined) continue;
      this.#heldBytes -= outgoing.heldBytes;
      if (this.#failure === undefined) outgoing.stored(sealed, range);
    }
    this.#settle();
  }

  #settle(): void {
    if (this.#queue.length > 0 || this.#sent.length > 0 || this.#pumping) return;
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  #fail(error: HoldfastError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#queue.length = 0;
    this.#drained?.reject(error);
    this.#drained = undefined;
  }
}
