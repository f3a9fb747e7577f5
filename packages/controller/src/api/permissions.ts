// Which role an operator needs for which call: one table, and the middleware that holds every call to it.
//
// Hazard: a call that somebody adds and forgets to protect. So a call that is not in the table does not compile, and a
// call by nobody in particular gets no further than this file.
//
// Invariants (permissions.db.test.ts walks every call × role × foreign domain):
//   PM1 a caller without the role in any domain is refused before the handler runs;
//   PM2 within a handler, a domain in which the caller has no role looks exactly like one that does not exist;
//   PM3 a role in one domain says nothing about another.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { OperatorDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { RecoveryDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import type { ServerMiddleware } from 'nice-grpc-common';
import type pg from 'pg';

import { listDomains, type Domain } from '../fleet/domains.ts';
import { roleReaches, type Role } from '../fleet/roles.ts';
import { requireOperator, type CallerContext, type OperatorCaller } from './caller.ts';

export type OperatorCall = keyof OperatorDefinition['methods'];

/** The least role that may make the call in a domain; 'anyone' needs no token. */
export const LEAST_ROLE: Readonly<Record<OperatorCall, Role | 'anyone'>> = {
  login: 'anyone',
  whoAmI: 'viewer',
  getStatus: 'viewer',
  addHost: 'admin',
  listHosts: 'viewer',
  getHost: 'viewer',
  revokeHost: 'admin',
  addSource: 'operator',
  listSources: 'viewer',
  getSource: 'viewer',
  setSource: 'operator',
  removeSource: 'approver',
  // An agent acts on it: it connects where the specification says.
  checkSource: 'operator',
  discoverSources: 'operator',
  startBackup: 'operator',
  startRestore: 'operator',
  startVerify: 'operator',
  watchJob: 'viewer',
  cancelJob: 'operator',
  listJobs: 'viewer',
  listSnapshots: 'viewer',
  getSnapshot: 'viewer',
  // Names of files are customers' data already.
  listEntries: 'operator',
  diffSnapshots: 'operator',
  findEntries: 'operator',
  readFile: 'operator',
  addOperator: 'admin',
  listOperators: 'admin',
  setRole: 'admin',
  addApiToken: 'viewer',
  revokeApiToken: 'viewer',
  listAudit: 'admin',
  addDomain: 'admin',
  listDomains: 'viewer',
};

export type RecoveryCall = keyof RecoveryDefinition['methods'];

/** The same for the Recovery service. Its names are none of the Operator service's. */
export const LEAST_RECOVERY_ROLE: Readonly<Record<RecoveryCall, Role>> = {
  // Live, it asks hosts to look.
  checkPlan: 'operator',
  applyPlan: 'operator',
  listPlans: 'viewer',
  getPlan: 'viewer',
  removePlan: 'approver',
  overridePlan: 'approver',
  setPlanSecret: 'operator',
  // A drill; what changes who serves needs an approver (recovery-runs.ts).
  startRun: 'operator',
  listRuns: 'viewer',
  getRun: 'viewer',
  watchRun: 'viewer',
  actOnRun: 'approver',
  getReport: 'viewer',
};

/** What a handler may know of the caller's rights for this call. */
export interface OperatorScope {
  readonly caller: OperatorCaller;
  /** Domains in which the caller has the least role for this call. */
  readonly domains: readonly Domain[];
  /** The domain of this name; with an empty name the only one. Throws NOT_FOUND (PM2), NOT_ALLOWED, USAGE. */
  domain(name: string): Domain;
  /** Whether a row of this domain may be seen by this call. */
  reaches(domainId: string): boolean;
}

export interface OperatorContext extends CallerContext {
  /** Throws UNAUTHENTICATED in a call that anyone may make. */
  readonly scope: () => OperatorScope;
}

/** Middleware for the services that operators call. */
export function authorise(pool: pg.Pool): ServerMiddleware<OperatorContext, CallerContext> {
  return async function* check(call, context) {
    const least = leastRoleFor(call.method.path);
    if (least === 'anyone') {
      return yield* call.next(call.request, { ...context, scope: () => nobodysScope(context) });
    }
    const caller = requireOperator(context);
    if (![...caller.roles.values()].some((role) => roleReaches(role, least))) throw needsRole(least);

    const visible = (await listDomains(pool)).filter((domain) => caller.roles.has(domain.id));
    const scope = scopeOf(caller, visible, least);
    return yield* call.next(call.request, { ...context, scope: () => scope });
  };
}

function leastRoleFor(path: string): Role | 'anyone' {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const call = name.charAt(0).toLowerCase() + name.slice(1);
  if (isOperatorCall(call)) return LEAST_ROLE[call];
  if (isRecoveryCall(call)) return LEAST_RECOVERY_ROLE[call];
  throw new HoldfastError('NOT_ALLOWED', `nobody may call ${name}`);
}

function isOperatorCall(name: string): name is OperatorCall {
  return Object.hasOwn(LEAST_ROLE, name);
}

function isRecoveryCall(name: string): name is RecoveryCall {
  return Object.hasOwn(LEAST_RECOVERY_ROLE, name);
}

function nobodysScope(context: CallerContext): OperatorScope {
  return scopeOf(requireOperator(context), [], 'admin');
}

function scopeOf(caller: OperatorCaller, visible: readonly Domain[], least: Role): OperatorScope {
  const reaches = (domainId: string): boolean => {
    const role = caller.roles.get(domainId);
    return role !== undefined && roleReaches(role, least);
  };
  const domains = visible.filter((domain) => reaches(domain.id));
  return {
    caller,
    domains,
    reaches,
    domain(name) {
      if (name !== '') {
        const named = visible.find((domain) => domain.name === name);
        if (named === undefined) throw new HoldfastError('NOT_FOUND', `there is no domain ${name} for you`);
        if (!reaches(named.id)) throw needsRole(least);
        return named;
      }
      if (domains.length > 1) {
        throw new HoldfastError('USAGE', 'you have several domains: say which one', {
          hint: `One of: ${domains.map((domain) => domain.name).join(', ')}`,
        });
      }
      if (domains[0] === undefined) throw needsRole(least);
      return domains[0];
    },
  };
}

function needsRole(least: Role): HoldfastError {
  return new HoldfastError('NOT_ALLOWED', `this needs the role ${least}`, {
    hint: 'Ask an admin of the domain for it.',
  });
}
