// The operator's calls about hosts, sources and the state of things.

import { randomUUID } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  DeepPartial,
  OperatorServiceImplementation,
  SourceInfo,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import { latestSnapshots } from '../browse/snapshots.ts';
import type { Domain } from '../fleet/domains.ts';
import { addHost } from '../fleet/enrolment.ts';
import { findHost, listCertificates, listHosts, revokeHost, type Host } from '../fleet/hosts.ts';
import { lastJobs, listJobs } from '../fleet/jobs.ts';
import {
  findSource,
  insertSource,
  listSources,
  lockSource,
  removedSource,
  removeSource,
  respecifySource,
  type Source,
} from '../fleet/sources.ts';
import { attentionFor, vaultAttention } from './attention.ts';
import { audit } from './operator-accounts.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { fullName, hostToWire, jobToWire, msOf, sourceToWire } from './operator-wire.ts';
import type { OperatorContext } from './permissions.ts';
import { changeSourceSpec } from './source-change.ts';
import { knowSources, type KnownSource } from './source-facts.ts';
import { checkSourceSpec } from './source-spec.ts';

type Calls = Pick<
  OperatorServiceImplementation<OperatorContext>,
  | 'getStatus'
  | 'addHost'
  | 'listHosts'
  | 'getHost'
  | 'revokeHost'
  | 'addSource'
  | 'listSources'
  | 'getSource'
  | 'setSource'
  | 'removeSource'
>;

export function fleetCalls(deps: OperatorDeps): Calls {
  const { pool } = deps.catalog;
  return {
    getStatus: (request, context) => status(deps, context.scope().domain(request.domain)),
    async addHost(request, context) {
      const scope = context.scope();
      const { id: domainId, managed } = scope.domain(request.domain);
      const { name, ttlSeconds, replace } = request;
      const made = await addHost(deps, { domainId, name, ttlSeconds, replace }, `operator ${scope.caller.name}`);
      return {
        token: made.token,
        command: `holdfast-agent enrol ${made.token}${managed ? '' : ' --domain-secret-file FILE'}`,
        expiresAtMs: msOf(made.expiresAt),
      };
    },
    async listHosts(request, context) {
      return { hosts: (await listHosts(pool, context.scope().domain(request.domain).id)).map(hostToWire) };
    },
    async getHost(request, context) {
      const domain = context.scope().domain(request.domain);
      const host = await findHost(pool, domain.id, request.name);
      const certificates = await listCertificates(pool, host.id);
      return {
        host: hostToWire(host),
        certificates: certificates.map((certificate) => ({
          fingerprint: certificate.fingerprint,
          notBeforeMs: msOf(certificate.notBefore),
          notAfterMs: msOf(certificate.notAfter),
          revoked: certificate.revoked,
        })),
        sources: await describeSources(deps, await listSources(pool, domain.id, host.name)),
      };
    },
    async revokeHost(request, context) {
      const scope = context.scope();
      const domain = scope.domain(request.domain);
      const host = await findHost(pool, domain.id, request.name);
      const certificates = await deps.catalog.transaction((client) =>
        revokeHost(client, deps.events, host, `operator ${scope.caller.name}`),
      );
      return { certificates };
    },
    async addSource(request, context) {
      const domain = context.scope().domain(request.domain);
      const host = await findHost(pool, domain.id, request.host);
      const checked = checkSourceSpec(request.spec);
      const id = (await removedSource(pool, host.id, checked.name)) ?? randomUUID();
      const spec = SourceSpec.fromPartial({ ...checked, sourceId: id });
      await deps.catalog.transaction(async (client) => {
        await insertSource(client, {
          id,
          hostId: host.id,
          name: spec.name,
          spec: Buffer.from(SourceSpec.encode(spec).finish()),
        });
        await audit(client, context, domain.id, 'source.add', `${host.name}/${spec.name}`);
        await deps.events.tell(client, { kind: 'sources', hostId: host.id });
      });
      const [added] = await describeSources(deps, [await findSource(pool, domain.id, `${host.name}/${spec.name}`)]);
      return added === undefined ? {} : { source: added };
    },
    async listSources(request, context) {
      const domain = context.scope().domain(request.domain);
      if (request.host !== '') await findHost(pool, domain.id, request.host);
      return { sources: await describeSources(deps, await listSources(pool, domain.id, request.host)) };
    },
    async getSource(request, context) {
      const domain = context.scope().domain(request.domain);
      const [source] = await describeSources(deps, [await findSource(pool, domain.id, request.source)]);
      return source === undefined ? {} : { source };
    },
    async setSource(request, context) {
      const domain = context.scope().domain(request.domain);
      const source = await findSource(pool, domain.id, request.source);
      await deps.catalog.transaction(async (client) => {
        // Under the row's lock, so that two operators who change different things don't undo each other's.
        const current = SourceSpec.decode(await lockSource(client, source.id));
        const { spec, changes } = changeSourceSpec(current, request.spec, request.fields);
        checkSourceSpec(spec);
        if (changes.length === 0) return;
        await respecifySource(client, source.id, Buffer.from(SourceSpec.encode(spec).finish()));
        await audit(client, context, domain.id, 'source.set', `${fullName(source)}: ${changes.join('; ')}`);
        await deps.events.tell(client, { kind: 'sources', hostId: source.hostId });
      });
      const [changed] = await describeSources(deps, [await findSource(pool, domain.id, request.source)]);
      return changed === undefined ? {} : { source: changed };
    },
    async removeSource(request, context) {
      const domain = context.scope().domain(request.domain);
      const source = await findSource(pool, domain.id, request.source);
      await deps.catalog.transaction(async (client) => {
        await removeSource(client, source.id);
        await audit(client, context, domain.id, 'source.remove', fullName(source));
        await deps.events.tell(client, { kind: 'sources', hostId: source.hostId });
      });
      const kept = (await latestSnapshots(pool, [source.id])).get(source.id)?.count ?? 0;
      return { snapshotsKept: BigInt(kept) };
    },
  };
}

async function describeSources(deps: OperatorDeps, sources: readonly Source[]): Promise<DeepPartial<SourceInfo>[]> {
  return describeKnown(deps, await knowSources(deps.catalog.pool, sources));
}

async function describeKnown(deps: OperatorDeps, known: readonly KnownSource[]): Promise<DeepPartial<SourceInfo>[]> {
  const jobs = await lastJobs(
    deps.catalog.pool,
    known.map(({ source }) => source.id),
  );
  return known.map((one) => sourceToWire(one, jobs.get(one.source.id)));
}

async function status(deps: OperatorDeps, domain: Domain): ReturnType<Calls['getStatus']> {
  const { pool } = deps.catalog;
  const [undelivered, hosts, sources, running, totals] = await Promise.all([
    deps.undelivered(domain.id),
    listHosts(pool, domain.id),
    listSources(pool, domain.id),
    listJobs(pool, { domainId: domain.id, running: true, limit: 100 }),
    vaultTotals(deps, domain.id),
  ]);
  const known = await knowSources(pool, sources);
  const state = deps.vault.state();
  const quotaBytes = deps.quotaBytes(domain.name);
  return {
    controllerVersion: deps.version,
    hosts: hosts.map(hostToWire),
    sources: await describeKnown(deps, known),
    vault: {
      ...totals,
      freeBytes: BigInt(state.space?.freeBytes ?? 0),
      reserveBytes: BigInt(state.space?.reserveBytes ?? 0),
      quotaBytes: BigInt(quotaBytes),
      trouble: state.trouble,
    },
    running: running.map(jobToWire),
    attention: attentionFor({
      hosts,
      sources: known,
      others: [...vaultAttention(state, Number(totals.storedBytes), quotaBytes), ...undelivered],
    }),
  };
}

async function vaultTotals(
  deps: OperatorDeps,
  domainId: string,
): Promise<{ objects: bigint; storedBytes: bigint; packs: bigint; snapshots: bigint }> {
  const { rows } = await deps.catalog.pool.query<{ objects: number; bytes: number; packs: number; snapshots: number }>(
    `select (select count(*) from object where domain_id = $1::uuid) as objects,
       (select coalesce(sum(acknowledged_bytes), 0)::bigint from pack where domain_id = $1::uuid) as bytes,
       (select count(*) from pack where domain_id = $1::uuid) as packs,
       (select count(*) from snapshot where domain_id = $2) as snapshots`,
    [domainId, domainId],
  );
  const row = rows[0];
  return {
    objects: BigInt(row?.objects ?? 0),
    storedBytes: BigInt(row?.bytes ?? 0),
    packs: BigInt(row?.packs ?? 0),
    snapshots: BigInt(row?.snapshots ?? 0),
  };
}

/** Throws FAILED_PRECONDITION unless the host can be given work. */
export function requireReachable(host: Host): void {
  if (host.state === 'online') return;
  const why = { waiting: 'is not enrolled yet', revoked: 'was revoked', offline: 'is not connected', online: '' }[
    host.state
  ];
  throw new HoldfastError('FAILED_PRECONDITION', `${host.name} ${why}`, {
    hint: host.state === 'offline' ? 'Start its agent, or look at the agent’s log.' : `holdfast host show ${host.name}`,
  });
}
