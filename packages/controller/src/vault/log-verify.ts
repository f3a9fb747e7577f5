// Logs under a scrub: which packs hold them, and which pieces were found lost.
//
// Hazard: a log that is only written and never read. A lost piece cuts its log: points behind it need a newer base, and a restore must
// know that before it starts (fleet/log-summary.ts), not when a server asks for the piece.
//
// Tested in log-verify.db.test.ts.

import type { LogRange } from '@holdfast/shared/format/log-point';

import { segmentOf, type SegmentRow } from './log-rows.ts';
import type { Queries } from './object-index.ts';

/** Packs that hold live pieces of these sources' logs. */
export async function packsOfLogs(pool: Queries, sourceIds: readonly string[]): Promise<number[]> {
  const { rows } = await pool.query<{ pack_sequence: number }>(
    `select distinct o.pack_sequence from log_segment s join object o on o.domain_id = s.domain_id and o.id = s.object_id
     where s.source_id = any($1) and s.superseded_at is null`,
    [sourceIds],
  );
  return rows.map((row) => row.pack_sequence);
}

/** Live pieces (and files) that are lost, in the order of their logs. */
export async function damagedLogPieces(
  pool: Queries,
  scope: {
    readonly domainId?: string;
    readonly snapshotIds?: readonly Uint8Array[];
    readonly logSources?: readonly string[];
  },
): Promise<{ sourceId: string; range: LogRange }[]> {
  // Of named snapshots only the named logs; otherwise every log of the domain, or of all.
  const sources = scope.snapshotIds === undefined ? null : (scope.logSources ?? []);
  const { rows } = await pool.query<SegmentRow & { source_id: string }>(
    `select s.* from log_segment s left join object o on o.domain_id = s.domain_id and o.id = s.object_id
     where ($1::uuid is null or s.domain_id = $1) and ($2::text[] is null or s.source_id = any($2))
       and s.superseded_at is null and (o.id is null or o.absent_since is not null)
     order by s.source_id, s.timeline, s.start_order limit 1000`,
    [scope.domainId ?? null, sources],
  );
  return rows.map((row) => ({ sourceId: row.source_id, range: segmentOf(row).range }));
}
