// An answer of a database: the first value of the first row, and, when it is a time, its age by the server's own clock and time zone.
//
// Hazard: a check that changes what it checks. So the server is asked in a transaction that may only read, and that ends with a rollback.

import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { LOOK_MS, type Look, type LookTarget } from './look-target.ts';

type SqlTarget = LookTarget & { kind: 'sql' };
/** Text of the first value; null: NULL; undefined: no row. And its age, when it was asked for and the value is a time. */
interface Answer {
  readonly value: string | null | undefined;
  readonly ageMs: number | undefined;
}

const VALUE_SHOWN = 200;
/** Seconds, or milliseconds, since 1970. */
const EPOCH = /^\d{9,13}(\.\d+)?$/;

export async function lookAtDatabase(target: SqlTarget, signal: AbortSignal): Promise<Look> {
  try {
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS)]);
    return judge(target, await ask(target, bounded));
  } catch (error) {
    return { well: false, message: toHoldfastError(error).message, facts: {} };
  }
}

function judge({ maxAgeMs }: SqlTarget, { value, ageMs }: Answer): Look {
  if (value === undefined) return { well: false, message: 'the query has no row', facts: {} };
  const shown = value === null ? 'NULL' : value.slice(0, VALUE_SHOWN);
  const facts = { value: shown, ...(ageMs === undefined ? {} : { 'age-ms': String(Math.round(ageMs)) }) };
  if (maxAgeMs === undefined) return { well: true, message: `the query answers ${shown}`, facts };
  if (ageMs === undefined) return { well: false, message: `the query answers ${shown}, which is no time`, facts };
  const age = `${(ageMs / 1000).toFixed(1)} s old`;
  if (ageMs > maxAgeMs) return { well: false, message: `${shown} is ${age}, more than ${maxAgeMs / 1000} s`, facts };
  return { well: true, message: `${shown} is ${age}`, facts };
}

async function ask(target: SqlTarget, signal: AbortSignal): Promise<Answer> {
  if (target.engine === 'postgres') return askPostgres(target, signal);
  if (target.engine === 'mariadb') return askMariaDb(target, signal);
  throw new HoldfastError('INVALID_ARGUMENT', `a ${target.engine} source can't be asked by check.sql`, {
    hint: 'It asks postgres and mariadb.',
  });
}

async function askPostgres({ settings, query, maxAgeMs }: SqlTarget, signal: AbortSignal): Promise<Answer> {
  const { addressOf, connect } = await import('../../../sources/postgres/connection.ts');
  const client = await connect(addressOf(settings), {
    kind: 'ordinary',
    applicationName: 'holdfast_check',
  });
  const cancel = (): void => void client.end();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    await client.query(`SET statement_timeout = ${LOOK_MS}`);
    await client.query('BEGIN READ ONLY');
    // As text, as the server writes it.
    const types = { getTypeParser: () => (text: string) => text };
    const { rows } = await client.query<(string | null)[]>({ text: query, rowMode: 'array', types });
    const value = rows[0]?.[0];
    if (value === undefined || value === null || maxAgeMs === undefined) return { value, ageMs: undefined };
    if (EPOCH.test(value)) return { value, ageMs: ageOfEpoch(value) };
    const { rows: ages } = await client.query<(string | null)[]>({
      text: 'SELECT extract(epoch from clock_timestamp() - $1::timestamptz) * 1000',
      values: [value],
      rowMode: 'array',
      types,
    });
    return { value, ageMs: Number(ages[0]?.[0]) };
  } catch (error) {
    throw new HoldfastError('FAILED_PRECONDITION', `PostgreSQL says: ${toHoldfastError(error).message}`, {
      cause: error,
    });
  } finally {
    signal.removeEventListener('abort', cancel);
    await client.end();
  }
}

async function askMariaDb({ settings, query, maxAgeMs }: SqlTarget, signal: AbortSignal): Promise<Answer> {
  const [{ ServerSession }, { accountName, addressOf, loginOf }] = await Promise.all([
    import('../../../sources/mariadb/protocol/server-session.ts'),
    import('../../../sources/mariadb/dsn.ts'),
  ]);
  const session = await ServerSession.open(loginOf(addressOf(settings), accountName()), signal);
  try {
    await session.query('START TRANSACTION READ ONLY');
    const [row] = await session.query(query.replace(/;\s*$/, ''));
    const value = row === undefined ? undefined : (Object.values(row)[0] ?? null);
    if (value === undefined || value === null || maxAgeMs === undefined) return { value, ageMs: undefined };
    if (EPOCH.test(value)) return { value, ageMs: ageOfEpoch(value) };
    const hex = Buffer.from(value).toString('hex');
    const [age] = await session.query(
      `SELECT TIMESTAMPDIFF(MICROSECOND, CONVERT(x'${hex}' USING utf8mb4), NOW(6)) / 1000 AS age`,
    );
    const ageMs = age?.['age'];
    return { value, ageMs: ageMs === null || ageMs === undefined ? undefined : Number(ageMs) };
  } finally {
    session.close();
  }
}

function ageOfEpoch(value: string): number {
  const number = Number(value);
  return Date.now() - (number > 100_000_000_000 ? number : number * 1000);
}
