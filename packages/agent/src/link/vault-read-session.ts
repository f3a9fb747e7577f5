// Reads under one grant over vault.proto: several wants at once, parts put together, and going on after a broken connection.
//
// Hazard: the vault is not trusted here (threats 40, 41, 43). What it announces is checked before memory is set aside for
// it, and what was not asked for ends the session. The bytes themselves are checked by who opens them: a served id is a claim.
//
// Invariants (vault-read-session.test.ts):
//   R1 an object is handed over once, whole, and only if it was wanted;
//   R2 no buffer is larger than the format's largest envelope, and it is made when its first part comes;
//   R3 a receiver's promise holds back the stream;
//   R4 after a broken connection only what is still missing is wanted again.

import { HoldfastError, meaningOf } from '@holdfast/shared/base/errors';
import { openDuplex, type CallMethod, type Channel, type Duplex } from '@holdfast/shared/rpc/calls';
import { freeMemory } from '@holdfast/shared/base/free-memory';
import { decodeReadResponse } from '@holdfast/shared/rpc/vault-messages';
import {
  VaultDefinition,
  type NotServed,
  type ReadRequest,
  type ReadResponse,
  type ServedPart,
} from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import type { Timer } from '@holdfast/shared/runtime/clock';
import { backoffMs } from '@holdfast/shared/runtime/retry';
import { violation } from './backup-ledger.ts';
import { WORK_LOST } from './reconnect.ts';
import type { VaultLink } from './vault-backup-session.ts';
import {
  OBJECT_ITSELF,
  type ObjectHandle,
  type ObjectNotServed,
  type ReadSession,
  type ServedObject,
  type WantAnswer,
  type WantReceiver,
} from './vault-port.ts';
import { openReadMessage, wantMessage } from './vault-wire.ts';

/** How long the vault may be away, or silent while it owes something, before the session gives up. */
const GIVE_UP_MS = 120_000;
const WATCH_EVERY_MS = 1000;
const MAX_WANTED = 4096;
/** 16 MiB of plain bytes that did not shrink, with the largest padding (12 %), 65,536 references and the header. */
const MAX_ENVELOPE_BYTES = Math.ceil(16 * 1024 * 1024 * 1.12) + 65_536 * 32 + 4096;

const NONE = Buffer.alloc(0);

const READ: CallMethod<ReadRequest, ReadResponse> = {
  ...VaultDefinition.methods.read,
  responseType: { decode: decodeReadResponse },
};

interface Assembly {
  readonly first: ServedPart;
  readonly envelope: Buffer<ArrayBuffer>;
  filled: number;
}

interface OpenWant {
  readonly parent: ObjectHandle;
  readonly missing: Set<number>;
  readonly receive: WantReceiver;
  /** Parts of one object follow each other, so one is enough. */
  assembly: Assembly | undefined;
  resolve(): void;
  reject(error: HoldfastError): void;
}

/** See VaultClient.openRead. */
export async function openReadSession(grant: Uint8Array, signal: AbortSignal, link: VaultLink): Promise<ReadSession> {
  const session = new LinkedReadSession(grant, signal, link);
  await session.opened;
  return session;
}

class LinkedReadSession implements ReadSession {
  record: ObjectHandle = { id: new Uint8Array(0), mac: new Uint8Array(0) };
  readonly opened: Promise<void>;

  readonly #grant: Uint8Array;
  readonly #signal: AbortSignal;
  readonly #link: VaultLink;
  readonly #wants = new Map<number, OpenWant>();
  #nextTag = 1;
  #stream: Duplex<ReadRequest> | undefined;
  #serving = false;
  #receiving = 0;
  #brokenSinceMs: number | undefined;
  #failuresInRow = 0;
  #lastAnswerMs = 0;
  #ended: HoldfastError | undefined;
  #timer: Timer | undefined;
  #resolveOpened: () => void = () => {};
  #rejectOpened: (error: HoldfastError) => void = () => {};

  constructor(grant: Uint8Array, signal: AbortSignal, link: VaultLink) {
    this.#grant = grant;
    this.#signal = signal;
    this.#link = link;
    this.opened = new Promise((resolve, reject) => {
      this.#resolveOpened = resolve;
      this.#rejectOpened = reject;
    });
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#brokenSinceMs = link.clock.monotonicMs();
    if (signal.aborted) this.#onAbort();
    else this.#connect();
  }

  want(parent: ObjectHandle, references: readonly number[], receive: WantReceiver): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (references.length > MAX_WANTED) {
      const message = `a want asks for at most ${MAX_WANTED} references, not ${references.length}`;
      return Promise.reject(new HoldfastError('INVALID_ARGUMENT', message));
    }
    const missing = new Set(references.length === 0 ? [OBJECT_ITSELF] : references);
    return new Promise((resolve, reject) => {
      const tag = this.#nextTag++;
      const want: OpenWant = { parent, missing, receive, assembly: undefined, resolve, reject };
      if (this.#wants.size === 0) this.#lastAnswerMs = this.#link.clock.monotonicMs();
      this.#wants.set(tag, want);
      if (this.#serving && this.#stream !== undefined) this.#ask(this.#stream, tag, want);
    });
  }

  async fetch(parent: ObjectHandle, references: readonly number[]): Promise<WantAnswer> {
    const objects: ServedObject[] = [];
    const failures: ObjectNotServed[] = [];
    await this.want(parent, references, {
      onObject: (object) => void objects.push(object),
      onFailure: (failure) => void failures.push(failure),
    });
    return { objects, failures };
  }

  close(): void {
    this.#end(new HoldfastError('CANCELLED', 'the read session was closed'));
  }

  // --- streams ---

  #connect(): void {
    const channel: Channel = this.#link.openChannel();
    const stream: Duplex<ReadRequest> = openDuplex<ReadRequest, ReadResponse>(
      { channel, service: VaultDefinition.fullName, clock: this.#link.clock },
      READ,
      {
        onMessage: (response) => (stream === this.#stream ? this.#answered(response, stream) : undefined),
        onEnd: (error) => {
          channel.close();
          if (stream === this.#stream) this.#broken(error ?? new HoldfastError('UNREACHABLE', 'the vault hung up'));
        },
      },
    );
    this.#stream = stream;
    this.#serving = false;
    this.#lastAnswerMs = this.#link.clock.monotonicMs();
    stream.write(openReadMessage(this.#grant)).catch(ignore);
    this.#watch();
  }

  #answered(response: ReadResponse, stream: Duplex<ReadRequest>): Promise<void> | undefined {
    this.#lastAnswerMs = this.#link.clock.monotonicMs();
    try {
      const kind = response.kind;
      if (!this.#serving) this.#opened(response, stream);
      else if (kind?.$case === 'part') return this.#part(kind.value);
      else if (kind?.$case === 'failed') this.#notServed(kind.value);
      else if (kind?.$case === 'done') this.#done(kind.value.tag);
      else throw violation('a message out of its place');
    } catch (error) {
      this.#end(error instanceof HoldfastError ? error : violation('an answer that cannot be understood'));
    }
    return undefined;
  }

  #opened(response: ReadResponse, stream: Duplex<ReadRequest>): void {
    if (response.kind?.$case !== 'opened') throw violation('its first message did not open the grant');
    const { recordId, recordMac } = response.kind.value;
    this.record = { id: recordId, mac: recordMac };
    this.#serving = true;
    this.#brokenSinceMs = undefined;
    for (const [tag, want] of this.#wants) {
      want.assembly = undefined;
      // The connection broke between the last object and the word that it was the last.
      if (want.missing.size === 0) this.#done(BigInt(tag));
      else this.#ask(stream, tag, want);
    }
    this.#resolveOpened();
  }

  #ask(stream: Duplex<ReadRequest>, tag: number, want: OpenWant): void {
    const references = want.missing.has(OBJECT_ITSELF) ? [] : [...want.missing];
    stream.write(wantMessage(tag, want.parent, references)).catch(ignore);
  }

  #part(part: ServedPart): Promise<void> | undefined {
    const want = this.#wanting(part.tag, part.reference);
    want.assembly ??= beginAssembly(part);
    const { assembly } = want;
    addPart(assembly, part);
    freeMemory(part.data);
    if (assembly.filled < assembly.envelope.length) return undefined;

    want.assembly = undefined;
    want.missing.delete(part.reference);
    this.#failuresInRow = 0;
    const held = want.receive.onObject(servedObject(assembly));
    if (held === undefined) return undefined;
    this.#receiving++;
    const release = (): void => {
      this.#receiving--;
      this.#lastAnswerMs = this.#link.clock.monotonicMs();
    };
    return held.then(release, (error: unknown) => {
      release();
      this.#end(
        error instanceof HoldfastError ? error : new HoldfastError('INTERNAL', 'a receiver failed', { cause: error }),
      );
    });
  }

  #notServed(failed: NotServed): void {
    const want = this.#wanting(failed.tag, failed.reference);
    want.assembly = undefined;
    want.missing.delete(failed.reference);
    want.receive.onFailure({
      reference: failed.reference,
      id: failed.id,
      reason: failed.reason === 'missing' ? 'missing' : 'damaged',
      message: failed.message,
    });
  }

  #wanting(tag: bigint, reference: number): OpenWant {
    const want = this.#wants.get(Number(tag));
    if (want === undefined || !want.missing.has(reference)) throw violation('it served what was not wanted');
    return want;
  }

  #done(tag: bigint): void {
    const want = this.#wants.get(Number(tag));
    if (want === undefined) throw violation('it finished what was not wanted');
    if (want.missing.size > 0) throw violation('it said that all was served, and it was not');
    this.#wants.delete(Number(tag));
    want.resolve();
  }

  #broken(error: HoldfastError): void {
    const { clock, random } = this.#link;
    this.#stream = undefined;
    this.#serving = false;
    const now = clock.monotonicMs();
    this.#brokenSinceMs ??= now;
    this.#failuresInRow++;
    const waitMs = backoffMs(WORK_LOST, this.#failuresInRow, random());
    if (!meaningOf(error.code).retry || now + waitMs - this.#brokenSinceMs > GIVE_UP_MS) {
      this.#end(error);
      return;
    }
    this.#timer?.cancel();
    this.#timer = clock.after(waitMs, () => this.#connect());
  }

  #watch(): void {
    this.#timer?.cancel();
    this.#timer = this.#link.clock.after(WATCH_EVERY_MS, () => {
      const stream = this.#stream;
      if (this.#ended !== undefined || stream === undefined) return;
      const owed = !this.#serving || (this.#wants.size > 0 && this.#receiving === 0);
      if (owed && this.#link.clock.monotonicMs() - this.#lastAnswerMs > GIVE_UP_MS) {
        this.#end(new HoldfastError('TIMED_OUT', 'the vault stopped answering while it owed an answer'));
      } else {
        this.#watch();
      }
    });
  }

  readonly #onAbort = (): void => {
    this.#end(new HoldfastError('CANCELLED', 'the read was cancelled'));
  };

  #end(error: HoldfastError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#timer?.cancel();
    this.#signal.removeEventListener('abort', this.#onAbort);
    const stream = this.#stream;
    this.#stream = undefined;
    this.#rejectOpened(error);
    for (const want of this.#wants.values()) want.reject(error);
    this.#wants.clear();
    stream?.cancel();
  }
}

function beginAssembly(part: ServedPart): Assembly {
  if (part.totalLength === 0 || part.totalLength > MAX_ENVELOPE_BYTES) {
    throw violation(`it announced an object of ${part.totalLength} bytes`);
  }
  // Not from the shared pool: the buffer may be handed to a worker whole.
  // Copies of what outlives the message.
  const first = { ...part, id: Buffer.from(part.id), mac: Buffer.from(part.mac), data: NONE };
  return { first, envelope: Buffer.allocUnsafeSlow(part.totalLength), filled: 0 };
}

function addPart(assembly: Assembly, part: ServedPart): void {
  const { first, envelope } = assembly;
  const follows = part.reference === first.reference && part.offset === assembly.filled;
  if (!follows || part.data.length === 0 || part.data.length > envelope.length - assembly.filled) {
    throw violation('the parts of an object do not follow each other');
  }
  envelope.set(part.data, assembly.filled);
  assembly.filled += part.data.length;
}

function servedObject(assembly: Assembly): ServedObject {
  const { first, envelope } = assembly;
  return {
    reference: first.reference,
    id: first.id,
    envelope,
    mac: first.mac.length === 0 ? undefined : first.mac,
    pack: first.pack,
    packOffset: Number(first.packOffset),
  };
}

/** The stream's own end tells what went wrong. */
function ignore(): void {}
