// What the catalog knows of how well sources are protected: rows and reports, as the decider takes them (fleet/source-state.ts).
//
// Tested in operator-databases.db.test.ts.

import type { LogStatus } from '@holdfast/shared/format/log-point';
import { LogStatus as WireStatus } from '@holdfast/shared/rpc/gen/holdfast/v1/log';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { statusFromWire } from '@holdfast/shared/rpc/log-wire';
import type pg from 'pg';

import { latestSnapshots, type Snapshot } from '../browse/snapshots.ts';
import { loadStoredLog } from '../fleet/log-summary.ts';
import { stateOf, type SourceFacts, type SourceState } from '../fleet/source-state.ts';
import type { Source } from '../fleet/sources.ts';

export interface KnownSource {
  readonly source: Source;
  readonly newest: { readonly latest: Snapshot; readonly count: number } | undefined;
  readonly facts: SourceFacts;
  readonly state: SourceState;
}

/** In the order of `sources`. */
export async function knowSources(pool: pg.Pool, sources: readonly Source[]): Promise<KnownSource[]> {
  const ids = sources.map((source) => source.id);
  const [newest, ages] = await Promise.all([latestSnapshots(pool, ids), loadAges(pool, ids)]);
  const known: KnownSource[] = [];
  // One after the other: a fleet has thousands of sources, and a pool twenty connections.
  for (const source of sources) {
    const latest = newest.get(source.id);
    const facts = await factsOf(pool, source, latest?.latest, ages.get(source.id));
    known.push({ source, newest: latest, facts, state: stateOf(facts) });
  }
  return known;
}

interface Ages {
  readonly reportMs: number | null;
  readonly hostMs: number | null;
  readonly newestMs: number | null;
  readonly quietMs: number | null;
}

/** How long a watcher gathers changes before a backup of them begins (the agent's MAX_WAIT_MS), and a little for its turn. */
const GATHERS_MS = 8_000;

/** All by the catalog's clock. */
async function loadAges(pool: pg.Pool, ids: readonly string[]): Promise<Map<string, Ages>> {
  const { rows } = await pool.query<Ages & { id: string }>(
    `select s.id, floor(extract(epoch from now() - s.log_reported_at) * 1000)::bigint as "reportMs",
       floor(extract(epoch from now() - h.last_seen_at) * 1000)::bigint as "hostMs",
       -- Watched, and nothing came: so nothing had changed, but for what was being gathered, or backed up, or waited for other work.
       case when s.watching = 'continuous' and s.watching_note = '' then floor(extract(epoch from now() - least(h.last_seen_at,
         (select min(v.created_at) from vault_session v where v.host_id = s.host_id and v.state = 'live' and not exists
           (select from snapshot p where p.source_id = v.source_id and p.committed_at >= v.created_at)),
         (select min(coalesce(j.sent_at, j.created_at)) from job j
           where j.host_id = s.host_id and j.state = 'running' and j.kind <> 'step'))) * 1000)::bigint + $2 end as "quietMs",
       (select floor(extract(epoch from now() - max(p.committed_at)) * 1000)::bigint from snapshot p where p.source_id = s.id)
         as "newestMs"
     from source s join host h on h.id = s.host_id where s.id = any($1)`,
    [ids, GATHERS_MS],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

async function factsOf(
  pool: pg.Pool,
  source: Source,
  latest: Snapshot | undefined,
  ages: Ages | undefined,
): Promise<SourceFacts> {
  const status = logStatusOf(source);
  const isEngine = SourceSpec.decode(source.spec).type?.$case === 'engine';
  return {
    log: isEngine ? await loadStoredLog(pool, source.id, status) : undefined,
    status,
    reportAgeMs: atLeastZero(ages?.reportMs),
    hostAgeMs: atLeastZero(ages?.hostMs),
    quietAgeMs: isEngine ? undefined : atLeastZero(ages?.quietMs),
    newest:
      latest === undefined
        ? undefined
        : {
            ageMs: atLeastZero(ages?.newestMs) ?? 0,
            durationMs: latest.durationMs,
            suspect: latest.point?.suspect ?? false,
          },
  };
}

/** What the agent last said of the source's log. */
export function logStatusOf({ logStatus }: Source): LogStatus | undefined {
  return logStatus === null ? undefined : statusFromWire(WireStatus.decode(logStatus));
}

function atLeastZero(ms: number | null | undefined): number | undefined {
  return ms === null || ms === undefined ? undefined : Math.max(0, ms);
}
