// Calls of the agent's side: a duplex stream and a unary call on bare grpc-js.
//
// Hazard: an async iterable over a stream hides when a message left. The data path needs that moment (it is what bounds
// the bytes in flight), so it works on the stream itself: a write resolves when HTTP/2 took the message, which it does
// only while the receiver's window has room. Elsewhere nice-grpc is the clearer choice.
//
// Invariants (held by the agent's vault sessions, vault-backup-session.test.ts and vault-read-session.test.ts): `onEnd` comes exactly once, after the last message; nothing is delivered after `cancel`; a
// write after the end rejects with the error that ended the stream instead of waiting for ever.

import grpc, { type Channel, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';

import { HoldfastError } from '../base/errors.ts';
import type { Clock, Timer } from '../runtime/clock.ts';
import { errorFromStatus } from './status.ts';

export type { Channel };

/** A method of a generated definition (outputServices=generic-definitions). */
export interface CallMethod<Request, Response> {
  readonly name: string;
  readonly requestType: { encode(message: Request): { finish(): Uint8Array } };
  readonly responseType: { decode(bytes: Uint8Array): Response };
}

export interface RemoteService {
  readonly channel: Channel;
  /** For example `holdfast.v1.Vault`. */
  readonly service: string;
}

/**
 * How long a stream waits for its connection: TCP, TLS and the peer's first HTTP/2 settings, three round trips. A
 * handshake that lost its bytes is told of by no reset and no ping; grpc-js itself gives it up after 20 s, a server's own limit after
 * 10 s, if its reset gets through. It leaves room for round trips of 2 s, for
 * two lost SYNs (retried after 1 and 3 s), and for a controller that takes the handshakes of a whole fleet (link/reconnect.ts). What a
 * connection does that has been made is for HTTP/2 pings to find out, so an answer may still take its time.
 */
export const CONNECT_WITHIN_MS = 6000;

export interface DuplexHandlers<Response> {
  /** A promise holds back further messages until it resolves; it must not reject. */
  onMessage(message: Response): Promise<void> | void;
  /** Without an error: the peer ended the stream in good order. */
  onEnd(error: HoldfastError | undefined): void;
}

export interface Duplex<Request> {
  /** Resolves when the transport took the message; rejects when the stream has ended. */
  write(message: Request): Promise<void>;
  /** No more requests; answers still come. */
  end(): void;
  /** Drops the stream; `onEnd` is told CANCELLED unless the stream had ended. */
  cancel(): void;
}

type Remote = RemoteService & { readonly clock: Clock };

/** Ends with UNREACHABLE when there is no connection within CONNECT_WITHIN_MS of `clock`. */
export function openDuplex<Request, Response>(
  remote: Remote,
  method: CallMethod<Request, Response>,
  handlers: DuplexHandlers<Response>,
): Duplex<Request> {
  const stream = clientOn(remote.channel).makeBidiStreamRequest<Request, Response>(
    `/${remote.service}/${method.name}`,
    (message) => asBuffer(method.requestType.encode(message).finish()),
    (bytes) => method.responseType.decode(bytes),
  );
  return new GrpcDuplex(stream, handlers, remote);
}

class GrpcDuplex<Request, Response> implements Duplex<Request> {
  readonly #stream: ClientDuplexStream<Request, Response>;
  readonly #handlers: DuplexHandlers<Response>;
  readonly #connecting: Timer;
  readonly #writing = new Set<(error: HoldfastError) => void>();
  #ended: HoldfastError | undefined;
  #cancelled = false;
  #held = 0;

  constructor(stream: ClientDuplexStream<Request, Response>, handlers: DuplexHandlers<Response>, remote: Remote) {
    this.#stream = stream;
    this.#handlers = handlers;
    this.#connecting = remote.clock.after(CONNECT_WITHIN_MS, () => this.#mustBeConnected(remote.channel), {
      background: true,
    });
    stream.on('data', (message: Response) => this.#deliver(message));
    stream.on('error', (error: ServiceError) => this.#finish(failureOf(error)));
    stream.on('end', () => this.#finish(undefined));
  }

  write(message: Request): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#writing.add(reject);
      this.#stream.write(message, (error?: Error | null) => {
        this.#writing.delete(reject);
        if (error) reject(this.#ended ?? new HoldfastError('UNREACHABLE', 'the connection broke', { cause: error }));
        else resolve();
      });
    });
  }

  end(): void {
    if (this.#ended === undefined) this.#stream.end();
  }

  cancel(): void {
    if (this.#ended !== undefined) return;
    this.#cancelled = true;
    this.#stream.cancel();
    this.#finish(new HoldfastError('CANCELLED', 'the stream was dropped'));
  }

  #mustBeConnected(channel: Channel): void {
    if (channel.getConnectivityState(false) === grpc.connectivityState.READY) return;
    this.#finish(
      new HoldfastError('UNREACHABLE', `no connection to the controller within ${CONNECT_WITHIN_MS / 1000} s`),
    );
    this.#stream.cancel();
  }

  #deliver(message: Response): void {
    if (this.#ended !== undefined) return;
    this.#connecting.cancel();
    const held = this.#handlers.onMessage(message);
    if (held === undefined) return;
    this.#held++;
    this.#stream.pause();
    const release = (): void => {
      if (--this.#held === 0) this.#stream.resume();
    };
    held.then(release, release);
  }

  #finish(error: HoldfastError | undefined): void {
    if (this.#ended !== undefined) return;
    const ended = error ?? new HoldfastError('UNREACHABLE', 'the other side ended the stream');
    this.#ended = ended;
    this.#connecting.cancel();
    for (const reject of this.#writing) reject(ended);
    this.#writing.clear();
    this.#handlers.onEnd(this.#cancelled ? ended : error);
  }
}

/** @param options.timeoutMs deadline of the whole call */
export function callUnary<Request, Response>(
  remote: RemoteService,
  method: CallMethod<Request, Response>,
  request: Request,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<Response> {
  if (options.signal?.aborted === true)
    return Promise.reject(new HoldfastError('CANCELLED', 'cancelled before the call'));
  return new Promise((resolve, reject) => {
    const call = clientOn(remote.channel).makeUnaryRequest<Request, Response>(
      `/${remote.service}/${method.name}`,
      (message) => asBuffer(method.requestType.encode(message).finish()),
      (bytes) => method.responseType.decode(bytes),
      request,
      { deadline: Date.now() + options.timeoutMs },
      (error, response) => {
        options.signal?.removeEventListener('abort', cancel);
        if (options.signal?.aborted === true) reject(new HoldfastError('CANCELLED', 'the call was cancelled'));
        else if (error !== null) reject(failureOf(error));
        else if (response === undefined)
          reject(new HoldfastError('PROTOCOL_VIOLATION', 'the call ended without an answer'));
        else resolve(response);
      },
    );
    const cancel = (): void => call.cancel();
    options.signal?.addEventListener('abort', cancel, { once: true });
  });
}

/** The channel is given, so the address and the credentials of the client are never used. */
function clientOn(channel: Channel): grpc.Client {
  return new grpc.Client('unused', grpc.credentials.createInsecure(), { channelOverride: channel });
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * What a handler meant carries our code in its trailers. CANCELLED and INTERNAL without it were made by a transport (a
 * reset stream, a destroyed session), and mean that the connection is gone: a cancel of our own never comes here.
 */
function failureOf(error: ServiceError): HoldfastError {
  const known = errorFromStatus(error);
  const byTransport = (error.metadata?.get('holdfast-code') ?? []).length === 0;
  if (!byTransport || (known.code !== 'INTERNAL' && known.code !== 'CANCELLED')) return known;
  return new HoldfastError('UNREACHABLE', `the connection to the controller broke: ${error.details}`, { cause: error });
}
