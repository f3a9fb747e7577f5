// One stream of a backup session: pieces in, whole checked objects to the domain's writer, answers out.
//
// Hazard: the sender is hostile. A length is believed only under the limit and once its bytes are reserved; an id is
// recomputed (I1); a header is parsed before anything acts on it; no stream holds memory without moving; and nothing that an
// agent may not write (the controller's own records, catalog backups) gets in.
//
// Acknowledgements are counts of whole objects in the stream's order. Any error ends this stream and changes nothing that
// was stored; the session stays, and another stream may go on with it.
//
// Tested in ingest.db.test.ts and hostile-agent.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES, PROOF_BYTES } from '@holdfast/shared/format/envelope';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';

import { AnswerQueue } from './answer-queue.ts';
import type { BackupAnswer, BackupBegan, BackupCommitted, BackupStream, CommitBackup, ObjectPart } from './contract.ts';
import type { DomainWriter, StoredOutcome } from './domain-writer.ts';
import type { ByteBudget, VaultLimits } from './ingest-limits.ts';
import { receivedObject, tooLarge, violation, type ReceivedObject } from './received-object.ts';
import type { Session } from './sessions.ts';

export interface IngestDeps {
  readonly writer: DomainWriter;
  readonly budget: ByteBudget;
  readonly limits: VaultLimits;
  readonly clock: Clock;
  /** Which of these chunks are present; they are pinned. */
  readonly pin: (ids: readonly Buffer[]) => Promise<Set<string>>;
  readonly renew: () => Promise<void>;
  readonly commit: (commit: CommitBackup) => Promise<BackupCommitted>;
  /** Throws when a quota forbids so many more bytes. */
  readonly admit: (bytes: number) => void;
  readonly closed: () => void;
}

export const PROBE_MAX_IDS = 4096;
export const PART_MAX_BYTES = 1024 * 1024;
const ANSWERS_WAITING_MAX = 64;
interface Assembly {
  readonly id: Buffer;
  readonly totalLength: number;
  readonly referenceProofs: Buffer;
  readonly startedAtMs: number;
  /** Undefined while the only piece so far is the whole object. */
  buffer: Buffer;
  filled: number;
  readonly release: (() => void) | undefined;
}

export class IngestStream implements BackupStream {
  readonly began: BackupBegan;
  readonly #session: Session;
  readonly #deps: IngestDeps;
  readonly #answers = new AnswerQueue<BackupAnswer>(ANSWERS_WAITING_MAX);
  #assembly: Assembly | undefined;
  #unacknowledgedBytes = 0;
  #acknowledged: Promise<void> = Promise.resolve();
  #storedCount = 0;
  #newBytes = 0;
  #renewedAtMs: number;
  #idle: Timer | undefined;
  #windowOpened: (() => void) | undefined;
  #ended: HoldfastError | undefined;

  constructor(began: BackupBegan, session: Session, deps: IngestDeps) {
    this.began = began;
    this.#session = session;
    this.#deps = deps;
    this.#renewedAtMs = deps.clock.monotonicMs();
    this.#watchIdle();
  }

  get answers(): AsyncIterable<BackupAnswer> {
    return this.#answers;
  }

  probe(batch: bigint, ids: Buffer): Promise<void> {
    return this.#receive(async () => {
      const count = ids.length / ID_BYTES;
      if (!Number.isInteger(count) || count > PROBE_MAX_IDS) throw violation(`a probe of ${ids.length} bytes`);
      await this.#answers.room();
      const list = Array.from({ length: count }, (_, index) => ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES));
      if (count > 0) this.#assertNotCommitted();
      const present = count === 0 ? new Set<string>() : await this.#deps.pin(list);
      const flags = Buffer.from(list.map((id) => (present.has(id.toString('hex')) ? 1 : 0)));
      this.#answers.push({ kind: 'probed', batch, present: flags });
    });
  }

  part(part: ObjectPart): Promise<void> {
    return this.#receive(async () => {
      this.#assertNotCommitted();
      const assembly = this.#assembly === undefined ? await this.#startObject(part) : this.#continueObject(part);
      if (assembly.filled < assembly.totalLength) return;
      this.#assembly = undefined;
      this.#store(receivedObject(assembly.buffer, assembly, this.#session, this.#deps.limits), assembly.release);
    });
  }

  commit(commit: CommitBackup): Promise<void> {
    return this.#receive(async () => {
      if (commit.recordId.length !== ID_BYTES) throw violation('a record id of another length');
      if (this.#assembly !== undefined) throw violation('a commit inside an object');
      await this.#acknowledged;
      this.#assertOpen();
      await this.#deps.renew();
      const committed = await this.#deps.commit(commit);
      this.#answers.push({ kind: 'committed', committed });
      this.#end();
    });
  }

  close(reason: unknown = new HoldfastError('CANCELLED', 'the stream was closed')): void {
    this.#end(toHoldfastError(reason));
  }

  /** Every message goes through here: a failure ends the stream, a message proves life. */
  async #receive(work: () => Promise<void>): Promise<void> {
    try {
      this.#assertOpen();
      this.#watchIdle();
      await this.#renewWhenDue();
      await work();
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      this.#end(error);
      throw error;
    }
  }

  async #renewWhenDue(): Promise<void> {
    const now = this.#deps.clock.monotonicMs();
    if (now - this.#renewedAtMs < this.#deps.limits.sessionLeaseMs / 4) return;
    this.#renewedAtMs = now;
    await this.#deps.renew();
  }

  async #startObject(part: ObjectPart): Promise<Assembly> {
    const { limits, budget, admit, clock } = this.#deps;
    const { totalLength, data, referenceProofs } = part;
    if (part.id.length !== ID_BYTES) throw violation('an object id of another length');
    if (totalLength > limits.objectBytes) throw tooLarge(`an object of ${totalLength} bytes`, limits.objectBytes);
    if (part.offset !== 0 || data.length === 0 || data.length > totalLength)
      throw violation('a first piece that does not fit');
    checkPiece(data);
    if (referenceProofs.length > limits.objectReferences * PROOF_BYTES || referenceProofs.length % PROOF_BYTES !== 0) {
      throw violation('proofs of a wrong length');
    }
    admit(totalLength);
    await this.#windowRoom(totalLength);
    await budget.acquire(totalLength);
    if (this.#ended !== undefined) {
      budget.release(totalLength);
      throw this.#ended;
    }
    this.#unacknowledgedBytes += totalLength;
    const whole = data.length === totalLength;
    const buffer = whole ? data : Buffer.allocUnsafeSlow(totalLength);
    if (!whole) data.copy(buffer, 0);
    const assembly = {
      id: Buffer.from(part.id),
      totalLength,
      referenceProofs: Buffer.from(referenceProofs),
      startedAtMs: clock.monotonicMs(),
      buffer,
      filled: data.length,
      release: whole ? part.release : undefined,
    };
    this.#assembly = assembly;
    // Last: everything of the part is a view of the same bytes.
    if (!whole) part.release?.();
    return assembly;
  }

  #continueObject(part: ObjectPart): Assembly {
    const assembly = this.#assembly!;
    const { data } = part;
    const fits =
      assembly.id.equals(part.id) &&
      part.totalLength === assembly.totalLength &&
      part.offset === assembly.filled &&
      data.length > 0 &&
      data.length <= assembly.totalLength - assembly.filled;
    if (!fits) throw violation('a piece that does not follow the one before it');
    checkPiece(data);
    if (this.#deps.clock.monotonicMs() - assembly.startedAtMs > this.#deps.limits.objectMs) {
      throw new HoldfastError('TIMED_OUT', 'an object took too long to arrive');
    }
    data.copy(assembly.buffer, assembly.filled);
    assembly.filled += data.length;
    part.release?.();
    return assembly;
  }

  #store(object: ReceivedObject, release: (() => void) | undefined): void {
    const { length } = object.envelope;
    const outcome = this.#deps.writer.store(object).finally(() => release?.());
    // It may fail while an earlier one is still on its way; the chain below looks at it in its turn.
    outcome.catch(() => undefined);
    this.#acknowledged = this.#acknowledged
      .then(() => outcome)
      .then(
        (stored) => this.#acknowledge(length, stored),
        (error: unknown) => {
          this.#giveBack(length);
          this.#end(toHoldfastError(error));
        },
      );
  }

  #acknowledge(bytes: number, stored: StoredOutcome): void {
    this.#giveBack(bytes);
    this.#storedCount++;
    this.#newBytes += stored.newBytes;
    const answer = { kind: 'stored', count: this.#storedCount, newBytes: this.#newBytes } as const;
    this.#answers.push(answer, (waiting) => waiting.kind === 'stored');
  }

  #giveBack(bytes: number): void {
    this.#unacknowledgedBytes -= bytes;
    this.#deps.budget.release(bytes);
    this.#windowOpened?.();
  }

  async #windowRoom(bytes: number): Promise<void> {
    const { windowBytes } = this.#deps.limits;
    while (this.#unacknowledgedBytes > 0 && this.#unacknowledgedBytes + bytes > windowBytes) {
      this.#assertOpen();
      await new Promise<void>((resolve) => (this.#windowOpened = resolve));
    }
  }

  #watchIdle(): void {
    this.#idle?.cancel();
    this.#idle = this.#deps.clock.after(
      this.#deps.limits.idleMs,
      () => this.#end(new HoldfastError('TIMED_OUT', 'the stream was silent for too long')),
      { background: true },
    );
  }

  #assertNotCommitted(): void {
    if (this.#session.committed) {
      throw new HoldfastError('SESSION_ENDED', 'this session has been committed', { hint: 'Begin a new one.' });
    }
  }

  #assertOpen(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  #end(error?: HoldfastError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error ?? new HoldfastError('FAILED_PRECONDITION', 'the stream has ended with its commit');
    this.#idle?.cancel();
    if (this.#assembly !== undefined) this.#giveBack(this.#assembly.totalLength);
    this.#assembly = undefined;
    this.#windowOpened?.();
    this.#answers.end(error);
    this.#deps.closed();
  }
}

function checkPiece(data: Buffer): void {
  if (data.length > PART_MAX_BYTES) throw tooLarge('a piece of an object', PART_MAX_BYTES);
}
