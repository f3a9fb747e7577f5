// Reads of a database's log under a log grant, over vault.proto.
//
// Hazard: the vault is not trusted here (threats 40, 41): what it announces is checked before memory is set aside, and what was not
// asked for ends the call. The bytes are checked by who opens them.
//
// Each page of a list and each fetch is a stream of its own on one connection, so that whoever reads a list slowly and fetches in
// between waits for nobody. A broken one is opened again for what is still missing.
//
// Invariants (log-session.test.ts): LR1 a segment is handed over once, whole, in the order
// asked; LR2 after a broken connection only what is missing is asked for again; LR3 a slow reader holds the vault back.

import { HoldfastError, meaningOf, toHoldfastError } from '@holdfast/shared/base/errors';
import { MAX_ENVELOPE_BYTES } from '@holdfast/shared/format/envelope';
import type { LogStream } from '@holdfast/shared/format/log-point';
import { openDuplex, type Channel } from '@holdfast/shared/rpc/calls';
import {
  VaultDefinition,
  type LogPart,
  type ReadLogRequest,
  type ReadLogResponse,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { rangeFromWire } from '@holdfast/shared/rpc/log-wire';
import { sleep, type Timer } from '@holdfast/shared/runtime/clock';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import { violation } from './backup-ledger.ts';
import type { ListedSegment, LogReadSession, ServedSegment } from './log-port.ts';
import { WORK_LOST } from './reconnect.ts';
import type { VaultLink } from './vault-backup-session.ts';
import { view } from './vault-wire.ts';

/** How long the vault may be away, or silent while it owes something. */
const GIVE_UP_MS = 120_000;
const MAX_FETCHED = 64;

type Ask = NonNullable<ReadLogRequest['kind']>;

/** See LogClient.openLogRead. */
export async function openLogReadSession(
  grant: Uint8Array,
  signal: AbortSignal,
  link: VaultLink,
): Promise<LogReadSession> {
  const session = new LinkedLogRead(grant, signal, link);
  await session.tryGrant();
  return session;
}

class LinkedLogRead implements LogReadSession {
  readonly #grant: Uint8Array;
  readonly #signal: AbortSignal;
  readonly #link: VaultLink;
  readonly #closing = new AbortController();
  #channel: Channel | undefined;

  constructor(grant: Uint8Array, signal: AbortSignal, link: VaultLink) {
    this.#grant = grant;
    this.#link = link;
    this.#signal = AbortSignal.any([signal, this.#closing.signal]);
  }

  /** Throws NOT_ALLOWED. */
  async tryGrant(): Promise<void> {
    await this.#mended(async () => {
      for await (const answer of this.#ask(undefined)) void answer;
      return true;
    });
  }

  async *list(stream: LogStream, start: bigint, end: bigint | undefined): AsyncGenerator<ListedSegment> {
    let from = start;
    for (let withoutFiles = false; ; withoutFiles = true) {
      const page = await this.#mended(() => this.#page(stream, from, end, withoutFiles));
      yield* page.segments;
      const last = page.segments.at(-1);
      if (page.last || last === undefined) return;
      if (last.range.end.order <= from) throw violation('a list of log segments that does not go on');
      from = last.range.end.order;
    }
  }

  async *fetch(ids: readonly Uint8Array[]): AsyncGenerator<ServedSegment> {
    if (ids.length > MAX_FETCHED) {
      throw new HoldfastError('INVALID_ARGUMENT', `at most ${MAX_FETCHED} log segments at once, not ${ids.length}`);
    }
    const missing = [...ids];
    const patience = this.#patience();
    while (missing.length > 0) {
      try {
        for await (const segment of this.#served([...missing])) {
          missing.shift();
          patience.moved();
          yield segment;
        }
        if (missing.length > 0) throw violation('it served fewer log segments than were asked for');
      } catch (error) {
        await patience.wait(error);
      }
    }
  }

  close(): void {
    this.#closing.abort();
    this.#channel?.close();
    this.#channel = undefined;
  }

  async #page(
    stream: LogStream,
    start: bigint,
    end: bigint | undefined,
    withoutFiles: boolean,
  ): Promise<{ segments: ListedSegment[]; last: boolean }> {
    const at = (order: bigint) => ({ order, text: '' });
    const value = {
      stream: { ...stream },
      start: at(start),
      end: end === undefined ? undefined : at(end),
      withoutFiles,
    };
    for await (const { kind } of this.#ask({ $case: 'list', value })) {
      if (kind?.$case !== 'listed') throw violation('an answer to another question');
      const segments = kind.value.segments.map(({ id, range, length }) => {
        if (id.length !== 32 || length > MAX_ENVELOPE_BYTES) throw violation('a log segment that is none');
        return { id, range: rangeFromWire(range), length };
      });
      return { segments, last: kind.value.last };
    }
    throw violation('no list of log segments');
  }

  /** Segments in the order of `ids`, each as soon as it is whole. */
  async *#served(ids: readonly Uint8Array[]): AsyncGenerator<ServedSegment> {
    let index = 0;
    let filled = 0;
    let envelope: Buffer<ArrayBuffer> | undefined;
    for await (const { kind } of this.#ask({ $case: 'fetch', value: { ids: ids.map(view) } })) {
      const wanted = ids[index];
      if (wanted === undefined) throw violation('it served more log segments than were asked for');
      if (kind?.$case === 'failed') {
        const hex = Buffer.from(kind.value.id).toString('hex');
        throw new HoldfastError('DAMAGED', `log segment ${hex}: ${kind.value.message}`, { details: { segment: hex } });
      }
      if (kind?.$case !== 'part') throw violation('an answer to another question');
      if (kind.value.offset !== filled) throw violation('a part that does not follow the one before it');
      envelope = placed(kind.value, wanted, envelope);
      filled += kind.value.data.length;
      if (filled < envelope.length) continue;
      yield { id: wanted, envelope };
      envelope = undefined;
      filled = 0;
      index++;
      if (index === ids.length) return;
    }
  }

  /** Opens a stream, asks, and gives the answers behind `opened`; with nothing to ask only opens. */
  async *#ask(ask: Ask | undefined): AsyncGenerator<ReadLogResponse> {
    this.#signal.throwIfAborted();
    const exchange = new Exchange(this.#connection(), this.#link, this.#signal);
    try {
      exchange.write({ $case: 'open', value: { grant: view(this.#grant) } });
      if (ask !== undefined) exchange.write(ask);
      const opened = await exchange.next();
      if (opened?.kind?.$case !== 'opened') throw violation('a stream that does not open');
      for (;;) {
        if (ask === undefined) return;
        const answer = await exchange.next();
        if (answer === undefined) return;
        yield answer;
      }
    } finally {
      exchange.close();
    }
  }

  #connection(): Channel {
    this.#channel ??= this.#link.openChannel();
    return this.#channel;
  }

  async #mended<T>(work: () => Promise<T>): Promise<T> {
    const patience = this.#patience();
    for (;;) {
      try {
        return await work();
      } catch (error) {
        await patience.wait(error);
      }
    }
  }

  /** Waits before another try, or throws: when a try can't help, or nothing has moved for too long. */
  #patience(): { moved: () => void; wait: (thrown: unknown) => Promise<void> } {
    const { clock, random } = this.#link;
    let failures = 0;
    let movedAtMs = clock.monotonicMs();
    return {
      moved: () => {
        failures = 0;
        movedAtMs = clock.monotonicMs();
      },
      wait: async (thrown) => {
        if (this.#signal.aborted) throw new HoldfastError('CANCELLED', 'the read was cancelled');
        const error = toHoldfastError(thrown);
        const waitMs = backoffMs(WORK_LOST, ++failures, random());
        if (!meaningOf(error.code).retry || clock.monotonicMs() + waitMs - movedAtMs > GIVE_UP_MS) throw error;
        this.#channel?.close();
        this.#channel = undefined;
        await sleep(clock, waitMs, this.#signal);
      },
    };
  }
}

/** One stream: questions out, answers taken one by one; an answer that nobody takes holds the vault back. */
class Exchange {
  readonly #stream: { write(message: ReadLogRequest): Promise<void>; cancel(): void };
  readonly #link: VaultLink;
  readonly #signal: AbortSignal;
  readonly #answers: ReadLogResponse[] = [];
  #release: (() => void) | undefined;
  #ended: { readonly error: HoldfastError | undefined } | undefined;
  #wake: (() => void) | undefined;

  constructor(channel: Channel, link: VaultLink, signal: AbortSignal) {
    this.#link = link;
    this.#signal = signal;
    this.#stream = openDuplex<ReadLogRequest, ReadLogResponse>(
      { channel, service: VaultDefinition.fullName, clock: link.clock },
      VaultDefinition.methods.readLog,
      {
        onMessage: (answer) => {
          this.#answers.push(answer);
          this.#wake?.();
          return new Promise<void>((resolve) => (this.#release = resolve));
        },
        onEnd: (error) => {
          this.#ended ??= { error };
          this.#wake?.();
        },
      },
    );
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  write(kind: Ask): void {
    // What ends the stream is told by `next`.
    this.#stream.write({ kind }).catch(() => undefined);
  }

  /** Undefined at the end. Throws what ended the stream, TIMED_OUT. */
  async next(): Promise<ReadLogResponse | undefined> {
    for (;;) {
      const answer = this.#answers.shift();
      if (answer !== undefined) {
        this.#release?.();
        return answer;
      }
      if (this.#ended !== undefined) {
        if (this.#ended.error !== undefined) throw this.#ended.error;
        return undefined;
      }
      await this.#news();
    }
  }

  close(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#stream.cancel();
    this.#release?.();
  }

  readonly #onAbort = (): void => {
    this.#ended = { error: new HoldfastError('CANCELLED', 'the read was cancelled') };
    this.#wake?.();
  };

  async #news(): Promise<void> {
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = this.#link.clock.after(GIVE_UP_MS, () => {
        this.#ended ??= {
          error: new HoldfastError('TIMED_OUT', 'the vault stopped answering while it owed an answer'),
        };
        resolve();
      });
    });
    timer?.cancel();
    this.#wake = undefined;
  }
}

/** Puts a part where it belongs, into a buffer that is made with the first. */
function placed(part: LogPart, wanted: Uint8Array, known: Buffer<ArrayBuffer> | undefined): Buffer<ArrayBuffer> {
  const { id, totalLength, offset, data } = part;
  if (!view(wanted).equals(id)) throw violation('it served another log segment');
  if (known !== undefined && known.length !== totalLength) throw violation('a part of another length');
  if (totalLength > MAX_ENVELOPE_BYTES || data.length === 0 || offset + data.length > totalLength) {
    throw violation('a part that does not fit');
  }
  const envelope = known ?? Buffer.allocUnsafeSlow(totalLength);
  data.copy(envelope, offset);
  return envelope;
}
