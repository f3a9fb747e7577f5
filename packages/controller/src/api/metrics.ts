// What the controller counts, for Prometheus.

import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';

import type { LogStatus } from '@holdfast/shared/format/log-point';

import type { Catalog } from '../catalog/catalog.ts';
import { everySource } from '../fleet/sources.ts';
import type { VaultState } from '../vault/contract.ts';
import { fullName } from './operator-wire.ts';
import { knowSources, logStatusOf } from './source-facts.ts';

export interface MetricsDeps {
  readonly catalog: Catalog;
  readonly connections: () => { anonymous: number; hosts: number };
  readonly connectedHosts: () => number;
  readonly vaultState: () => VaultState;
}

/** A registry whose values are looked up when they are asked for. */
export function makeMetrics(deps: MetricsDeps): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const gauge = (
    name: string,
    help: string,
    labelNames: string[],
    read: (gauge: Gauge) => Promise<void> | void,
  ): Gauge =>
    new Gauge({
      name: `holdfast_${name}`,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        this.reset();
        await read(this);
      },
    });
  gauge('connections', 'Open TLS connections', ['kind'], (metric) => {
    const { anonymous, hosts } = deps.connections();
    metric.set({ kind: 'operator' }, anonymous);
    metric.set({ kind: 'host' }, hosts);
  });
  gauge('control_streams', 'Hosts connected to this replica', [], (metric) => metric.set(deps.connectedHosts()));
  gauge('hosts', 'Hosts by state in the catalog', ['state'], (metric) =>
    counts(deps, metric, 'select state as label, count(*) as n from host group by 1', 'state'),
  );
  gauge('jobs', 'Jobs of the last day by state', ['state'], (metric) =>
    counts(
      deps,
      metric,
      `select state as label, count(*) as n from job where created_at > now() - interval '1 day' group by 1`,
      'state',
    ),
  );
  gauge('snapshot_age_seconds', 'Seconds since the newest snapshot of each source', ['source'], (metric) =>
    counts(
      deps,
      metric,
      `select h.name || '/' || s.name as label, floor(extract(epoch from now() - max(p.committed_at)))::bigint as n
       from source s join host h on h.id = s.host_id join snapshot p on p.source_id = s.id where s.removed_at is null group by 1`,
      'source',
    ),
  );
  gauge('rpo_seconds', 'What of each source would be lost if its host died now', ['source'], async (metric) => {
    for (const { source, state } of await knowSources(deps.catalog.pool, await everySource(deps.catalog.pool)))
      if (state.rpoMs !== undefined) metric.set({ source: fullName(source) }, state.rpoMs / 1000);
  });
  gauge(
    'log_lag_bytes',
    'Of each log: written by its server and not in the vault, as last said',
    ['source'],
    (metric) => logStatuses(deps, (source, { lagBytes }) => metric.set({ source }, lagBytes)),
  );
  gauge('log_lag_seconds', 'Of each log: age of what is not in the vault, as last said', ['source'], (metric) =>
    logStatuses(deps, (source, { lagMs }) => metric.set({ source }, lagMs / 1000)),
  );
  gauge('log_slot_bytes', 'Kept for each log on its server', ['source'], (metric) =>
    logStatuses(deps, (source, { slot }) => slot !== undefined && metric.set({ source }, slot.retainedBytes)),
  );
  gauge('vault_serving', '1 while the vault takes uploads, 0 while its disk is full or does not answer', [], (metric) =>
    metric.set(deps.vaultState().trouble === '' ? 1 : 0),
  );
  gauge('vault_free_bytes', 'Free on the disk of the vault, when last seen', [], (metric) => {
    const { space } = deps.vaultState();
    if (space !== undefined) metric.set(space.freeBytes);
  });
  gauge('vault_reserve_bytes', 'Uploads are refused while less than this is free', [], (metric) => {
    const { space } = deps.vaultState();
    if (space !== undefined) metric.set(space.reserveBytes);
  });
  return registry;
}

async function logStatuses(deps: MetricsDeps, tell: (source: string, status: LogStatus) => void): Promise<void> {
  for (const source of await everySource(deps.catalog.pool)) {
    const status = logStatusOf(source);
    if (status !== undefined) tell(fullName(source), status);
  }
}

async function counts(deps: MetricsDeps, metric: Gauge, sql: string, label: string): Promise<void> {
  const { rows } = await deps.catalog.pool.query<{ label: string; n: number }>(sql);
  for (const row of rows) metric.set({ [label]: row.label }, row.n);
}
