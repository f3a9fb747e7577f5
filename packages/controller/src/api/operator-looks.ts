// The operator's calls that let an agent look and change nothing: could this be backed up, and what runs there.
//
// Tested in operator-databases.db.test.ts.

import { randomUUID } from 'node:crypto';

import { Job as WireJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import type { DeepPartial, OperatorServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import { findHost, type Host } from '../fleet/hosts.ts';
import { queueJob, type JobKind } from '../fleet/jobs.ts';
import { audit } from './operator-accounts.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { requireReachable } from './operator-fleet.ts';
import type { OperatorContext } from './permissions.ts';
import { checkSourceSpec } from './source-spec.ts';

type Calls = Pick<OperatorServiceImplementation<OperatorContext>, 'checkSource' | 'discoverSources'>;

export function lookCalls(deps: OperatorDeps): Calls {
  const { pool } = deps.catalog;
  return {
    async checkSource(request, context) {
      const domain = context.scope().domain(request.domain);
      const host = await findHost(pool, domain.id, request.host);
      const checked = checkSourceSpec(request.spec);
      requireReachable(host);
      const known = await sourceOfHost(deps, host, checked.sourceId);
      const source = SourceSpec.fromPartial({ ...checked, sourceId: known ?? randomUUID() });
      const subject = `${host.name}/${checked.name}`;
      return look(
        deps,
        context,
        host,
        { kind: 'check', sourceId: known, subject },
        { $case: 'check', value: { source } },
      );
    },
    async discoverSources(request, context) {
      const domain = context.scope().domain(request.domain);
      const host = await findHost(pool, domain.id, request.host);
      requireReachable(host);
      const about = { kind: 'discover' as const, sourceId: undefined, subject: host.name };
      return look(deps, context, host, about, { $case: 'discover', value: {} });
    },
  };
}

/** The source that a specification names, if the host has it: its log then shows the check. */
async function sourceOfHost(deps: OperatorDeps, host: Host, sourceId: string): Promise<string | undefined> {
  const { rows } = await deps.catalog.pool.query<{ id: string }>(
    'select id from source where id = $1 and host_id = $2 and removed_at is null',
    [sourceId, host.id],
  );
  return rows[0]?.id;
}

async function look(
  deps: OperatorDeps,
  context: OperatorContext,
  host: Host,
  about: { readonly kind: JobKind; readonly sourceId: string | undefined; readonly subject: string },
  kind: DeepPartial<NonNullable<WireJob['kind']>>,
): Promise<{ jobId: string }> {
  const requestedBy = `operator ${context.scope().caller.name}`;
  const { domainId } = host;
  const jobId = await deps.catalog.transaction(async (client) => {
    const id = await queueJob(client, {
      domainId,
      hostId: host.id,
      kind: about.kind,
      requestedBy,
      ...(about.sourceId === undefined ? {} : { sourceId: about.sourceId }),
      request: (jobIdOfRow) => WireJob.encode(WireJob.fromPartial({ jobId: jobIdOfRow, kind })).finish(),
    });
    await audit(client, context, domainId, `job.${about.kind}`, `${about.subject} ${id}`);
    await deps.events.tell(client, { kind: 'jobs', hostId: host.id });
    return id;
  });
  return { jobId };
}
