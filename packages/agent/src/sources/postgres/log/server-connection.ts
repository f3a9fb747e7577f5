// A replication connection to the server: its commands, and the stream of its log.
//
// Hazard: a stream that is faster than the vault. The driver hands over whatever the socket has, so whoever receives calls pause()
// when enough is held, and the server waits: nothing is buffered here.
//
// Source: PostgreSQL's documentation, "Streaming Replication Protocol". The driver (pg) knows no COPY BOTH: its messages are
// taken from the connection beneath, with a query of our own as the one that runs.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Client, Submittable } from 'pg';
import { readServerMessage, type ServerMessage } from './copy-messages.ts';
import { formatLsn, parseLsn } from './lsn.ts';

export interface ServerIdentity {
  readonly systemIdentifier: string;
  readonly timeline: number;
  /** What it has flushed. */
  readonly end: bigint;
}

/** How a stream ended in good order. */
export type StreamEnd =
  | { readonly kind: 'switched'; readonly timeline: number; readonly position: bigint }
  /** The server is stopping, say. */
  | { readonly kind: 'ended' };

export interface LogStreaming {
  send(statusUpdate: Buffer): void;
  pause(): void;
  resume(): void;
  /** Rejects with what ended the stream: a HoldfastError, with the server's `sqlState` in its details. */
  readonly ended: Promise<StreamEnd>;
}

export interface StreamRequest {
  readonly slot: string;
  readonly timeline: number;
  readonly from: bigint;
  onMessage(message: ServerMessage): void;
}

/** What lies beneath a client; @types/pg leaves it out. */
interface RawConnection {
  readonly stream: { pause(): void; resume(): void; destroy(): void };
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  on(event: 'copyDone', listener: () => void): void;
  removeListener(event: 'copyDone', listener: () => void): void;
}

const RAW = { getTypeParser: () => (value: string | Buffer) => value };

export class ServerConnection {
  readonly #client: Client;
  readonly #raw: RawConnection;
  #failed: HoldfastError | undefined;
  #onFailure: (error: HoldfastError) => void = () => undefined;

  /** @param client connected with `replication: 'true'` */
  constructor(client: Client) {
    this.#client = client;
    this.#raw = (client as unknown as { readonly connection: RawConnection }).connection;
    // A socket that breaks between two commands has nobody else who hears of it.
    client.on('error', (error) => this.#fail(serverError(error)));
    client.on('end', () => this.#fail(new HoldfastError('UNREACHABLE', 'the server closed the connection')));
  }

  async identify(): Promise<ServerIdentity> {
    const row = await this.#row('IDENTIFY_SYSTEM');
    return {
      systemIdentifier: row['systemid'] ?? '',
      timeline: Number(row['timeline']),
      end: parseLsn(row['xlogpos'] ?? ''),
    };
  }

  /** The history file of a timeline > 1, as the server has it. */
  async history(timeline: number): Promise<string> {
    return (await this.#row(`TIMELINE_HISTORY ${timeline}`))['content'] ?? '';
  }

  /** Reserves the log from the last checkpoint on. */
  async createSlot(name: string): Promise<void> {
    await this.#row(`CREATE_REPLICATION_SLOT ${quoted(name)} PHYSICAL RESERVE_WAL`);
  }

  async dropSlot(name: string): Promise<void> {
    await this.#row(`DROP_REPLICATION_SLOT ${quoted(name)}`);
  }

  /** One stream at a time; the connection takes commands again when it has ended in good order. */
  stream(request: StreamRequest): LogStreaming {
    const { promise, resolve, reject } = Promise.withResolvers<StreamEnd>();
    const text = `START_REPLICATION SLOT ${quoted(request.slot)} PHYSICAL ${formatLsn(request.from)} TIMELINE ${request.timeline}`;
    let row: readonly string[] | undefined;
    const raw = this.#raw;
    // The server's end of the stream is answered with ours; then it says where the log goes on.
    const copyDone = (): void => raw.endCopyFrom();
    const finish = (): void => raw.removeListener('copyDone', copyDone);
    const fail = (error: HoldfastError): void => {
      finish();
      reject(error);
    };
    raw.on('copyDone', copyDone);
    const ignore = (): void => undefined;
    const query = {
      submit: () => raw.query(text),
      handleCopyData: ({ chunk }: { readonly chunk: Buffer }) => {
        try {
          request.onMessage(readServerMessage(chunk));
        } catch (error) {
          fail(serverError(error));
          raw.stream.destroy();
        }
      },
      handleRowDescription: ignore,
      handleDataRow: ({ fields }: { readonly fields: readonly string[] }) => void (row = fields),
      handleCommandComplete: ignore,
      handleEmptyQuery: ignore,
      handlePortalSuspended: ignore,
      handleError: (error: unknown) => fail(serverError(error)),
      handleReadyForQuery: () => {
        finish();
        resolve(
          row === undefined
            ? { kind: 'ended' }
            : { kind: 'switched', timeline: Number(row[0]), position: parseLsn(String(row[1])) },
        );
      },
    };
    this.#onFailure = fail;
    if (this.#failed !== undefined) fail(this.#failed);
    else this.#client.query(query as unknown as Submittable);
    promise.catch(ignore);
    return {
      send: (message) => raw.sendCopyFromChunk(message),
      pause: () => raw.stream.pause(),
      resume: () => raw.stream.resume(),
      ended: promise,
    };
  }

  /** At once, whatever runs. */
  close(): void {
    this.#fail(new HoldfastError('CANCELLED', 'the connection to the server was closed'));
    this.#raw.stream.destroy();
  }

  #fail(error: HoldfastError): void {
    this.#failed ??= error;
    this.#onFailure(this.#failed);
  }

  async #row(text: string): Promise<Readonly<Record<string, string>>> {
    if (this.#failed !== undefined) throw this.#failed;
    try {
      const { rows } = await this.#client.query<Record<string, string>>({ text, types: RAW });
      return rows[0] ?? {};
    } catch (error) {
      throw serverError(error);
    }
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** What a server's classes of SQLSTATE mean here; others are INTERNAL. */
const CODES: Readonly<Record<string, 'UNREACHABLE' | 'NOT_ALLOWED' | 'UNAUTHENTICATED' | 'FAILED_PRECONDITION'>> = {
  '08': 'UNREACHABLE',
  '28': 'UNAUTHENTICATED',
  '42': 'NOT_ALLOWED',
  '53': 'UNREACHABLE',
  '55': 'FAILED_PRECONDITION',
  '57': 'UNREACHABLE',
  '58': 'FAILED_PRECONDITION',
};

/** A driver's or a socket's error: UNREACHABLE for a broken connection; details.sqlState is the server's own code. */
export function serverError(thrown: unknown): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code: unknown = typeof thrown === 'object' && thrown !== null ? Reflect.get(thrown, 'code') : undefined;
  if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)) {
    return new HoldfastError(CODES[code.slice(0, 2)] ?? 'INTERNAL', `the server says: ${message}`, {
      details: { sqlState: code },
      cause: thrown,
    });
  }
  return new HoldfastError('UNREACHABLE', `the connection to the server broke: ${message}`, { cause: thrown });
}

export function sqlStateOf(error: unknown): string {
  return error instanceof HoldfastError ? String(error.details['sqlState'] ?? '') : '';
}
