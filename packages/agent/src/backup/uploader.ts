// Uploader: takes sealed objects in the order in which the backup made them, asks the vault which chunks it lacks, and
// sends those and every node, in order.
//
// Hazard: a node may only follow what it refers to, and a question for each chunk would cost a round trip each. So
// questions go out in batches as objects come in, while the queue itself is worked off strictly from its head.
//
// Invariants (uploader.test.ts):
//   U1 an object is sent only after every object offered before it was sent or answered "present";
//   U2 bytes offered are held (Pressure) until the vault has acknowledged them or said that it has them;
//   U3 nodes are never asked about: what the base snapshot did not have is sent.
//
// The connection, its repair and its byte window are the session's (link/).

import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { BandwidthLimiter } from '../jobs/bandwidth-limiter.ts';
import type { BackupSession } from '../link/vault-port.ts';
import type { Pressure } from './pressure.ts';

export interface SealedChunk {
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
  readonly plainLength: number;
}

export interface SealedNode {
  readonly id: Uint8Array;
  readonly envelope: Uint8Array;
  /** siv[16..32] of each reference. */
  readonly referenceProofs: Uint8Array;
}

interface QueuedChunk extends SealedChunk {
  readonly kind: 'chunk';
  present: Promise<boolean>;
  answer: (present: boolean) => void;
  refuse: (reason: unknown) => void;
}

interface QueuedNode extends SealedNode {
  readonly kind: 'node';
}

type UploadSession = Pick<BackupSession, 'probe' | 'send' | 'drained'> & {
  onStored: BackupSession['onStored'];
};

export class Uploader {
  readonly #session: UploadSession;
  readonly #limiter: BandwidthLimiter;
  readonly #pressure: Pressure;
  readonly #queue: (QueuedChunk | QueuedNode)[] = [];
  readonly #unprobed: QueuedChunk[] = [];
  /** What was sent and not yet acknowledged, in order. */
  readonly #unacknowledged: Uint8Array[] = [];
  #acknowledged = 0;
  #probesOpen = 0;
  #probeScheduled = false;
  #wake: (() => void) | undefined;
  #ended = false;
  readonly #finished: Promise<void>;
  #newPlainBytes = 0;

  constructor(session: UploadSession, limiter: BandwidthLimiter, pressure: Pressure) {
    this.#session = session;
    this.#limiter = limiter;
    this.#pressure = pressure;
    session.onStored = (count) => this.#acknowledge(count);
    this.#finished = this.#run();
    // Awaited in finish() and failed(); until then a failure must not count as unhandled.
    this.#finished.catch(() => undefined);
  }

  /** Plain bytes of the chunks that the vault lacked. */
  get newPlainBytes(): number {
    return this.#newPlainBytes;
  }

  /** The caller has already counted the envelope as held. */
  offerChunk(chunk: SealedChunk): void {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    promise.catch(() => undefined);
    const queued: QueuedChunk = { ...chunk, kind: 'chunk', present: promise, answer: resolve, refuse: reject };
    this.#unprobed.push(queued);
    this.#enqueue(queued);
    this.#scheduleProbe();
  }

  /** The caller has already counted the envelope as held. */
  offerNode(node: SealedNode): void {
    this.#enqueue({ ...node, kind: 'node' });
  }

  /** Resolves when everything offered is durable. Nothing may be offered afterwards. */
  async finish(): Promise<void> {
    this.#ended = true;
    this.#wake?.();
    await this.#finished;
    await this.#session.drained();
  }

  /** Rejects as soon as sending has failed; never resolves before `finish` was called. */
  failed(): Promise<void> {
    return this.#finished;
  }

  #enqueue(item: QueuedChunk | QueuedNode): void {
    this.#queue.push(item);
    this.#wake?.();
  }

  async #run(): Promise<void> {
    for (;;) {
      const item = this.#queue.shift();
      if (item === undefined) {
        if (this.#ended) return;
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = undefined;
        continue;
      }
      if (item.kind === 'chunk') {
        if (await item.present) {
          this.#letGo(item.envelope);
          continue;
        }
        this.#newPlainBytes += item.plainLength;
      }
      await this.#limiter.take(item.envelope.length);
      this.#unacknowledged.push(item.envelope);
      await this.#session.send(
        item.kind === 'node' && item.referenceProofs.length > 0
          ? { id: item.id, envelope: item.envelope, referenceProofs: item.referenceProofs }
          : { id: item.id, envelope: item.envelope },
      );
    }
  }

  #acknowledge(count: number): void {
    while (this.#acknowledged < count) {
      const envelope = this.#unacknowledged.shift();
      if (envelope === undefined) return;
      this.#acknowledged++;
      this.#letGo(envelope);
    }
  }

  #letGo(envelope: Uint8Array): void {
    this.#pressure.release(envelope.length);
    freeNow(envelope);
  }

  /** A batch goes out at the end of this turn of the event loop, so that chunks arriving together are asked about together. */
  #scheduleProbe(): void {
    if (this.#probeScheduled) return;
    this.#probeScheduled = true;
    setImmediate(() => {
      this.#probeScheduled = false;
      this.#probe();
    });
  }

  #probe(): void {
    const enough = this.#probesOpen === 0 || this.#unprobed.length >= PROBE_BATCH;
    if (this.#unprobed.length === 0 || !enough || this.#probesOpen >= PROBES_OPEN) return;
    const batch = this.#unprobed.splice(0, PROBE_MOST);
    this.#probesOpen++;
    this.#session
      .probe(Buffer.concat(batch.map((chunk) => chunk.id)))
      .then(
        (present) => batch.forEach((chunk, index) => chunk.answer(present[index] === 1)),
        (error: unknown) => batch.forEach((chunk) => chunk.refuse(toHoldfastError(error))),
      )
      .finally(() => {
        this.#probesOpen--;
        this.#probe();
      })
      .catch(() => undefined);
  }
}

/** Gives the memory back at once: the collector sees only small handles, and would leave tens of MiB lying about. */
function freeNow(envelope: Uint8Array): void {
  if (envelope.buffer instanceof ArrayBuffer) envelope.buffer.transfer(0);
}

/** With a question open, the next one waits for this many chunks (about 16 MiB), or for the answer. */
const PROBE_BATCH = 16;
const PROBE_MOST = 4_096;
const PROBES_OPEN = 16;
