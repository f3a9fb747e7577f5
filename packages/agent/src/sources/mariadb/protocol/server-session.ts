// A connection to a MariaDB or MySQL server: log in, ask, and follow its binary log as a replica would.
//
// Why not a driver: what is asked is a dozen short statements, and what is followed, the binary log with its back-pressure,
// no driver gives event by event without putting events of any size together in memory.
//
// Hazards: a server that answers no more (every wait has a bound, `endAfterMs`); an answer of any size (collected under
// MAX_ANSWER_BYTES); a password in an error (only the server's own words are repeated).
//
// Tested in server-session.db.test.ts.

import { connect, type Socket } from 'node:net';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Login } from '../dsn.ts';
import { answerTo } from './authentication.ts';
import { framed, PacketReader, PacketSplitter } from './packets.ts';

/** A row's values as text, by column name in lower case; null: NULL. */
export type Row = Readonly<Record<string, string | null>>;

const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const CONNECT_MS = 10_000;

// https://mariadb.com/kb/en/connection/#capabilities
const LONG_PASSWORD = 1;
const LONG_FLAG = 1 << 2;
const PROTOCOL_41 = 1 << 9;
const TRANSACTIONS = 1 << 13;
const SECURE_CONNECTION = 1 << 15;
const PLUGIN_AUTH = 1 << 19;
const CAPABILITIES = LONG_PASSWORD | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
const UTF8MB4 = 45;

const SEND_ANNOTATE_ROWS = 2;

const COM_QUIT = 1;
const COM_QUERY = 3;
const COM_BINLOG_DUMP = 18;
const COM_REGISTER_SLAVE = 21;

/** What the server itself said, with its number. */
export class ServerError extends HoldfastError {
  readonly number: number;

  constructor(number: number, message: string) {
    super(
      number === 1045 || number === 1698 ? 'UNAUTHENTICATED' : 'FAILED_PRECONDITION',
      `the server says: ${message} (${number})`,
    );
    this.number = number;
  }
}

export interface PartStream {
  /** Parts of packets as they come; each packet begins with its status byte. */
  onPart(part: Buffer, last: boolean): void;
  onEnd(error: HoldfastError): void;
}

export class ServerSession {
  readonly #socket: Socket;
  readonly #splitter: PacketSplitter;
  readonly version: string;
  #sequence = 0;
  #collected: Buffer[] = [];
  #collectedBytes = 0;
  readonly #packets: Buffer[] = [];
  #waiting: { resolve: (packet: Buffer) => void; reject: (error: unknown) => void } | undefined;
  #ended: HoldfastError | undefined;
  #stream: PartStream | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.version = '';
    this.#splitter = new PacketSplitter((part, last) => this.#part(part, last));
    socket.on('data', (bytes) => this.#data(bytes));
    socket.on('error', (error) => this.#end(unreachable(error.message, error)));
    socket.on('close', () => this.#end(unreachable('the connection ended')));
  }

  /** Throws UNREACHABLE, UNAUTHENTICATED, CANCELLED. */
  static async open(login: Login, signal?: AbortSignal): Promise<ServerSession> {
    const socket = login.socket === undefined ? connect(login.port, login.host) : connect(login.socket);
    const session = new ServerSession(socket);
    const cancel = (): void => session.#end(new HoldfastError('CANCELLED', 'cancelled while the server was asked'));
    signal?.addEventListener('abort', cancel, { once: true });
    // A guard's signal outlives thousands of connections.
    socket.once('close', () => signal?.removeEventListener('abort', cancel));
    if (signal?.aborted === true) cancel();
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    socket.setTimeout(CONNECT_MS, () => session.#end(unreachable('the server does not answer')));
    try {
      const version = await session.#logIn(login);
      socket.setTimeout(0);
      return Object.defineProperty(session, 'version', { value: version });
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /** Rows of one statement. Throws what the server says as a ServerError; UNREACHABLE. Calls may not overlap. */
  async query(statement: string): Promise<Row[]> {
    this.#send(Buffer.concat([Buffer.from([COM_QUERY]), Buffer.from(statement, 'utf8')]), 0);
    const head = await this.#packet();
    if (head[0] === 0x00) return [];
    const columns = new PacketReader(head).lengthCoded() ?? 0;
    const names: string[] = [];
    for (let n = 0; n < columns; n++) names.push(columnName(await this.#packet()));
    await this.#packet(); // EOF after the columns
    const rows: Row[] = [];
    let bytes = 0;
    for (;;) {
      const packet = await this.#packet();
      if (packet[0] === 0xfe && packet.length < 9) return rows;
      bytes += packet.length;
      if (bytes > MAX_ANSWER_BYTES) throw new HoldfastError('LIMIT_EXCEEDED', 'an answer of the server is too long');
      const reader = new PacketReader(packet);
      rows.push(Object.fromEntries(names.map((name) => [name, reader.text()?.toString('utf8') ?? null])));
    }
  }

  /**
   * Asks for a binary log from `offset` of `file`, without end. From then on the connection does nothing else.
   * @param serverId ours, as a replica: unlike that of every server that replicates here
   */
  async followBinlog(request: { serverId: number; file: string; offset: number; stream: PartStream }): Promise<void> {
    const register = Buffer.alloc(18);
    register[0] = COM_REGISTER_SLAVE;
    register.writeUInt32LE(request.serverId, 1);
    this.#send(register, 0);
    await this.#packet();
    const dump = Buffer.alloc(11 + Buffer.byteLength(request.file));
    dump[0] = COM_BINLOG_DUMP;
    dump.writeUInt32LE(request.offset, 1);
    // Without this flag the server leaves out what annotates rows, and the bytes would not be the log's.
    dump.writeUInt16LE(SEND_ANNOTATE_ROWS, 5);
    dump.writeUInt32LE(request.serverId, 7);
    dump.write(request.file, 11, 'utf8');
    this.#stream = request.stream;
    this.#send(dump, 0);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** The connection is given up when the server sends nothing for so long; 0: never. */
  endAfterMs(silentMs: number): void {
    this.#socket.setTimeout(silentMs, () => this.#end(unreachable('the server has sent nothing for too long')));
  }

  close(): void {
    if (this.#ended === undefined && this.#stream === undefined && this.#socket.writable) {
      this.#socket.write(framed(Buffer.from([COM_QUIT]), 0));
    }
    this.#end(new HoldfastError('CANCELLED', 'the connection was closed'));
  }

  async #logIn(login: Login): Promise<string> {
    const hello = new PacketReader(await this.#packet());
    const protocol = hello.uint(1);
    if (protocol !== 10) throw new HoldfastError('UNSUPPORTED_VERSION', `protocol ${protocol} is not MySQL's`);
    const version = hello.untilNul().toString('latin1');
    hello.bytes(4);
    const first = hello.bytes(8);
    hello.bytes(1 + 2 + 1 + 2 + 2);
    const challengeBytes = hello.uint(1);
    hello.bytes(10);
    const second = hello.bytes(Math.max(12, challengeBytes - 9));
    hello.bytes(1);
    const plugin = hello.untilNul().toString('latin1');
    const challenge = Buffer.concat([first, second]);
    const known = ['mysql_native_password', 'caching_sha2_password'].includes(plugin)
      ? plugin
      : 'mysql_native_password';
    const answer = answerTo(known, challenge, login.password);
    const head = Buffer.alloc(32);
    head.writeUInt32LE(CAPABILITIES, 0);
    head.writeUInt32LE(0x40_00_00_00, 4);
    head[8] = UTF8MB4;
    const reply = [head, nul(login.user), Buffer.from([answer.length]), answer, nul(known)];
    this.#send(Buffer.concat(reply), this.#splitter.sequence + 1);
    await this.#prove(known, challenge, login);
    // MariaDB reports itself as 5.5.5-10.11.14-MariaDB for the sake of old clients.
    return version.replace(/^5\.5\.5-/, '');
  }

  /** Answers what the server asks until it lets us in. */
  async #prove(firstPlugin: string, firstChallenge: Buffer, login: Login): Promise<void> {
    let plugin = firstPlugin;
    let challenge = firstChallenge;
    for (let turn = 0; turn < 8; turn++) {
      const packet = await this.#packet();
      if (packet[0] === 0x00) return;
      const reader = new PacketReader(packet.subarray(1));
      if (packet[0] === 0xfe) {
        plugin = reader.untilNul().toString('latin1');
        challenge = Buffer.from(reader.rest());
        this.#send(answerTo(plugin, challenge, login.password), this.#splitter.sequence + 1);
      } else if (packet[0] === 0x01 && plugin === 'caching_sha2_password' && packet[1] === 4) {
        if (login.socket === undefined) {
          throw new HoldfastError('UNAUTHENTICATED', 'the server wants the password over an encrypted connection', {
            hint: 'Use its unix socket, or give the account mysql_native_password.',
          });
        }
        this.#send(nul(login.password), this.#splitter.sequence + 1);
      } else if (packet[0] !== 0x01) {
        throw new HoldfastError('PROTOCOL_VIOLATION', 'the server answers a login with what no server sends');
      }
    }
    throw new HoldfastError('PROTOCOL_VIOLATION', 'the server asks for proof without end');
  }

  #send(content: Uint8Array, sequence: number): void {
    if (this.#ended !== undefined) throw this.#ended;
    this.#sequence = sequence;
    this.#socket.write(framed(content, this.#sequence));
  }

  async #packet(): Promise<Buffer> {
    const packet = this.#packets.shift() ?? (await this.#next());
    if (packet[0] === 0xff) throw serverErrorOf(packet);
    return packet;
  }

  #next(): Promise<Buffer> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  #data(bytes: Buffer): void {
    try {
      this.#splitter.push(bytes);
    } catch (error) {
      this.#end(error instanceof HoldfastError ? error : unreachable(String(error), error));
    }
  }

  #part(part: Buffer, last: boolean): void {
    if (this.#stream !== undefined) {
      if (this.#ended === undefined) this.#stream.onPart(part, last);
      return;
    }
    this.#collectedBytes += part.length;
    if (this.#collectedBytes > MAX_ANSWER_BYTES)
      throw new HoldfastError('LIMIT_EXCEEDED', 'an answer of the server is too long');
    this.#collected.push(part);
    if (!last) return;
    const packet = Buffer.concat(this.#collected);
    this.#collected = [];
    this.#collectedBytes = 0;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#packets.push(packet);
    else waiting.resolve(packet);
  }

  #end(error: HoldfastError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#socket.destroySoon();
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    this.#stream?.onEnd(error);
  }
}

/** The server's words in an error packet (0xff, number, maybe '#' and a state, text). */
export function serverErrorOf(packet: Buffer): ServerError {
  const from = packet[3] === 0x23 ? 9 : 3;
  return new ServerError(packet.readUInt16LE(1), packet.subarray(from).toString('utf8'));
}

function columnName(packet: Buffer): string {
  const reader = new PacketReader(packet);
  for (let n = 0; n < 4; n++) reader.text();
  return (reader.text() ?? Buffer.alloc(0)).toString('utf8').toLowerCase();
}

function nul(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'utf8');
}

function unreachable(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('UNREACHABLE', `the database server: ${why}`, {
    hint: 'See whether it runs, and whether the address in the DSN is right.',
    cause,
  });
}
