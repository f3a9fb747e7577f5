// Logical exports beside a base: what pg_dump writes of a database, as text, for moving between major versions.
//
// They are as of a moment after the base's end, each database by itself, and no point in time is reached from them. Never compressed
// here: the next export of a database that hardly changed costs what changed.
//
// Hazard: a dump that broke off looks like a smaller one. Its exit code decides, and one that failed is a warning that names it: the base
// is good without.

import type { Client } from 'pg';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import type { ProducerContext } from '../../../backup/producer/run-producer.ts';
import type { SnapshotWriter } from '../../../backup/snapshot-writer.ts';
import { runProgram } from '../../../jobs/program.ts';
import type { Settings } from '../../../jobs/job.ts';
import { madeEntry } from '../../made-entries.ts';
import { addressOf } from '../connection.ts';
import type { ServerAddress } from '../dsn.ts';
import { serverError } from '../log/server-connection.ts';
import { findPrograms } from '../restore/programs.ts';
import { majorOf } from './base-facts.ts';

export const EXPORT_PATH = 'export';
const DUMP_MS = 12 * 3_600_000;
const SAID_MAX = 500;

/** @param settings `export`: names of databases, with commas between, or * for all that take connections; empty: none */
export async function exportDatabases(
  settings: Settings,
  versionNumber: number,
  ordinary: Client,
  writer: SnapshotWriter,
  context: ProducerContext,
): Promise<void> {
  const wanted = (settings['export'] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  if (wanted.length === 0) return;
  const address = addressOf(settings);
  const bin = findPrograms(majorOf(versionNumber), settings['bindir']);
  for (const database of wanted.includes('*') ? await databasesOf(ordinary) : wanted) {
    context.throwIfCancelled();
    // A name may hold anything; a path may not.
    const path = `${EXPORT_PATH}/${encodeURIComponent(database).replaceAll('.', '%2E')}.sql`;
    const stream = writer.stream(path);
    try {
      const { ok, problem, output } = await runProgram(
        {
          command: [
            `${bin}/pg_dump`,
            '--no-password',
            '--format=plain',
            '--create',
            '--lock-wait-timeout=60000',
            '--dbname',
            `dbname=${quoted(database)}`,
          ],
          timeoutMs: DUMP_MS,
          environment: environmentOf(address),
          onOutput: (chunk) => stream.write(chunk),
        },
        systemClock,
        context.signal,
      );
      context.throwIfCancelled();
      if (!ok) throw new HoldfastError('FAILED_PRECONDITION', `${problem}: ${output.trim().slice(-SAID_MAX)}`);
      stream.end(madeEntry(Date.now()));
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      stream.abandon();
      if (error.code === 'CANCELLED') throw error;
      writer.warn('export', path, error.message);
    }
  }
}

async function databasesOf(client: Client): Promise<string[]> {
  try {
    const text = 'select datname from pg_database where datallowconn and not datistemplate order by datname';
    return (await client.query<{ datname: string }>(text)).rows.map(({ datname }) => datname);
  } catch (error) {
    throw serverError(error);
  }
}

/** libpq's own variables: nothing of how the server is reached stands in the arguments. */
function environmentOf({
  host,
  port,
  user,
  passfile,
  sslMode,
  sslRootCertificate,
}: ServerAddress): Record<string, string> {
  return {
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: user,
    PGSSLMODE: sslMode,
    ...(passfile === undefined ? {} : { PGPASSFILE: passfile }),
    ...(sslRootCertificate === undefined ? {} : { PGSSLROOTCERT: sslRootCertificate }),
  };
}

/** As libpq reads it in a connection string. */
function quoted(name: string): string {
  return `'${name.replace(/[\\']/g, '\\$&')}'`;
}
