// A log session over vault.proto: pieces and gaps in order, a byte window, and counts of what is durable.
//
// Hazard: a database's server forgets what is acknowledged to it. So nothing here is mended behind the engine's back: when the
// connection breaks, the vault falls silent, or a newer session takes over, everything pending fails, and the engine opens a new
// session and goes on from what that one says is stored.
//
// Invariants (log-session.test.ts):
//   LS1 what was sent is counted as durable in the order sent, once;
//   LS2 `send` waits while the window is full, except that one piece may always travel;
//   LS3 a vault that answers nothing for SILENCE_MS while it owes an answer ends the session.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LogEnd, LogGap } from '@holdfast/shared/format/log-point';
import { openDuplex, type Channel, type Duplex } from '@holdfast/shared/rpc/calls';
import {
  VaultDefinition,
  type StoreLogBegan,
  type StoreLogRequest,
  type StoreLogResponse,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { endFromWire, gapToWire, rangeToWire } from '@holdfast/shared/rpc/log-wire';
import type { Timer } from '@holdfast/shared/runtime/clock';
import { violation } from './backup-ledger.ts';
import type { LogSession, SealedLogSegment } from './log-port.ts';
import type { VaultLink } from './vault-backup-session.ts';
import { partMessages, view } from './vault-wire.ts';

const ANSWER_WITHIN_MS = 30_000;
/** How long the vault may be silent while it owes an answer. It asks its disk, which may be slow. */
const SILENCE_MS = 120_000;
/** A session without anything to store says that it lives: well within the vault's own patience. */
const ALIVE_EVERY_MS = 30_000;
const WATCH_EVERY_MS = 1000;

/** See LogClient.openLog. */
export async function openLogSession(
  request: { readonly sourceId: string; readonly signal: AbortSignal },
  link: VaultLink,
): Promise<LogSession> {
  const session = new LinkedLogSession(request, link);
  await session.opened;
  return session;
}

/** What has no answer yet. */
interface Pending {
  readonly bytes: number;
  readonly stored?: PromiseWithResolvers<void>;
}

class LinkedLogSession implements LogSession {
  ends: readonly LogEnd[] = [];
  baseNeeded = false;
  windowBytes = 0;
  onStored: (count: number) => void = () => undefined;
  /** Resolves with the first answer. */
  readonly opened: Promise<void>;

  readonly #link: VaultLink;
  readonly #signal: AbortSignal;
  readonly #channel: Channel;
  readonly #stream: Duplex<StoreLogRequest>;
  readonly #opening = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<void>();
  readonly #pending: Pending[] = [];
  #waiting: (() => void)[] = [];
  #pendingBytes = 0;
  #storedCount = 0;
  #began = false;
  #aliveAsked = false;
  #lastSentMs: number;
  #lastAnswerMs: number;
  #failure: HoldfastError | undefined;
  #timer: Timer | undefined;

  constructor(request: { readonly sourceId: string; readonly signal: AbortSignal }, link: VaultLink) {
    this.#link = link;
    this.#signal = request.signal;
    this.opened = this.#opening.promise;
    // Whoever doesn't ask is not to be killed by what it would have heard.
    this.#end.promise.catch(ignore);
    this.#lastSentMs = link.clock.monotonicMs();
    this.#lastAnswerMs = this.#lastSentMs;
    this.#channel = link.openChannel();
    this.#stream = openDuplex<StoreLogRequest, StoreLogResponse>(
      { channel: this.#channel, service: VaultDefinition.fullName, clock: link.clock },
      VaultDefinition.methods.storeLog,
      {
        onMessage: (response) => this.#answered(response),
        onEnd: (error) => {
          this.#channel.close();
          this.#fail(error ?? new HoldfastError('UNREACHABLE', 'the vault hung up'));
        },
      },
    );
    request.signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#write({ kind: { $case: 'begin', value: { sourceId: request.sourceId } } }).catch(ignore);
    this.#watch();
    if (request.signal.aborted) this.#onAbort();
  }

  async send(segment: SealedLogSegment): Promise<void> {
    this.#assertOpen();
    const bytes = segment.envelope.length;
    this.#owe({ bytes });
    for (const { kind } of partMessages(segment)) {
      if (kind?.$case === 'part') await this.#write({ kind: { $case: 'part', value: kind.value } });
    }
    const value = { id: view(segment.id), range: rangeToWire(segment.range) };
    await this.#write({ kind: { $case: 'segment', value } });
    // Beyond the window one piece waits at the most: the next one is not taken.
    while (this.#pending.length > 1 && this.#pendingBytes > this.windowBytes) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      this.#assertOpen();
    }
  }

  async gap(gap: LogGap): Promise<void> {
    this.#assertOpen();
    const stored = Promise.withResolvers<void>();
    stored.promise.catch(ignore);
    this.#owe({ bytes: 0, stored });
    await this.#write({ kind: { $case: 'gap', value: gapToWire(gap) } });
    await stored.promise;
  }

  ended(): Promise<void> {
    return this.#end.promise;
  }

  close(): void {
    this.#end.resolve();
    this.#fail(new HoldfastError('SESSION_ENDED', 'the log session was closed'));
  }

  #answered(response: StoreLogResponse): void {
    if (this.#failure !== undefined) return;
    this.#lastAnswerMs = this.#link.clock.monotonicMs();
    try {
      const { kind } = response;
      if (!this.#began && kind?.$case === 'began') this.#begin(kind.value);
      else if (this.#began && kind?.$case === 'stored') this.#stored(Number(kind.value.count));
      else throw violation('a message out of its place');
    } catch (error) {
      this.#fail(error instanceof HoldfastError ? error : violation('an answer that cannot be understood'));
    }
  }

  #begin(began: StoreLogBegan): void {
    this.ends = began.ends.map(endFromWire);
    this.baseNeeded = began.baseNeeded;
    this.windowBytes = began.windowBytes;
    this.#began = true;
    this.#opening.resolve();
  }

  #stored(count: number): void {
    this.#aliveAsked = false;
    const more = count - this.#storedCount;
    if (more < 0 || more > this.#pending.length) throw violation('it stored what was not sent');
    if (more === 0) return;
    this.#storedCount = count;
    for (const { bytes, stored } of this.#pending.splice(0, more)) {
      this.#pendingBytes -= bytes;
      stored?.resolve();
    }
    this.#wake();
    this.onStored(count);
  }

  #owe(pending: Pending): void {
    if (this.#pending.length === 0) this.#lastAnswerMs = this.#link.clock.monotonicMs();
    this.#pending.push(pending);
    this.#pendingBytes += pending.bytes;
  }

  #write(message: StoreLogRequest): Promise<void> {
    this.#lastSentMs = this.#link.clock.monotonicMs();
    return this.#stream.write(message).catch((error: unknown) => {
      // The stream's end says it too, with the reason that the vault gave.
      throw this.#failure ?? error;
    });
  }

  #watch(): void {
    this.#timer = this.#link.clock.after(
      WATCH_EVERY_MS,
      () => {
        if (this.#failure !== undefined) return;
        this.#check();
        if (this.#failure === undefined) this.#watch();
      },
      { background: true },
    );
  }

  #check(): void {
    const now = this.#link.clock.monotonicMs();
    const owed = !this.#began || this.#pending.length > 0 || this.#aliveAsked;
    const patienceMs = this.#began ? SILENCE_MS : ANSWER_WITHIN_MS;
    if (owed && now - this.#lastAnswerMs > patienceMs) {
      this.#fail(new HoldfastError('TIMED_OUT', 'the vault stopped answering while it owed an answer'));
    } else if (this.#began && !this.#aliveAsked && now - this.#lastSentMs > ALIVE_EVERY_MS) {
      if (!owed) this.#lastAnswerMs = now;
      this.#aliveAsked = true;
      this.#write({ kind: { $case: 'alive', value: {} } }).catch(ignore);
    }
  }

  readonly #onAbort = (): void => {
    this.#fail(new HoldfastError('CANCELLED', 'the log session was cancelled'));
  };

  #fail(error: HoldfastError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#timer?.cancel();
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#opening.reject(error);
    this.#end.reject(error);
    for (const { stored } of this.#pending.splice(0)) stored?.reject(error);
    this.#wake();
    this.#stream.cancel();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #assertOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function ignore(): void {}
