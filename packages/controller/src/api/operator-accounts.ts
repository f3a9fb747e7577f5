// The operator's calls about operators: login, tokens, roles, audit.
//
// Hazard: giving away more than one has. Roles are given only in domains where the caller is an admin, a token never
// reaches further than its maker, and nobody can take the last admin out of a domain.
//
// Tested in login.db.test.ts and permissions.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DomainRole, OperatorServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type pg from 'pg';

import { appendAudit, listAudit } from '../fleet/audit.ts';
import { listDomains } from '../fleet/domains.ts';
import {
  checkPassword,
  findOperator,
  insertOperator,
  insertToken,
  listOperators,
  revokeToken,
  setRole,
} from '../fleet/operators.ts';
import { isRole, roleReaches, type Role } from '../fleet/roles.ts';
import { hostOf } from './enrolment-service.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { msOf } from './operator-wire.ts';
import type { OperatorContext, OperatorScope } from './permissions.ts';

type Calls = Pick<
  OperatorServiceImplementation<OperatorContext>,
  'login' | 'whoAmI' | 'addOperator' | 'listOperators' | 'setRole' | 'addApiToken' | 'revokeApiToken' | 'listAudit'
>;

const LOGIN_TTL_S = 12 * 3600;
const TOKEN_TTL_S = 90 * 86_400;
const TOKEN_TTL_MAX_S = 366 * 86_400;

export function accountCalls(deps: OperatorDeps): Calls {
  const { pool } = deps.catalog;
  return {
    login: (request, context) => login(deps, request.operator, request.password, hostOf(context.peerAddress)),
    async whoAmI(_request, context) {
      const { caller, domains } = context.scope();
      const roles = domains.map((domain) => ({ domain: domain.name, role: caller.roles.get(domain.id) ?? '' }));
      return { operator: caller.name, roles };
    },
    async addOperator(request, context) {
      const roles = grantedRoles(context.scope(), request.roles);
      await deps.catalog.transaction(async (client) => {
        const id = await insertOperator(client, request.name, request.password === '' ? undefined : request.password);
        for (const { domainId, role } of roles) {
          await setRole(client, id, domainId, role);
          await audit(client, context, domainId, 'operator.add', `${request.name}: ${role}`);
        }
      });
      return {};
    },
    async listOperators(_request, context) {
      const { domains } = context.scope();
      const names = new Map(domains.map((domain) => [domain.id, domain.name]));
      const operators = await listOperators(pool, [...names.keys()]);
      return {
        operators: operators.map((operator) => ({
          name: operator.name,
          roles: [...operator.roles].map(([id, role]) => ({ domain: names.get(id) ?? '', role })),
        })),
      };
    },
    async setRole(request, context) {
      const domain = context.scope().domain(request.domain);
      const role = request.role === '' ? undefined : parseRole(request.role);
      await deps.catalog.transaction(async (client) => {
        const operator = await findOperator(client, request.operator);
        await setRole(client, operator.id, domain.id, role);
        await refuseLastAdmin(client, domain.id);
        await audit(client, context, domain.id, 'operator.role', `${operator.name}: ${role ?? 'none'}`);
      });
      return {};
    },
    addApiToken: (request, context) => addApiToken(deps, request, context),
    async revokeApiToken(request, context) {
      const { caller } = context.scope();
      await deps.catalog.transaction(async (client) => {
        if (!(await revokeToken(client, caller.operatorId, request.id))) {
          throw new HoldfastError('NOT_FOUND', 'you have no such token');
        }
        await audit(client, context, null, 'token.revoke', request.id);
      });
      return {};
    },
    async listAudit(request, context) {
      const scope = context.scope();
      const chosen = request.domain === '' ? scope.domains : [scope.domain(request.domain)];
      // What concerns the controller as a whole is for those who are admins everywhere.
      const whole = request.domain === '' && scope.domains.length === (await listDomains(pool)).length;
      const limit = Math.min(request.limit === 0 ? 100 : request.limit, 10_000);
      const rows = await listAudit(pool, { domainIds: chosen.map((domain) => domain.id), whole, limit });
      return {
        entries: rows.map((row) => ({
          sequence: BigInt(row.sequence),
          atMs: msOf(row.at),
          actor: row.actor,
          action: row.action,
          subject: row.subject,
          hash: row.hash,
        })),
      };
    },
  };
}

async function login(
  deps: OperatorDeps,
  name: string,
  password: string,
  address: string,
): Promise<{ token: string; expiresAtMs: bigint }> {
  const keys = [`operator ${name.slice(0, 64)}`, `address ${address}`];
  deps.limiter.check(keys, deps.nowMs());
  // Counted before the slow part: a hundred attempts at once are a hundred attempts.
  deps.limiter.failed(keys, deps.nowMs());
  const operatorId = await checkPassword(deps.catalog.pool, name, password);
  if (operatorId === undefined) throw new HoldfastError('UNAUTHENTICATED', 'the name or the password is wrong');

  for (const key of keys) deps.limiter.succeeded(key);
  return await deps.catalog.transaction(async (client) => {
    const made = await insertToken(client, { operatorId, label: 'login', role: undefined, ttlSeconds: LOGIN_TTL_S });
    await appendAudit(client, {
      domainId: null,
      actor: `operator ${name}`,
      action: 'operator.login',
      subject: address,
    });
    return { token: made.token, expiresAtMs: msOf(made.expiresAt) };
  });
}

async function addApiToken(
  deps: OperatorDeps,
  request: { label: string; ttlSeconds: number; role: string },
  context: OperatorContext,
): Promise<{ token: string; id: string; expiresAtMs: bigint }> {
  const { caller } = context.scope();
  const role = request.role === '' ? tokenCeiling(caller.roles) : parseRole(request.role);
  if (![...caller.roles.values()].some((own) => roleReaches(own, role))) {
    throw new HoldfastError('NOT_ALLOWED', `a token of yours can't have the role ${role}`);
  }
  const ttlSeconds = Math.min(request.ttlSeconds === 0 ? TOKEN_TTL_S : request.ttlSeconds, TOKEN_TTL_MAX_S);
  return await deps.catalog.transaction(async (client) => {
    const made = await insertToken(client, { operatorId: caller.operatorId, label: request.label, role, ttlSeconds });
    await audit(client, context, null, 'token.add', `${made.id} ${request.label}`);
    return { token: made.token, id: made.id, expiresAtMs: msOf(made.expiresAt) };
  });
}

/** The caller's highest role, which the token that made this call may have lowered: a new token gets no further. */
function tokenCeiling(roles: ReadonlyMap<string, Role>): Role {
  let highest: Role = 'viewer';
  for (const role of roles.values()) if (roleReaches(role, highest)) highest = role;
  return highest;
}

function grantedRoles(scope: OperatorScope, roles: readonly DomainRole[]): { domainId: string; role: Role }[] {
  if (roles.length === 0) throw new HoldfastError('INVALID_ARGUMENT', 'give the operator a role in a domain');
  return roles.map(({ domain, role }) => ({ domainId: scope.domain(domain).id, role: parseRole(role) }));
}

function parseRole(text: string): Role {
  if (isRole(text)) return text;
  throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(text)} is not a role`, {
    hint: 'Roles are viewer, operator, approver, admin.',
  });
}

async function refuseLastAdmin(client: pg.ClientBase, domainId: string): Promise<void> {
  await client.query('select 1 from domain where id = $1 for update', [domainId]);
  const { rowCount } = await client.query(`select 1 from operator_role where domain_id = $1 and role = 'admin'`, [
    domainId,
  ]);
  if (rowCount === 0) throw new HoldfastError('FAILED_PRECONDITION', 'the domain would be left without an admin');
}

/** An audit row by the caller of this context. */
export async function audit(
  client: pg.ClientBase,
  context: OperatorContext,
  domainId: string | null,
  action: string,
  subject: string,
): Promise<void> {
  await appendAudit(client, { domainId, actor: `operator ${context.scope().caller.name}`, action, subject });
}
