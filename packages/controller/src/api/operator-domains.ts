// The operator's calls about domains.
//
// Hazard: a domain is the wall between two parties, and whoever makes one decides who stands behind it. So only an admin of
// every domain makes another, and those who are that stay it: they become admins of the new one, too.
//
// Tested in permissions.db.test.ts and test/e2e/sealed-domain.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  DeepPartial,
  DomainInfo,
  OperatorServiceImplementation,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type pg from 'pg';

import { addDomain, listDomains, type Domain } from '../fleet/domains.ts';
import { setRole } from '../fleet/operators.ts';
import { audit } from './operator-accounts.ts';
import type { OperatorDeps } from './operator-deps.ts';
import type { OperatorContext } from './permissions.ts';

type Calls = Pick<OperatorServiceImplementation<OperatorContext>, 'addDomain' | 'listDomains'>;

export function domainCalls(deps: OperatorDeps): Calls {
  const { pool } = deps.catalog;
  return {
    async addDomain(request, context) {
      const { domains, caller } = context.scope();
      const added = await deps.catalog.transaction(async (client) => {
        // Nobody else makes one meanwhile, so that "every domain" is the same at the end.
        await client.query('lock table domain in share row exclusive mode');
        const before = await listDomains(client);
        if (before.length !== domains.length) {
          throw new HoldfastError('NOT_ALLOWED', 'this needs the role admin in every domain');
        }
        const domain = await addDomain(client, deps.masterKey, { name: request.name, sealed: request.sealed });
        for (const operatorId of new Set([caller.operatorId, ...(await adminsOfAll(client, before))])) {
          await setRole(client, operatorId, domain.id, 'admin');
        }
        await audit(client, context, domain.id, 'domain.add', `${domain.name}${domain.managed ? '' : ' (sealed)'}`);
        return domain;
      });
      return { domain: { ...domainToWire(deps, added), hosts: 0, snapshots: 0n, storedBytes: 0n } };
    },
    async listDomains(_request, context) {
      const { domains } = context.scope();
      const figures = await domainFigures(pool, domains);
      return { domains: domains.map((domain) => ({ ...domainToWire(deps, domain), ...figures.get(domain.id) })) };
    },
  };
}

async function adminsOfAll(client: pg.ClientBase, domains: readonly Domain[]): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select operator_id as id from operator_role where role = 'admin' group by operator_id having count(*) = $1`,
    [domains.length],
  );
  return rows.map((row) => row.id);
}

function domainToWire(deps: OperatorDeps, domain: Domain): DeepPartial<DomainInfo> {
  const quotaBytes = BigInt(deps.quotaBytes(domain.name));
  return { id: domain.id, name: domain.name, sealed: !domain.managed, quotaBytes };
}

async function domainFigures(
  pool: pg.Pool,
  domains: readonly Domain[],
): Promise<Map<string, Pick<DomainInfo, 'hosts' | 'snapshots' | 'storedBytes'>>> {
  const { rows } = await pool.query<{ id: string; hosts: number; snapshots: number; bytes: number }>(
    `select d.id, (select count(*) from host h where h.domain_id = d.id) as hosts,
       (select count(*) from snapshot s where s.domain_id = d.id) as snapshots,
       (select coalesce(sum(p.acknowledged_bytes), 0)::bigint from pack p where p.domain_id = d.id::uuid) as bytes
     from domain d where d.id = any($1)`,
    [domains.map((domain) => domain.id)],
  );
  return new Map(
    rows.map((row) => [row.id, { hosts: row.hosts, snapshots: BigInt(row.snapshots), storedBytes: BigInt(row.bytes) }]),
  );
}
