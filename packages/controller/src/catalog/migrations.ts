// The catalog's schema, as numbered SQL files that run once each, in order, when a controller starts.
//
// Hazards: several replicas start at once (an advisory lock lets one of them work while the others wait); a file that
// was edited after it ran makes two catalogs that claim to be the same (its checksum is kept, and a difference refuses).
//
// Invariants (migrations.db.test.ts):
//   MG1 a file runs exactly once, whoever starts, and all of it or nothing of it;
//   MG2 an applied file that has changed or is gone, and a catalog newer than this program, refuse the start.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { HoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

export interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

// The same distance from src/catalog and from dist/catalog.
const DIRECTORY = fileURLToPath(new URL('../../migrations/', import.meta.url));
/** Any constant will do; every controller of the catalog must take the same. */
const LOCK = 0x686f6c64;

/** The files `NNN-name.sql` of a directory, in order. */
export function readMigrations(directory: string = DIRECTORY): Migration[] {
  const names = readdirSync(directory).filter((name) => /^\d{3}-[a-z0-9-]+\.sql$/.test(name));
  return names.toSorted().map((name) => {
    const sql = readFileSync(`${directory}/${name}`, 'utf8');
    return { number: Number(name.slice(0, 3)), name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
  });
}

/** Brings the catalog up to date. Throws FAILED_PRECONDITION when it does not match the files. */
export async function migrate(pool: pg.Pool, migrations: readonly Migration[] = readMigrations()): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    await client.query(
      `create table if not exists migration (
         number int primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`,
    );
    const applied = await client.query<{ number: number; name: string; checksum: string }>(
      'select number, name, checksum from migration order by number',
    );
    for (const migration of missing(applied.rows, migrations)) await apply(client, migration);
  } finally {
    await client.query('select pg_advisory_unlock($1)', [LOCK]).catch(() => undefined);
    client.release();
  }
}

function missing(
  applied: readonly { number: number; name: string; checksum: string }[],
  migrations: readonly Migration[],
): Migration[] {
  const known = new Map(migrations.map((migration) => [migration.number, migration]));
  for (const row of applied) {
    const file = known.get(row.number);
    if (file === undefined) {
      throw new HoldfastError(
        'FAILED_PRECONDITION',
        `the catalog has migration ${row.name}, which this program does not know`,
        {
          hint: 'A newer controller has used this catalog: install that version or a later one.',
        },
      );
    }
    if (file.checksum !== row.checksum) {
      throw new HoldfastError(
        'FAILED_PRECONDITION',
        `migration ${file.name} differs from the one that this catalog was made with`,
      );
    }
  }
  const done = new Set(applied.map((row) => row.number));
  return migrations.filter((migration) => !done.has(migration.number));
}

async function apply(client: pg.PoolClient, migration: Migration): Promise<void> {
  await client.query('begin');
  try {
    await client.query(migration.sql);
    await client.query('insert into migration (number, name, checksum) values ($1, $2, $3)', [
      migration.number,
      migration.name,
      migration.checksum,
    ]);
    await client.query('commit');
  } catch (cause) {
    await client.query('rollback');
    throw new HoldfastError('FAILED_PRECONDITION', `migration ${migration.name} failed`, { cause });
  }
}
