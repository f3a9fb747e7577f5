// What a server says of itself that a base backup has to remember.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Client } from 'pg';
import { serverError } from '../log/server-connection.ts';

export interface ServerFacts {
  /** 15.14 */
  readonly version: string;
  readonly versionNumber: number;
  readonly systemIdentifier: string;
  readonly walFileBytes: number;
  readonly pageBytes: number;
  /** Empty where the role may not know. */
  readonly dataDirectory: string;
  readonly inRecovery: boolean;
  /** The role that initdb made. */
  readonly superuser: string;
}

export const OLDEST_VERSION = 130_000;

interface Row {
  version: string;
  number: number;
  system: string;
  wal: string;
  page: number;
  directory: string;
  recovery: boolean;
  superuser: string;
}

/** Throws FAILED_PRECONDITION for a version before 13. */
export async function askServer(client: Client): Promise<ServerFacts> {
  const text = `select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
    (select system_identifier::text from pg_control_system()) as system,
    (select bytes_per_wal_segment::text from pg_control_init()) as wal,
    current_setting('block_size')::int as page,
    case when pg_has_role('pg_read_all_settings', 'usage') then current_setting('data_directory') else '' end as directory,
    pg_is_in_recovery() as recovery, pg_get_userbyid(10) as superuser`;
  let row: Row | undefined;
  try {
    row = (await client.query<Row>(text)).rows[0];
  } catch (error) {
    throw serverError(error);
  }
  if (row === undefined || row.number < OLDEST_VERSION) {
    throw new HoldfastError('FAILED_PRECONDITION', `PostgreSQL ${row?.version ?? '?'} is older than 13`, {
      hint: 'Protect it by a command source with pg_dump, or upgrade it.',
    });
  }
  return {
    version: row.version.split(' ')[0]!,
    versionNumber: row.number,
    systemIdentifier: row.system,
    walFileBytes: Number(row.wal),
    pageBytes: row.page,
    dataDirectory: row.directory,
    inRecovery: row.recovery,
    superuser: row.superuser,
  };
}

/** The server's clock, Unix ms. */
export async function serverTimeMs(client: Client): Promise<number> {
  try {
    const { rows } = await client.query<{ ms: string }>(
      'select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as ms',
    );
    return Number(rows[0]?.ms);
  } catch (error) {
    throw serverError(error);
  }
}
