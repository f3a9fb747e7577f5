// One stream of a backup session: pieces in, whole checked objects to the domain's writer, answers out.
//
// Hazard: the sender is hostile. What pieces may do is bounded in receiving-stream.ts. Here: an id is recomputed (I1); a header is
// parsed before anything acts on it; and nothing that an agent may not write (the controller's own records, catalog backups)
// gets in.
//
// Acknowledgements are counts of whole objects in the stream's order. Any error ends this stream and changes nothing that
// was stored; the session stays, and another stream may go on with it.
//
// Tested in ingest.db.test.ts and hostile-agent.db.test.ts.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { ID_BYTES } from '@holdfast/shared/format/envelope';

import { AnswerQueue } from './answer-queue.ts';
import type { BackupAnswer, BackupBegan, BackupCommitted, BackupStream, CommitBackup, ObjectPart } from './contract.ts';
import type { DomainWriter, StoredOutcome } from './domain-writer.ts';
import { receivedObject, violation, type ReceivedObject } from './received-object.ts';
import { ReceivingStream, type ReceivingDeps } from './receiving-stream.ts';
import type { Session } from './sessions.ts';

export interface IngestDeps extends ReceivingDeps {
  readonly writer: DomainWriter;
  /** Which of these chunks are present; they are pinned. */
  readonly pin: (ids: readonly Buffer[]) => Promise<Set<string>>;
  readonly renew: () => Promise<void>;
  readonly commit: (commit: CommitBackup) => Promise<BackupCommitted>;
}

export const PROBE_MAX_IDS = 4096;
const ANSWERS_WAITING_MAX = 64;

export class IngestStream extends ReceivingStream implements BackupStream {
  readonly began: BackupBegan;
  readonly #session: Session;
  readonly #deps: IngestDeps;
  readonly #answers = new AnswerQueue<BackupAnswer>(ANSWERS_WAITING_MAX);
  #acknowledged: Promise<void> = Promise.resolve();
  #storedCount = 0;
  #newBytes = 0;
  #renewedAtMs: number;

  constructor(began: BackupBegan, session: Session, deps: IngestDeps) {
    super(deps);
    this.began = began;
    this.#session = session;
    this.#deps = deps;
    this.#renewedAtMs = deps.clock.monotonicMs();
  }

  get answers(): AsyncIterable<BackupAnswer> {
    return this.#answers;
  }

  probe(batch: bigint, ids: Buffer): Promise<void> {
    return this.#renewing(async () => {
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
    return this.#renewing(async () => {
      this.#assertNotCommitted();
      const incoming = await this.add(part);
      if (incoming.filled < incoming.totalLength) return;
      // First: what is refused is still the stream's, which gives its bytes back.
      const object = receivedObject(incoming.buffer, incoming, this.#session, this.#deps.limits);
      this.take();
      this.#store(object, incoming.release);
    });
  }

  commit(commit: CommitBackup): Promise<void> {
    return this.#renewing(async () => {
      if (commit.recordId.length !== ID_BYTES) throw violation('a record id of another length');
      if (this.incoming !== undefined) throw violation('a commit inside an object');
      await this.#acknowledged;
      this.assertOpen();
      await this.#deps.renew();
      const committed = await this.#deps.commit(commit);
      this.#answers.push({ kind: 'committed', committed });
      this.end();
    });
  }

  protected override whenEnded(error: HoldfastError | undefined): void {
    this.#answers.end(error);
  }

  #renewing(work: () => Promise<void>): Promise<void> {
    return this.receive(async () => {
      await this.#renewWhenDue();
      await work();
    });
  }

  async #renewWhenDue(): Promise<void> {
    const now = this.#deps.clock.monotonicMs();
    if (now - this.#renewedAtMs < this.#deps.limits.sessionLeaseMs / 4) return;
    this.#renewedAtMs = now;
    await this.#deps.renew();
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
          this.giveBack(length);
          this.end(toHoldfastError(error));
        },
      );
  }

  #acknowledge(bytes: number, stored: StoredOutcome): void {
    this.giveBack(bytes);
    this.#storedCount++;
    this.#newBytes += stored.newBytes;
    const answer = { kind: 'stored', count: this.#storedCount, newBytes: this.#newBytes } as const;
    this.#answers.push(answer, (waiting) => waiting.kind === 'stored');
  }

  #assertNotCommitted(): void {
    if (this.#session.committed) {
      throw new HoldfastError('SESSION_ENDED', 'this session has been committed', { hint: 'Begin a new one.' });
    }
  }
}
