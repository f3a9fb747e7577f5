// What a backup session still waits for: open probes, objects without acknowledgement, the commit.
//
// It is what a new stream is told again after a broken one, in this order. No IO and no time here; the stream is in
// vault-backup-session.ts, and the invariants V1 and V2 there are held by this.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { CommittedSnapshot, OutgoingObject, SnapshotCommit } from './vault-port.ts';

export type Outgoing =
  | { readonly kind: 'probe'; readonly batch: number; readonly ids: Uint8Array }
  | { readonly kind: 'object'; readonly object: OutgoingObject }
  | { readonly kind: 'commit'; readonly commit: SnapshotCommit };

/** A probe of this number names nothing: it says only that this side lives. */
export const KEEP_ALIVE_BATCH = 0;

interface OpenProbe {
  readonly ids: Uint8Array;
  readonly answer: PromiseWithResolvers<Uint8Array>;
}

interface OpenCommit {
  readonly commit: SnapshotCommit;
  readonly answer: PromiseWithResolvers<CommittedSnapshot>;
}

export class BackupLedger {
  /** Of the whole session, in the order sent. */
  storedCount = 0;
  newBytes = 0;
  unacknowledgedBytes = 0;
  readonly #unacknowledged: OutgoingObject[] = [];
  readonly #probes = new Map<number, OpenProbe>();
  #commit: OpenCommit | undefined;
  #nextBatch = KEEP_ALIVE_BATCH + 1;
  #storedBeforeStream = 0;
  #newBytesBeforeStream = 0;

  get isDrained(): boolean {
    return this.#unacknowledged.length === 0;
  }

  /** Whether the vault owes an answer. */
  get isOwed(): boolean {
    return this.#unacknowledged.length > 0 || this.#probes.size > 0 || this.#commit !== undefined;
  }

  /** A new stream counts from zero. Returns what it has to be told. */
  newStream(): Outgoing[] {
    this.#storedBeforeStream = this.storedCount;
    this.#newBytesBeforeStream = this.newBytes;
    return [
      ...Array.from(this.#probes, ([batch, { ids }]): Outgoing => ({ kind: 'probe', batch, ids })),
      ...this.#unacknowledged.map((object): Outgoing => ({ kind: 'object', object })),
      ...(this.#commit === undefined ? [] : [{ kind: 'commit', commit: this.#commit.commit } as const]),
    ];
  }

  addProbe(ids: Uint8Array): { readonly outgoing: Outgoing; readonly answer: Promise<Uint8Array> } {
    const batch = this.#nextBatch++;
    const answer = Promise.withResolvers<Uint8Array>();
    this.#probes.set(batch, { ids, answer });
    return { outgoing: { kind: 'probe', batch, ids }, answer: answer.promise };
  }

  addObject(object: OutgoingObject): Outgoing {
    this.#unacknowledged.push(object);
    this.unacknowledgedBytes += object.envelope.length;
    return { kind: 'object', object };
  }

  addCommit(commit: SnapshotCommit): { readonly outgoing: Outgoing; readonly answer: Promise<CommittedSnapshot> } {
    const answer = Promise.withResolvers<CommittedSnapshot>();
    this.#commit = { commit, answer };
    return { outgoing: { kind: 'commit', commit }, answer: answer.promise };
  }

  /** Throws PROTOCOL_VIOLATION, like the other answers, for one that answers nothing. */
  probed(batch: number, present: Uint8Array): void {
    if (batch === KEEP_ALIVE_BATCH) return;
    const probe = this.#probes.get(batch);
    if (probe === undefined) throw violation('it answered a probe that is not open');
    if (present.length * 32 !== probe.ids.length) throw violation('its answer to a probe has another length');
    this.#probes.delete(batch);
    probe.answer.resolve(present);
  }

  /** Both figures are of this stream. */
  stored(countOfStream: number, newBytesOfStream: number): void {
    const count = this.#storedBeforeStream + countOfStream - this.storedCount;
    if (count < 0 || count > this.#unacknowledged.length) throw violation('it acknowledged objects that were not sent');
    for (const object of this.#unacknowledged.splice(0, count)) this.unacknowledgedBytes -= object.envelope.length;
    this.storedCount += count;
    this.newBytes = this.#newBytesBeforeStream + newBytesOfStream;
  }

  committed(snapshot: CommittedSnapshot): void {
    if (this.#commit === undefined) throw violation('it committed what was not asked for');
    this.#commit.answer.resolve(snapshot);
    this.#commit = undefined;
  }

  rejectAll(error: HoldfastError): void {
    for (const probe of this.#probes.values()) probe.answer.reject(error);
    this.#probes.clear();
    this.#commit?.answer.reject(error);
    this.#commit = undefined;
  }
}

export function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the controller broke the vault protocol: ${what}`);
}
