// A connection to Redis: commands with their answers, and then, once, the stream of a whole database.
// Protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
//
// Hazard: the other side may be anything that listens there. Answers have a bound, waits have a time-out, and a stream that
// ends early is an error, never a shorter database.

import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { addressText, readPassword, type RedisAddress } from './dsn.ts';

export type Reply = string | number | null | readonly Reply[];

const CONNECT_MS = 10_000;
/** Between two pieces of anything: a server that forks for a large database says "\n" meanwhile. */
const SILENCE_MS = 60_000;
const REPLY_MAX_BYTES = 4 * 1024 * 1024;
const DEPTH_MAX = 8;
const EOF_MARK_BYTES = 40;

export class RedisConnection {
  readonly #address: RedisAddress;
  readonly #socket: Socket;
  readonly #incoming: AsyncIterator<Buffer>;
  #buffer: Buffer = Buffer.alloc(0);

  private constructor(address: RedisAddress, socket: Socket) {
    this.#address = address;
    this.#socket = socket;
    this.#incoming = (socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** Connects and logs in. Throws UNREACHABLE, NOT_ALLOWED, FAILED_PRECONDITION (the passfile), CANCELLED. */
  static async open(address: RedisAddress, signal: AbortSignal): Promise<RedisConnection> {
    const password = readPassword(address);
    const socket = await connected(address, signal);
    signal.addEventListener('abort', () => socket.destroy(), { once: true });
    const connection = new RedisConnection(address, socket);
    try {
      if (password !== '') {
        await connection.command('AUTH', ...(address.user === '' ? [] : [address.user]), password);
      }
      await connection.command('PING');
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Throws NOT_ALLOWED or FAILED_PRECONDITION with the server's own words. */
  async command(...words: readonly string[]): Promise<Reply> {
    this.#socket.write(encodeCommand(words));
    return this.#reply(0);
  }

  /**
   * The whole database as an RDB, as a replica gets it: the server forks and streams, nothing is written to its disk where
   * it is set up so (`repl-diskless-sync`, the default since Redis 7). `onBytes` takes it piece by piece, and may block.
   * The connection is spent afterwards. Returns how many bytes there were. Throws UNREACHABLE when the stream breaks off.
   */
  async streamDatabase(onBytes: (bytes: Buffer) => void): Promise<number> {
    // A replica that understands the end mark lets the server stream without knowing the length.
    await this.command('REPLCONF', 'capa', 'eof');
    this.#socket.write(encodeCommand(['SYNC']));
    let head = await this.#line();
    while (head === '') head = await this.#line();
    if (head.startsWith('-')) throw refusal(head.slice(1));
    const mark = /^\$EOF:(.{40})$/.exec(head)?.[1];
    if (mark !== undefined) return this.#untilMark(Buffer.from(mark, 'latin1'), onBytes);
    const length = Number(/^\$(\d+)$/.exec(head)?.[1] ?? Number.NaN);
    if (!Number.isSafeInteger(length)) throw nonsense(this.#address);
    return this.#exactly(length, onBytes);
  }

  async #exactly(length: number, onBytes: (bytes: Buffer) => void): Promise<number> {
    for (let left = length; left > 0;) {
      if (this.#buffer.length === 0) await this.#more();
      const piece = this.#buffer.subarray(0, left);
      this.#buffer = this.#buffer.subarray(piece.length);
      left -= piece.length;
      onBytes(piece);
    }
    return length;
  }

  /** The mark may arrive in two pieces: its length is always held back. */
  async #untilMark(mark: Buffer, onBytes: (bytes: Buffer) => void): Promise<number> {
    let length = 0;
    for (;;) {
      if (this.#buffer.length > EOF_MARK_BYTES) {
        const piece = this.#buffer.subarray(0, this.#buffer.length - EOF_MARK_BYTES);
        this.#buffer = this.#buffer.subarray(piece.length);
        length += piece.length;
        onBytes(piece);
      }
      // The server says nothing behind the mark until the replica does.
      if (this.#buffer.equals(mark)) return length;
      await this.#more();
    }
  }

  async #reply(depth: number): Promise<Reply> {
    const line = await this.#line();
    const rest = line.slice(1);
    switch (line[0]) {
      case '+':
        return rest;
      case '-':
        throw refusal(rest);
      case ':':
        return Number(rest);
      case '$':
        return this.#bulk(Number(rest));
      case '*':
        return this.#list(Number(rest), depth + 1);
      default:
        throw nonsense(this.#address);
    }
  }

  async #bulk(length: number): Promise<string | null> {
    if (length === -1) return null;
    if (!Number.isSafeInteger(length) || length < 0 || length > REPLY_MAX_BYTES) throw nonsense(this.#address);
    while (this.#buffer.length < length + 2) await this.#more();
    const text = this.#buffer.toString('utf8', 0, length);
    this.#buffer = this.#buffer.subarray(length + 2);
    return text;
  }

  async #list(length: number, depth: number): Promise<readonly Reply[] | null> {
    if (length === -1) return null;
    if (depth > DEPTH_MAX || !Number.isSafeInteger(length) || length < 0 || length > 100_000)
      throw nonsense(this.#address);
    const list: Reply[] = [];
    for (let index = 0; index < length; index++) list.push(await this.#reply(depth));
    return list;
  }

  /** Without its end; both \r\n and the bare \n of a server that is still forking. */
  async #line(): Promise<string> {
    for (;;) {
      const end = this.#buffer.indexOf(10);
      if (end >= 0) {
        const line = this.#buffer.toString('latin1', 0, end);
        this.#buffer = this.#buffer.subarray(end + 1);
        return line.replace(/\r$/, '');
      }
      if (this.#buffer.length > REPLY_MAX_BYTES) throw nonsense(this.#address);
      await this.#more();
    }
  }

  async #more(): Promise<void> {
    let next: IteratorResult<Buffer>;
    try {
      next = await this.#incoming.next();
    } catch (cause) {
      throw unreachable(this.#address, cause);
    }
    if (next.done === true) throw unreachable(this.#address, undefined);
    this.#buffer = this.#buffer.length === 0 ? next.value : Buffer.concat([this.#buffer, next.value]);
  }
}

function encodeCommand(words: readonly string[]): Buffer {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  return Buffer.from(`*${words.length}\r\n${parts.join('')}`);
}

function connected(address: RedisAddress, signal: AbortSignal): Promise<Socket> {
  const { socket: path, host, port, tls } = address;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = tls
      ? connectTls({ host, port, servername: host })
      : connectPlain(path === undefined ? { host, port } : { path });
    const fail = (cause: Error): void => {
      socket.destroy();
      reject(signal.aborted ? new HoldfastError('CANCELLED', 'cancelled') : unreachable(address, cause));
    };
    const abort = (): void => fail(new Error('cancelled'));
    signal.addEventListener('abort', abort, { once: true });
    socket.setTimeout(CONNECT_MS, () => fail(new Error('no answer')));
    socket.once('error', fail);
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      signal.removeEventListener('abort', abort);
      socket.off('error', fail);
      // The iterator reports later errors; one that comes when nobody reads must not end the thread.
      socket.on('error', () => undefined);
      socket.setTimeout(SILENCE_MS, () => socket.destroy(new Error(`nothing came for ${SILENCE_MS / 1000} s`)));
      resolve(socket);
    });
  });
}

function unreachable(address: RedisAddress, cause: unknown): HoldfastError {
  const why = cause instanceof Error ? `: ${cause.message}` : ': it closed the connection';
  return new HoldfastError('UNREACHABLE', `Redis at ${addressText(address)} cannot be reached${why}`, {
    hint: 'Is it running, and does the DSN name it? Write socket=… or host=… port=….',
    cause,
  });
}

/** Only the server's own words; never what was sent. */
function refusal(said: string): HoldfastError {
  const denied = /^(NOAUTH|WRONGPASS|NOPERM)/.test(said);
  return new HoldfastError(denied ? 'NOT_ALLOWED' : 'FAILED_PRECONDITION', `Redis says: ${said}`, {
    hint: denied ? 'Give the user and a passfile in the DSN: user=… passfile=/etc/holdfast/redis.pass' : '',
  });
}

function nonsense(address: RedisAddress): HoldfastError {
  return new HoldfastError(
    'PROTOCOL_VIOLATION',
    `what listens at ${addressText(address)} does not speak as Redis does`,
  );
}
