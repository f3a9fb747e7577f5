// BASE_BACKUP of the replication protocol (https://www.postgresql.org/docs/current/protocol-replication.html): the server streams
// its data directory and its tablespaces as tar archives, and a manifest.
//
// Since 15 all of it comes in one COPY with typed messages; before, each archive and the manifest is a COPY of its own.
//
// Hazard: the server says at the very end that pages failed their checksums, as an error behind everything it sent. That is
// not a failed backup but a suspect one, which names the pages: without it there might be none at all.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Client, Submittable } from 'pg';
import { serverError, sqlStateOf } from '../log/server-connection.ts';

export interface Tablespace {
  /** 0: the data directory itself. */
  readonly oid: number;
  /** Where it is on the server; empty for the data directory. */
  readonly location: string;
  /** An estimate. */
  readonly bytes: number;
}

export interface BasePosition {
  readonly lsn: string;
  readonly timeline: number;
}

export interface BaseListener {
  started(start: BasePosition, tablespaces: readonly Tablespace[]): void;
  /** A tar archive begins; the bytes that follow are its. */
  archive(tablespace: Tablespace): void;
  manifest(): void;
  /** Of the newest archive, or of the manifest; valid until it returns. */
  data(bytes: Buffer): void;
  /** A warning of the server: a page that failed its checksum, say. */
  warning(message: string): void;
}

export interface BaseOptions {
  readonly label: string;
  readonly checkpoint: 'fast' | 'spread';
  /** As server_version_num says. */
  readonly versionNumber: number;
}

export interface BaseResult {
  readonly end: BasePosition;
  /** Pages failed their checksums. */
  readonly suspect: boolean;
}

/** What lies beneath a client; @types/pg leaves it out. */
interface RawConnection {
  readonly stream: { destroy(): void };
  query(text: string): void;
  on(event: 'copyOutResponse' | 'notice', listener: (message: { readonly message?: string }) => void): void;
  removeListener(event: 'copyOutResponse' | 'notice', listener: (message: { readonly message?: string }) => void): void;
}

const TYPED_MESSAGES_SINCE = 150_000;
const DATA_CORRUPTED = 'XX001';

/** Runs on a replication connection of its own. Throws a HoldfastError when the server ends it, CANCELLED by the signal. */
export async function baseBackup(
  client: Client,
  options: BaseOptions,
  listener: BaseListener,
  signal: AbortSignal,
): Promise<BaseResult> {
  const raw = (client as unknown as { readonly connection: RawConnection }).connection;
  const { promise, resolve, reject } = Promise.withResolvers<BaseResult>();
  const answers = new BaseAnswers(options, listener);
  const fail = (thrown: unknown): void => {
    const error = serverError(thrown);
    const { end } = answers;
    if (sqlStateOf(error) === DATA_CORRUPTED && end !== undefined) resolve({ end, suspect: true });
    else reject(signal.aborted ? new HoldfastError('CANCELLED', 'the backup was cancelled') : error);
  };
  const guarded = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      reject(error instanceof Error ? error : new Error(String(error)));
      raw.stream.destroy();
    }
  };
  const copies = (): void => guarded(() => answers.copyBegins());
  const notices = ({ message = '' }: { readonly message?: string }): void => guarded(() => listener.warning(message));
  const abort = (): void => {
    reject(new HoldfastError('CANCELLED', 'the backup was cancelled'));
    raw.stream.destroy();
  };
  const ignore = (): void => undefined;
  const query = {
    submit: () => raw.query(commandText(options)),
    handleRowDescription: () => answers.resultBegins(),
    handleDataRow: ({ fields }: { readonly fields: readonly (string | null)[] }) => guarded(() => answers.row(fields)),
    handleCopyData: ({ chunk }: { readonly chunk: Buffer }) => guarded(() => answers.copyData(chunk)),
    handleCommandComplete: () => guarded(() => answers.resultEnds()),
    handleEmptyQuery: ignore,
    handlePortalSuspended: ignore,
    handleError: fail,
    handleReadyForQuery: () => {
      if (answers.end === undefined) fail(new Error('the backup has no end'));
      else resolve({ end: answers.end, suspect: false });
    },
  };
  raw.on('copyOutResponse', copies);
  raw.on('notice', notices);
  client.once('end', () => fail(new Error('the server closed the connection')));
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  else client.query(query as unknown as Submittable);
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', abort);
    raw.removeListener('copyOutResponse', copies);
    raw.removeListener('notice', notices);
  }
}

function commandText({ label, checkpoint, versionNumber }: BaseOptions): string {
  const quoted = `'${label.replaceAll("'", "''")}'`;
  if (versionNumber >= TYPED_MESSAGES_SINCE) {
    return `BASE_BACKUP (LABEL ${quoted}, PROGRESS true, CHECKPOINT '${checkpoint}', WAIT false, TABLESPACE_MAP true, VERIFY_CHECKSUMS true, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C')`;
  }
  const fast = checkpoint === 'fast' ? ' FAST' : '';
  return `BASE_BACKUP LABEL ${quoted} PROGRESS${fast} NOWAIT TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`;
}

/** What the server's answers mean, in the order in which they come. */
class BaseAnswers {
  readonly #options: BaseOptions;
  readonly #listener: BaseListener;
  readonly #tablespaces: Tablespace[] = [];
  #results = 0;
  #start: BasePosition | undefined;
  #copies = 0;
  end: BasePosition | undefined;

  constructor(options: BaseOptions, listener: BaseListener) {
    this.#options = options;
    this.#listener = listener;
  }

  resultBegins(): void {
    this.#results++;
  }

  row(fields: readonly (string | null)[]): void {
    if (this.#results === 2) {
      const [oid, location, kibibytes] = fields;
      this.#tablespaces.push({ oid: Number(oid ?? 0), location: location ?? '', bytes: Number(kibibytes ?? 0) * 1024 });
      return;
    }
    const position = { lsn: String(fields[0]), timeline: Number(fields[1]) };
    if (this.#results === 1) this.#start = position;
    else this.end = position;
  }

  resultEnds(): void {
    if (this.#results === 2 && this.#copies === 0 && this.#start !== undefined) {
      this.#listener.started(this.#start, this.#tablespaces);
    }
  }

  copyBegins(): void {
    const index = this.#copies++;
    if (this.#options.versionNumber >= TYPED_MESSAGES_SINCE) return;
    const tablespace = this.#tablespaces[index];
    if (tablespace === undefined) this.#listener.manifest();
    else this.#listener.archive(tablespace);
  }

  copyData(chunk: Buffer): void {
    if (this.#options.versionNumber < TYPED_MESSAGES_SINCE) return this.#listener.data(chunk);
    switch (String.fromCharCode(chunk[0] ?? 0)) {
      case 'd':
        return this.#listener.data(chunk.subarray(1));
      case 'n': {
        const name = chunk.toString('utf8', 1, chunk.indexOf(0, 1));
        const oid = Number(/^(\d+)\.tar$/.exec(name)?.[1] ?? 0);
        const tablespace = this.#tablespaces.find((one) => one.oid === oid);
        if (tablespace === undefined)
          throw new HoldfastError('PROTOCOL_VIOLATION', 'the server sent an unknown archive');
        return this.#listener.archive(tablespace);
      }
      case 'm':
        return this.#listener.manifest();
      default:
        // Progress, and what newer servers may add.
        return undefined;
    }
  }
}
