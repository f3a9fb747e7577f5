// Operators: accounts, roles for each domain, API tokens.
//
// Hazards: a default credential (there is none: the first start makes a random token); a stolen catalog (passwords as
// argon2id, tokens as hashes); finding out which names exist by timing (an unknown name costs a hash, too); a token that
// does more than its owner may (its role is a ceiling, applied at every call).
//
// Tested in api/login.db.test.ts and api/permissions.db.test.ts.

import { createHash, randomBytes, randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { hash, verify } from '@node-rs/argon2';
import type pg from 'pg';

import { lowerRole, type Role } from './roles.ts';

type Queryable = pg.ClientBase | pg.Pool;

export const PASSWORD_MIN_CHARACTERS = 12;
const PASSWORD_MAX_BYTES = 1024;
const TOKEN_PREFIX = 'hfo_';
const OPERATOR_NAME = /^[a-z0-9][a-z0-9._@-]{0,63}$/i;

export interface Operator {
  readonly id: string;
  readonly name: string;
  /** Domain id → role */
  readonly roles: ReadonlyMap<string, Role>;
}

export interface NewToken {
  readonly id: string;
  /** Shown once; only its hash is kept. */
  readonly token: string;
  readonly expiresAt: Date;
}

/** Throws ALREADY_EXISTS, INVALID_ARGUMENT. Without a password the account works by tokens only. */
export async function insertOperator(
  client: pg.ClientBase,
  name: string,
  password: string | undefined,
): Promise<string> {
  if (!OPERATOR_NAME.test(name)) {
    throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(name)} is not a name for an operator`);
  }
  const passwordHash = password === undefined ? null : await hashPassword(password);
  const { rows } = await client.query<{ id: string }>(
    'insert into operator (id, name, password_hash) values ($1, $2, $3) on conflict (name) do nothing returning id',
    [randomUUID(), name, passwordHash],
  );
  if (rows[0] === undefined) throw new HoldfastError('ALREADY_EXISTS', `there is an operator ${name} already`);
  return rows[0].id;
}

async function hashPassword(password: string): Promise<string> {
  if (password.length < PASSWORD_MIN_CHARACTERS || Buffer.byteLength(password) > PASSWORD_MAX_BYTES) {
    throw new HoldfastError('INVALID_ARGUMENT', `a password has at least ${PASSWORD_MIN_CHARACTERS} characters`);
  }
  return await hash(password);
}

/** The operator with this password; undefined when either is wrong. Takes the same time whichever it is. */
export async function checkPassword(client: Queryable, name: string, password: string): Promise<string | undefined> {
  const { rows } = await client.query<{ id: string; password_hash: string | null }>(
    'select id, password_hash from operator where name = $1',
    [name],
  );
  const known = rows[0]?.password_hash ?? undefined;
  dummyHash ??= hash(randomBytes(16).toString('hex'));
  const right = await verify(known ?? (await dummyHash), password.slice(0, PASSWORD_MAX_BYTES));
  return right && known !== undefined ? rows[0]?.id : undefined;
}

let dummyHash: Promise<string> | undefined;

/** @param role a ceiling below the operator's own roles; undefined: none */
export async function insertToken(
  client: Queryable,
  token: { operatorId: string; label: string; role: Role | undefined; ttlSeconds: number },
): Promise<NewToken> {
  const id = randomUUID();
  const text = TOKEN_PREFIX + randomBytes(32).toString('base64url');
  const { rows } = await client.query<{ expires_at: Date }>(
    `insert into api_token (id, secret_hash, operator_id, label, role, expires_at)
     values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) returning expires_at`,
    [id, hashToken(text), token.operatorId, token.label.slice(0, 200), token.role ?? null, token.ttlSeconds],
  );
  return { id, token: text, expiresAt: rows[0]?.expires_at ?? new Date(0) };
}

export interface TokenOwner extends Operator {
  readonly tokenId: string;
}

/** Whose token this is, with the token's ceiling applied to the roles; undefined when it is not good (any more). */
export async function findTokenOwner(client: Queryable, token: string): Promise<TokenOwner | undefined> {
  if (!token.startsWith(TOKEN_PREFIX) || token.length > 100) return undefined;
  const { rows } = await client.query<{ tokenId: string; id: string; name: string; ceiling: Role | null }>(
    `select t.id as "tokenId", o.id, o.name, t.role as ceiling from api_token t join operator o on o.id = t.operator_id
     where t.secret_hash = $1 and t.revoked_at is null and t.expires_at > now()`,
    [hashToken(token)],
  );
  const owner = rows[0];
  if (owner === undefined) return undefined;
  const roles = await rolesOf(client, owner.id);
  const { ceiling } = owner;
  if (ceiling !== null) for (const [domainId, role] of roles) roles.set(domainId, lowerRole(role, ceiling));
  return { tokenId: owner.tokenId, id: owner.id, name: owner.name, roles };
}

async function rolesOf(client: Queryable, operatorId: string): Promise<Map<string, Role>> {
  const { rows } = await client.query<{ domain_id: string; role: Role }>(
    'select domain_id, role from operator_role where operator_id = $1',
    [operatorId],
  );
  return new Map(rows.map((row) => [row.domain_id, row.role]));
}

/** Throws NOT_FOUND. */
export async function findOperator(client: Queryable, name: string): Promise<Operator> {
  const { rows } = await client.query<{ id: string; name: string }>('select id, name from operator where name = $1', [
    name,
  ]);
  if (rows[0] === undefined) throw new HoldfastError('NOT_FOUND', `there is no operator ${name}`);
  return { ...rows[0], roles: await rolesOf(client, rows[0].id) };
}

/** Operators who have a role in any of these domains. */
export async function listOperators(client: Queryable, domainIds: readonly string[]): Promise<Operator[]> {
  const { rows } = await client.query<{ id: string; name: string; domain_id: string; role: Role }>(
    `select o.id, o.name, r.domain_id, r.role from operator o join operator_role r on r.operator_id = o.id
     where r.domain_id = any($1) order by o.name`,
    [domainIds],
  );
  const operators = new Map<string, { id: string; name: string; roles: Map<string, Role> }>();
  for (const row of rows) {
    const known = operators.get(row.id) ?? { id: row.id, name: row.name, roles: new Map<string, Role>() };
    known.roles.set(row.domain_id, row.role);
    operators.set(row.id, known);
  }
  return [...operators.values()];
}

/** @param role undefined: none */
export async function setRole(
  client: pg.ClientBase,
  operatorId: string,
  domainId: string,
  role: Role | undefined,
): Promise<void> {
  if (role === undefined) {
    await client.query('delete from operator_role where operator_id = $1 and domain_id = $2', [operatorId, domainId]);
    return;
  }
  await client.query(
    `insert into operator_role (operator_id, domain_id, role) values ($1, $2, $3)
     on conflict (operator_id, domain_id) do update set role = excluded.role`,
    [operatorId, domainId, role],
  );
}

/** False when the operator has no such token. */
export async function revokeToken(client: Queryable, operatorId: string, tokenId: string): Promise<boolean> {
  const { rowCount } = await client.query(
    'update api_token set revoked_at = now() where id = $1 and operator_id = $2 and revoked_at is null',
    [tokenId, operatorId],
  );
  return rowCount === 1;
}

/** Tokens are 256 random bits: a fast hash is enough, and a lookup by it says nothing by its timing. */
function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
