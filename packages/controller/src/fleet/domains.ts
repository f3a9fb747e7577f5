// Domains and their master secrets.
//
// Hazard: without the secret a domain's data is gone for ever. A managed domain's secret is in the catalog, wrapped by the
// master key, and on every agent; the recovery sheet (recovery-sheet.ts) is the copy on paper for the day that none of these is
// left.
//
// Tested in audit.db.test.ts.

import { randomBytes, randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

import type { MasterKey } from './master-key.ts';

export interface Domain {
  readonly id: string;
  readonly name: string;
  readonly managed: boolean;
  readonly keyEpoch: number;
}

const COLUMNS = 'id, name, managed, key_epoch as "keyEpoch"';
export const DEFAULT_DOMAIN = 'default';

/** Creates a managed domain with a new secret, unless one of that name exists. */
export async function ensureManagedDomain(
  client: pg.ClientBase | pg.Pool,
  key: MasterKey,
  name: string,
): Promise<Domain> {
  const id = randomUUID();
  const wrapped = key.wrap(secretName(id), randomBytes(32));
  await client.query(
    'insert into domain (id, name, managed, wrapped_secret) values ($1, $2, true, $3) on conflict (name) do nothing',
    [id, name, wrapped],
  );
  const { rows } = await client.query<Domain>(`select ${COLUMNS} from domain where name = $1`, [name]);
  if (rows[0] === undefined) throw new HoldfastError('INTERNAL', `domain ${name} vanished while it was made`);
  return rows[0];
}

const DOMAIN_NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/i;

/** A new domain: managed, with a secret that is made here, or sealed, without one. Throws ALREADY_EXISTS, INVALID_ARGUMENT. */
export async function addDomain(
  client: pg.ClientBase,
  key: MasterKey,
  domain: { readonly name: string; readonly sealed: boolean },
): Promise<Domain> {
  const { name, sealed } = domain;
  if (!DOMAIN_NAME.test(name)) {
    throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(name)} is not a name for a domain`, {
      hint: 'Use letters, digits, and . _ - between them, 63 at the most.',
    });
  }
  const { rowCount } = await client.query('select 1 from domain where name = $1', [name]);
  if (rowCount !== 0) throw new HoldfastError('ALREADY_EXISTS', `there is a domain ${name} already`);
  const made = { id: randomUUID(), name, keyEpoch: 0 };
  await insertDomain(client, key, { ...made, secret: sealed ? undefined : randomBytes(32) });
  return { ...made, managed: !sealed };
}

export async function listDomains(client: pg.ClientBase | pg.Pool): Promise<Domain[]> {
  return (await client.query<Domain>(`select ${COLUMNS} from domain order by name`)).rows;
}

/** The 32-byte master secret; undefined when the domain is sealed: the controller does not have it. */
export async function domainSecret(
  client: pg.ClientBase | pg.Pool,
  key: MasterKey,
  domainId: string,
): Promise<Buffer | undefined> {
  const { rows } = await client.query<{ wrapped_secret: Buffer | null }>(
    'select wrapped_secret from domain where id = $1',
    [domainId],
  );
  if (rows[0] === undefined) throw new HoldfastError('NOT_FOUND', `there is no domain ${domainId}`);
  const wrapped = rows[0].wrapped_secret;
  return wrapped === null ? undefined : key.unwrap(secretName(domainId), wrapped);
}

/** A domain as it was, with its id: for a rebuilt catalog. `secret`: undefined for a sealed one. */
export async function insertDomain(
  client: pg.ClientBase,
  key: MasterKey,
  domain: Pick<Domain, 'id' | 'name' | 'keyEpoch'> & { readonly secret: Uint8Array | undefined },
): Promise<void> {
  const { id, name, keyEpoch, secret } = domain;
  const wrapped = secret === undefined ? null : key.wrap(secretName(id), secret);
  await client.query('insert into domain (id, name, managed, wrapped_secret, key_epoch) values ($1, $2, $3, $4, $5)', [
    id,
    name,
    wrapped !== null,
    wrapped,
    keyEpoch,
  ]);
}

function secretName(domainId: string): string {
  return `domain-secret/${domainId}`;
}
