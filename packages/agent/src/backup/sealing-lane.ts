// The scan thread's side of sealing: gives pieces to the seal threads, takes their ids, and waits when too much is on its way.

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { ChunkSlot } from './assembler.ts';
import type { SealedPiece } from './messages.ts';
import type { Pressure } from './pressure.ts';
import type { Piece, Slabs } from './slabs.ts';

/** Envelopes held in this process (waiting for an answer, for the network, or for an acknowledgement) beyond which the scan waits. */
const HELD_LIMIT_BYTES = 24 * 1024 * 1024;

interface OnItsWay {
  readonly slot: ChunkSlot;
  readonly slab: number;
  readonly slabs: Slabs;
  readonly plainLength: number;
}

export class SealingLane {
  readonly #ports: readonly MessagePort[];
  readonly #pressure: Pressure;
  /** Called when slots were filled. */
  onSealed: () => void = () => undefined;
  readonly #onItsWay = new Map<number, OnItsWay>();
  /** By seal thread: pieces given and not yet sealed, and pieces sealed in all. */
  readonly #open: number[];
  readonly #sealed: number[];
  readonly #onFirstPiece: (lane: number) => void;
  readonly #opened = new Set<number>();
  #serial = 0;

  /** `onFirstPiece` tells that a seal thread is needed from now on. */
  constructor(ports: readonly MessagePort[], pressure: Pressure, onFirstPiece: (lane: number) => void) {
    this.#ports = ports;
    this.#pressure = pressure;
    this.#onFirstPiece = onFirstPiece;
    this.#open = ports.map(() => 0);
    this.#sealed = ports.map(() => 0);
  }

  /** Chunks that each seal thread has finished, as far as this thread knows. */
  get sealed(): readonly number[] {
    return [...this.#sealed];
  }

  /** Gives `piece` to be sealed. The slot (the caller's, or a new one) gets the chunk's reference some time later. */
  submit(slabs: Slabs, piece: Piece, slot: ChunkSlot = { reference: undefined }): ChunkSlot {
    const serial = this.#serial++;
    const lane = this.#open.indexOf(Math.min(...this.#open));
    this.#onItsWay.set(serial, { slot, slab: piece.slab, slabs, plainLength: piece.length });
    this.#open[lane]!++;
    this.#ports[lane]!.postMessage({ serial, ...piece });
    if (!this.#opened.has(lane)) this.#openLane(lane);
    this.#receive();
    if (this.#pressure.heldBytes() > HELD_LIMIT_BYTES) {
      this.waitUntil(() => this.#pressure.heldBytes() <= HELD_LIMIT_BYTES);
    }
    return slot;
  }

  /** Filling slabs faster than anybody empties them would only cost memory, so this waits until the thread is at work. */
  #openLane(lane: number): void {
    this.#opened.add(lane);
    this.#onFirstPiece(lane);
    this.waitUntil(() => this.#sealed[lane]! > 0);
  }

  /** Blocks until `ready` holds; takes what the seal threads answer meanwhile. Throws CANCELLED. */
  waitUntil(ready: () => boolean): void {
    this.#pressure.waitUntil(() => {
      this.#receive();
      return this.#pressure.cancelled || ready();
    });
    this.throwIfCancelled();
  }

  /** Blocks until everything submitted is sealed. */
  finish(): void {
    this.waitUntil(() => this.#onItsWay.size === 0);
  }

  throwIfCancelled(): void {
    if (this.#pressure.cancelled) throw new HoldfastError('CANCELLED', 'the backup was cancelled');
  }

  #receive(): void {
    let any = false;
    for (const [lane, port] of this.#ports.entries()) {
      for (let got = receiveMessageOnPort(port); got !== undefined; got = receiveMessageOnPort(port)) {
        this.#take(lane, got.message as SealedPiece);
        any = true;
      }
    }
    if (any) this.onSealed();
  }

  #take(lane: number, { serial, id, proof }: SealedPiece): void {
    const { slot, slab, slabs, plainLength } = this.#onItsWay.get(serial)!;
    this.#onItsWay.delete(serial);
    this.#open[lane]!--;
    this.#sealed[lane]!++;
    slabs.release(slab);
    slot.reference = { id: Buffer.from(id), proof: Buffer.from(proof), plainLength };
  }
}
