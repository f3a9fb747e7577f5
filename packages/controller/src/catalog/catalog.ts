// The catalog: a PostgreSQL database through `pg`, ours or somebody else's.
//
// Hazard: bigint columns come as strings from `pg`, and a sum of strings is a wrong number. Here they come as numbers,
// checked to be exact. A connection that breaks while idle, or between two statements of a transaction, must not end the process, either.
//
// Tested in catalog.db.test.ts.

import { join } from 'node:path';

import { HoldfastError } from '@holdfast/shared/base/errors';
import pg from 'pg';

import { startEmbeddedPostgres } from './embedded-postgres.ts';
import { migrate } from './migrations.ts';

export interface CatalogOptions {
  /** postgres://… of a server of 14 or later; without it an embedded one runs in `directory`. */
  readonly databaseUrl?: string;
  /** Absolute; used by the embedded server only, below `postgres/`. */
  readonly directory: string;
  /** False leaves a server running that ran before: another process may be using it. Default true. */
  readonly stopAdopted?: boolean;
  /** Called when a connection breaks between queries. */
  readonly onError?: (error: Error) => void;
}

/** An open, migrated catalog. */
export interface Catalog {
  /** bigint columns are numbers; bytea are Buffers; timestamptz are Dates. */
  readonly pool: pg.Pool;
  /** Runs `work` in one transaction (read committed) and rolls back when it throws. */
  transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>;
  /**
   * Calls `heard` with the payload of every NOTIFY on `channel` until the returned function is called. The connection is
   * opened anew when it breaks; `resumed` then runs, because notifications may have been missed.
   */
  listen(channel: string, heard: (payload: string) => void, resumed?: () => void): Promise<() => Promise<void>>;
  /** Ends the connections, and the server if it is the embedded one. */
  close(): Promise<void>;
}

/** Opens the catalog and brings its schema up to date. */
export async function openCatalog(options: CatalogOptions): Promise<Catalog> {
  if (options.databaseUrl !== undefined) {
    return connectCatalog({ connectionString: options.databaseUrl }, options.onError);
  }
  const server = await startEmbeddedPostgres({ directory: join(options.directory, 'postgres') });
  try {
    const catalog = await connectCatalog(server.connection, options.onError);
    return {
      ...catalog,
      close: async () => {
        await catalog.close();
        if (!server.adopted || options.stopAdopted !== false) await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** A catalog on a server that runs already. */
export async function connectCatalog(
  connection: pg.ClientConfig,
  onError: (error: Error) => void = () => undefined,
): Promise<Catalog> {
  const config: pg.PoolConfig = { ...connection, types: exactTypes, max: 20, application_name: 'holdfast-controller' };
  const pool = new pg.Pool(config);
  pool.on('error', onError);
  try {
    await migrate(pool);
  } catch (error) {
    await pool.end();
    throw error;
  }
  return {
    pool,
    transaction: (work) => inTransaction(pool, work),
    listen: (channel, heard, resumed) => listenOn({ ...connection }, channel, heard, resumed, onError),
    close: () => pool.end(),
  };
}

const INT8 = 20;

/** Parses bigint to a number, exactly or not at all; leaves the other types to `pg`. */
const exactTypes: pg.CustomTypesConfig = {
  getTypeParser: ((id: number, format?: 'text' | 'binary') => {
    if (id === INT8 && format !== 'binary') return exactNumber;
    // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- any number is a type's id in some database
    return pg.types.getTypeParser(id, format);
  }) as typeof pg.types.getTypeParser,
};

function exactNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value))
    throw new HoldfastError('INTERNAL', `${text} is beyond the numbers that are exact here`);
  return value;
}

async function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // Between two statements nobody else hears that the server ended the connection, and an error that nobody hears ends the process.
  const ended = (error: Error): void => void (broken = error);
  client.on('error', ended);
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch((failure: Error) => (broken = failure));
    throw error;
  } finally {
    client.off('error', ended);
    client.release(broken);
  }
}

const RECONNECT_MS = 500;

async function listenOn(
  connection: pg.ClientConfig,
  channel: string,
  heard: (payload: string) => void,
  resumed: (() => void) | undefined,
  onError: (error: Error) => void,
): Promise<() => Promise<void>> {
  let stopped = false;
  let client: pg.Client;
  let retry: NodeJS.Timeout | undefined;

  const open = async (): Promise<void> => {
    const opened = new pg.Client({ ...connection, application_name: 'holdfast-listen', keepAlive: true });
    opened.on('notification', (message) => heard(message.payload ?? ''));
    opened.on('error', onError);
    opened.once('end', reopenLater);
    await opened.connect();
    await opened.query(`listen ${opened.escapeIdentifier(channel)}`);
    client = opened;
  };
  const reopenLater = (): void => {
    if (stopped || retry !== undefined) return;
    retry = setTimeout(() => {
      retry = undefined;
      open().then(() => resumed?.(), reopenLater);
    }, RECONNECT_MS);
    retry.unref();
  };

  await open();
  return async () => {
    stopped = true;
    clearTimeout(retry);
    await client.end();
  };
}
