// A backup session over vault.proto: probes, objects with a byte window, commit, and going on after a broken connection.
//
// Hazard: bytes that left this host may or may not have arrived (threats 14, 15, 16, 20). So whatever has no answer yet is
// kept (open probes, objects not acknowledged, the commit) and is put to the next stream again, in order. The vault names
// objects by their content and answers a repeated commit of the same record as it answered the first, so asking twice
// changes nothing. What is kept is bounded by the byte window that the controller grants.
//
// Invariants (vault-backup-session.test.ts):
//   V1 every object is acknowledged in the order sent, once, across any number of streams;
//   V2 `send` waits while the window is full, except that one object may always travel;
//   V3 no call waits longer than a lease after the connection broke or the controller fell silent;
//   V4 an error that a new stream cannot help ends the session at once, and every later call throws it;
//   V5 a connection that does not come about is given up long before the vault's answer would be.
//
// What is kept is in backup-ledger.ts, translation to the wire in vault-wire.ts; what a stream is, in shared/rpc/calls.ts.

import { HoldfastError, meaningOf } from '@holdfast/shared/base/errors';
import { openDuplex, type CallMethod, type Channel, type Duplex } from '@holdfast/shared/rpc/calls';
import { encodeBackupRequest } from '@holdfast/shared/rpc/vault-messages';
import {
  VaultDefinition,
  type BackupBegan,
  type BackupRequest,
  type BackupResponse,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import type { Clock, Timer } from '@holdfast/shared/runtime/clock';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import { BackupLedger, KEEP_ALIVE_BATCH, violation, type Outgoing } from './backup-ledger.ts';
import { WORK_LOST } from './reconnect.ts';
import type { BackupSession, CommittedSnapshot, OpenBackup, OutgoingObject, SnapshotCommit } from './vault-port.ts';
import { beginMessage, commitMessage, partMessages, probeMessage } from './vault-wire.ts';

export interface VaultLink {
  /** A connection of its own, so that data never stands before a heartbeat and a broken one is simply dropped. */
  openChannel(): Channel;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

const BACKUP: CallMethod<BackupRequest, BackupResponse> = {
  ...VaultDefinition.methods.backup,
  requestType: { encode: (message) => ({ finish: () => encodeBackupRequest(message) }) },
};

/** How long the first answer of a stream that has a connection may take; also how long a session tries to be opened at all. */
const ANSWER_WITHIN_MS = 30_000;
/** How long a stream that was ended may stay open for its last message. */
const FAREWELL_MS = 2000;
const MAX_PROBE_IDS = 4096;
const STORAGE_FAILURES_MAX = 3;

/** See VaultClient.openBackup. */
export async function openBackupSession(request: OpenBackup, link: VaultLink): Promise<BackupSession> {
  const session = new LinkedBackupSession(request, link);
  await session.opened;
  return session;
}

class LinkedBackupSession implements BackupSession {
  onStored: ((storedCount: number, newBytes: number) => void) | undefined;
  sessionId = '';
  latestSnapshotId: Uint8Array | undefined;
  latestSequence = 0;
  baseDamaged = false;
  windowBytes = 0;
  /** Resolves with the first stream's first answer. */
  readonly opened: Promise<void>;

  readonly #request: OpenBackup;
  readonly #link: VaultLink;
  readonly #ledger = new BackupLedger();
  readonly #waiting = new Set<() => void>();
  #queue: Outgoing[] = [];
  #stream: Duplex<BackupRequest> | undefined;
  #channel: Channel | undefined;
  #leaseMs = ANSWER_WITHIN_MS;
  #failuresInRow = 0;
  /** Since something was stored. */
  #storageFailures = 0;
  #brokenSinceMs: number | undefined;
  #lastSentMs = 0;
  #lastAnswerMs = 0;
  #ended: HoldfastError | undefined;
  #timer: Timer | undefined;
  #resolveOpened: () => void = () => {};
  #rejectOpened: (error: HoldfastError) => void = () => {};

  constructor(request: OpenBackup, link: VaultLink) {
    this.#request = request;
    this.#link = link;
    this.opened = new Promise((resolve, reject) => {
      this.#resolveOpened = resolve;
      this.#rejectOpened = reject;
    });
    request.signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#brokenSinceMs = link.clock.monotonicMs();
    if (request.signal.aborted) this.#onAbort();
    else this.#connect();
  }

  // --- what the pipeline calls ---

  async probe(ids: Uint8Array): Promise<Uint8Array> {
    this.#assertOpen();
    const count = ids.length / 32;
    if (!Number.isInteger(count) || count < 1 || count > MAX_PROBE_IDS) {
      throw new HoldfastError('INVALID_ARGUMENT', `a probe asks for 1 to ${MAX_PROBE_IDS} ids, not ${count}`);
    }
    const { outgoing, answer } = this.#ledger.addProbe(ids);
    this.#enqueue(outgoing);
    return answer;
  }

  async send(object: OutgoingObject): Promise<void> {
    const ledger = this.#ledger;
    const size = object.envelope.length;
    await this.#until(() => ledger.isDrained || ledger.unacknowledgedBytes + size <= this.windowBytes);
    this.#enqueue(ledger.addObject(object));
    // One object waits behind the one on its way, so that the connection never runs dry.
    await this.#until(() => this.#queue.length <= 1);
  }

  get storedCount(): number {
    return this.#ledger.storedCount;
  }

  get newBytes(): number {
    return this.#ledger.newBytes;
  }

  drained(): Promise<void> {
    return this.#until(() => this.#ledger.isDrained);
  }

  async commit(commit: SnapshotCommit): Promise<CommittedSnapshot> {
    // Should both answers get lost, what is not acknowledged is sent again, and a session that has committed takes nothing.
    await this.drained();
    const { outgoing, answer } = this.#ledger.addCommit(commit);
    this.#enqueue(outgoing);
    return answer;
  }

  close(): void {
    if (this.#ended !== undefined) return;
    this.#end(new HoldfastError('CANCELLED', 'the backup session was given up'), 'orderly');
  }

  // --- streams ---

  #connect(): void {
    const { clock } = this.#link;
    const channel = this.#link.openChannel();
    let answered = false;
    const stream: Duplex<BackupRequest> = openDuplex<BackupRequest, BackupResponse>(
      { channel, service: VaultDefinition.fullName, clock },
      BACKUP,
      {
        onMessage: (response) => {
          if (stream !== this.#stream) return;
          this.#lastAnswerMs = clock.monotonicMs();
          try {
            if (!answered) this.#began(began(response), stream);
            else this.#answered(response);
            answered = true;
          } catch (error) {
            this.#end(error instanceof HoldfastError ? error : violation('an answer that cannot be understood'));
          }
        },
        onEnd: (error) => {
          channel.close();
          if (stream === this.#stream) this.#broken(error ?? new HoldfastError('UNREACHABLE', 'the vault hung up'));
        },
      },
    );
    this.#stream = stream;
    this.#channel = channel;
    this.#lastAnswerMs = clock.monotonicMs();
    this.#write(stream, beginMessage(this.#request, this.sessionId)).catch(ignore);
    this.#watch();
  }

  #began(answer: BackupBegan, stream: Duplex<BackupRequest>): void {
    if (this.sessionId !== '' && this.sessionId !== answer.sessionId) {
      throw violation('it went on with another session');
    }
    const first = this.sessionId === '';
    this.sessionId = answer.sessionId;
    this.#leaseMs = Math.max(1000, answer.leaseMs);
    this.windowBytes = answer.windowBytes;
    this.#failuresInRow = 0;
    this.#brokenSinceMs = undefined;
    if (first) {
      this.latestSnapshotId = answer.latestSnapshotId.length === 0 ? undefined : answer.latestSnapshotId;
      this.latestSequence = Number(answer.latestSequence);
      this.baseDamaged = answer.baseDamaged;
    }
    this.#queue = this.#ledger.newStream();
    this.#resolveOpened();
    this.#pump(stream).catch(ignore);
  }

  #answered(response: BackupResponse): void {
    const kind = response.kind;
    if (kind?.$case === 'probed') {
      this.#ledger.probed(Number(kind.value.batch), kind.value.present);
    } else if (kind?.$case === 'stored') {
      this.#storageFailures = 0;
      this.#ledger.stored(Number(kind.value.count), Number(kind.value.newBytes));
      this.onStored?.(this.storedCount, this.newBytes);
      this.#changed();
    } else if (kind?.$case === 'committed') {
      const { snapshotId, committedAtMs } = kind.value;
      this.#ledger.committed({ snapshotId, committedAtMs: Number(committedAtMs) });
      this.#end(new HoldfastError('FAILED_PRECONDITION', 'the backup session has been committed'), 'orderly');
    } else {
      throw violation('a message out of its place');
    }
  }

  /** Writes the queue to one stream until the stream is no longer the current one. */
  async #pump(stream: Duplex<BackupRequest>): Promise<void> {
    let previous: Promise<void> = Promise.resolve();
    while (stream === this.#stream) {
      const next = this.#queue.shift();
      if (next === undefined) {
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
        continue;
      }
      this.#changed();
      for (const message of messagesOf(next)) {
        const written = this.#write(stream, message);
        written.catch(ignore);
        await previous;
        previous = written;
      }
    }
  }

  #write(stream: Duplex<BackupRequest>, message: BackupRequest): Promise<void> {
    this.#lastSentMs = this.#link.clock.monotonicMs();
    return stream.write(message);
  }

  #broken(error: HoldfastError): void {
    const { clock, random } = this.#link;
    this.#stream = undefined;
    this.#queue = [];
    this.#changed();
    const mendable = this.#mendable(error);
    const now = clock.monotonicMs();
    this.#brokenSinceMs ??= now;
    this.#failuresInRow++;
    const waitMs = backoffMs(WORK_LOST, this.#failuresInRow, random());
    const limitMs = this.sessionId === '' ? ANSWER_WITHIN_MS : this.#leaseMs;
    if (!mendable || now + waitMs - this.#brokenSinceMs > limitMs) {
      this.#end(error);
      return;
    }
    this.#timer?.cancel();
    this.#timer = clock.after(waitMs, () => this.#connect());
  }

  #mendable(error: HoldfastError): boolean {
    // A disk that is full does not empty itself while the same object comes again and again; nobody would hear of it.
    if (error.code === 'STORAGE_FULL') return false;
    // One that fails may fail once: the vault goes on in another file.
    if (error.code === 'STORAGE_FAILED' && ++this.#storageFailures > STORAGE_FAILURES_MAX) return false;
    // A controller that has not noticed the loss yet may hold the session's old stream for its own.
    return meaningOf(error.code).retry || (error.code === 'BUSY' && this.sessionId !== '');
  }

  // --- time ---

  #watch(): void {
    this.#timer?.cancel();
    this.#timer = this.#link.clock.after(Math.min(1000, this.#leaseMs / 4), () => {
      if (this.#ended !== undefined || this.#stream === undefined) return;
      this.#check(this.#stream);
      if (this.#ended === undefined && this.#stream !== undefined) this.#watch();
    });
  }

  #check(stream: Duplex<BackupRequest>): void {
    const now = this.#link.clock.monotonicMs();
    const opening = this.#brokenSinceMs !== undefined;
    const owed = opening || this.#ledger.isOwed;
    if (owed && now - this.#lastAnswerMs > Math.min(this.#leaseMs, opening ? ANSWER_WITHIN_MS : Infinity)) {
      // A new stream would find the same silence: a hung disk behind the vault, say (threat 7).
      this.#stream = undefined;
      stream.cancel();
      if (opening) this.#broken(new HoldfastError('TIMED_OUT', 'the vault did not answer'));
      else this.#end(new HoldfastError('TIMED_OUT', 'the vault stopped answering while it owed an answer'));
      return;
    }
    if (!owed) this.#lastAnswerMs = now;
    if (!opening && now - this.#lastSentMs > this.#leaseMs / 3) {
      this.#write(stream, probeMessage(KEEP_ALIVE_BATCH, new Uint8Array(0))).catch(ignore);
    }
  }

  // --- the end ---

  readonly #onAbort = (): void => {
    this.#end(new HoldfastError('CANCELLED', 'the backup was cancelled'));
  };

  #end(error: HoldfastError, manner: 'orderly' | 'abrupt' = 'abrupt'): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#timer?.cancel();
    this.#request.signal.removeEventListener('abort', this.#onAbort);
    const stream = this.#stream;
    const channel = this.#channel;
    this.#stream = undefined;
    this.#queue = [];
    this.#rejectOpened(error);
    this.#ledger.rejectAll(error);
    this.#changed();
    if (stream === undefined) {
      channel?.close();
    } else if (manner === 'orderly') {
      stream.end();
      this.#link.clock.after(FAREWELL_MS, () => stream.cancel(), { background: true });
    } else {
      stream.cancel();
    }
  }

  #assertOpen(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  #enqueue(outgoing: Outgoing): void {
    // Without a stream it is kept elsewhere, and the next stream's queue is made from that.
    if (this.#stream === undefined || this.#brokenSinceMs !== undefined) return;
    this.#queue.push(outgoing);
    this.#changed();
  }

  #changed(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  async #until(condition: () => boolean): Promise<void> {
    this.#assertOpen();
    while (!condition()) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
      this.#assertOpen();
    }
  }
}

function messagesOf(outgoing: Outgoing): Iterable<BackupRequest> {
  if (outgoing.kind === 'probe') return [probeMessage(outgoing.batch, outgoing.ids)];
  if (outgoing.kind === 'commit') return [commitMessage(outgoing.commit)];
  return partMessages(outgoing.object);
}

function began(response: BackupResponse): BackupBegan {
  if (response.kind?.$case !== 'began') throw violation('its first message did not begin the session');
  return response.kind.value;
}

/** The stream's own end tells what went wrong. */
function ignore(): void {}
