// Chunks over a read session, for the units of a restore: each fetched once while it is in demand.
//
// Hazard: a bundle straddles leaves, and after many backups one bundle's files lie scattered over several: fetched for
// each unit anew it would cost its size every time. So what is used only in part is kept for a while.
//
// Invariants (fetchers.test.ts):
//   C1 every wanted chunk is answered, by its envelope or by the reason why there is none; an error of the session is thrown;
//   C2 at most KEPT_BYTES of envelopes are kept besides those handed out;
//   C3 an envelope that is kept is never transferred away.

import type { TransferListItem } from 'node:worker_threads';
import type { PlacedChunk } from '@holdfast/shared/format/manifest/entry';
import type { ObjectHandle, ReadSession } from '../link/vault-port.ts';
import { keyOf } from './opened-chunks.ts';
import type { PostedChunk } from './restore-task.ts';

const KEPT_BYTES = 6 * 1024 * 1024;

export interface WantedChunk {
  readonly chunk: PlacedChunk;
  /** Others will probably want it too: it is used here only in part. */
  readonly shared: boolean;
}

export interface FetchedChunks {
  readonly chunks: readonly PostedChunk[];
  /** What may go to a thread without a copy. */
  readonly transfer: readonly TransferListItem[];
}

export class ChunkFetcher {
  readonly #session: ReadSession;
  readonly #received: (bytes: number) => Promise<void>;
  /** The latest last. */
  readonly #kept = new Map<string, PostedChunk>();
  #keptBytes = 0;
  readonly #onTheWay = new Map<string, Promise<PostedChunk>>();

  constructor(session: ReadSession, received: (bytes: number) => Promise<void>) {
    this.#session = session;
    this.#received = received;
  }

  /** All of `wanted` are references of `parent`. Throws what the session throws. */
  async fetch(parent: ObjectHandle, wanted: readonly WantedChunk[]): Promise<FetchedChunks> {
    const known: Promise<PostedChunk>[] = [];
    const fresh: WantedChunk[] = [];
    for (const one of wanted) {
      const key = keyOf(one.chunk.id);
      const here = this.#kept.get(key);
      const coming = here === undefined ? this.#onTheWay.get(key) : Promise.resolve(here);
      if (coming === undefined) fresh.push(one);
      else known.push(coming);
    }
    const fetched = await this.#want(parent, fresh);
    const chunks = [...(await Promise.all(known)), ...fetched.chunks];
    return { chunks, transfer: fetched.transfer };
  }

  async #want(parent: ObjectHandle, fresh: readonly WantedChunk[]): Promise<FetchedChunks> {
    if (fresh.length === 0) return { chunks: [], transfer: [] };
    const open = new Map(fresh.map((one) => [one.chunk.index, { ...one, ...Promise.withResolvers<PostedChunk>() }]));
    const chunks: PostedChunk[] = [];
    const transfer: TransferListItem[] = [];
    for (const { chunk, shared, promise } of open.values()) {
      promise.catch(() => undefined);
      if (shared) this.#onTheWay.set(keyOf(chunk.id), promise);
    }
    const settle = (reference: number, answer: Omit<PostedChunk, 'id'>): void => {
      const one = open.get(reference);
      if (one === undefined) return;
      open.delete(reference);
      const posted = { id: one.chunk.id, ...answer };
      chunks.push(posted);
      if (one.shared) this.#keep(posted);
      else if (answer.envelope !== undefined) transfer.push(bufferOf(answer.envelope));
      one.resolve(posted);
      this.#onTheWay.delete(keyOf(one.chunk.id));
    };
    try {
      await this.#session.want(parent, [...open.keys()], {
        onObject: ({ reference, envelope }) => {
          settle(reference, { envelope, problem: '' });
          return this.#received(envelope.length);
        },
        onFailure: ({ reference, reason, message }) =>
          settle(reference, { envelope: undefined, problem: message === '' ? reason : `${reason}: ${message}` }),
      });
      for (const reference of open.keys()) settle(reference, { envelope: undefined, problem: 'not answered' });
    } catch (error) {
      for (const one of open.values()) {
        one.reject(error);
        this.#onTheWay.delete(keyOf(one.chunk.id));
      }
      throw error;
    }
    return { chunks, transfer };
  }

  #keep(posted: PostedChunk): void {
    if (posted.envelope === undefined) return;
    this.#kept.set(keyOf(posted.id), posted);
    this.#keptBytes += posted.envelope.length;
    for (const [key, old] of this.#kept) {
      if (this.#keptBytes <= KEPT_BYTES) break;
      this.#kept.delete(key);
      this.#keptBytes -= old.envelope?.length ?? 0;
    }
  }
}

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  // Envelopes come in a buffer of their own (ServedObject); a shared one could not be transferred.
  if (!(bytes.buffer instanceof ArrayBuffer)) throw new TypeError('an envelope in shared memory');
  return bytes.buffer;
}
