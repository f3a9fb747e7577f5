// Rows of what a log lacks, and of what its streams come from.
//
// Tested in log-store.db.test.ts.

import type { LogFork, LogGap, LogRange, LogStream } from '@holdfast/shared/format/log-point';

import { boundsOf, streamOf, type LogOwner, type PositionRow } from './log-rows.ts';
import type { Queries } from './object-index.ts';

/** A gap, or what is known better of one: it is told by where it starts. */
export async function saveGap(
  client: Queries,
  { domainId, hostId, sourceId }: LogOwner,
  { stream, start, end, fromMs, toMs, reason }: LogGap,
  recordId: Buffer | undefined,
  storedAtMs: number,
): Promise<void> {
  await client.query(
    `insert into log_gap (sequence, domain_id, host_id, source_id, record_id, system_identifier, timeline, start_order,
       start_text, end_order, end_text, from_ms, to_ms, reason, stored_at)
     values (nextval('log_sequence'), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
       to_timestamp($14::numeric / 1000))
     on conflict (source_id, system_identifier, timeline, start_order) do update set record_id = excluded.record_id,
       end_order = excluded.end_order, end_text = excluded.end_text, from_ms = excluded.from_ms, to_ms = excluded.to_ms,
       reason = excluded.reason, stored_at = excluded.stored_at`,
    [
      domainId,
      hostId,
      sourceId,
      recordId ?? null,
      stream.systemIdentifier,
      stream.timeline,
      start.order,
      start.text,
      end.order,
      end.text,
      fromMs,
      toMs,
      reason,
      storedAtMs,
    ],
  );
}

/** A gap, and whether it was recorded within the last day, by the catalog's clock. */
export interface StoredGap extends LogGap {
  readonly isNew: boolean;
}

/** Every gap of a source, the oldest first. */
export async function loadGaps(queries: Queries, sourceId: string): Promise<StoredGap[]> {
  const { rows } = await queries.query<
    PositionRow & { from_ms: number; to_ms: number; reason: string; is_new: boolean }
  >(`select *, stored_at > now() - interval '1 day' as is_new from log_gap where source_id = $1 order by sequence`, [
    sourceId,
  ]);
  return rows.map((row) => ({
    isNew: row.is_new,
    stream: streamOf(row),
    ...boundsOf(row),
    fromMs: row.from_ms,
    toMs: row.to_ms,
    reason: row.reason,
  }));
}

/** A stream, and what it goes on from. */
export interface StreamFork extends LogFork {
  readonly stream: LogStream;
}

/** Notes where a stream comes from, and where its ancestors do. What was known is not changed: history is not rewritten. */
export async function saveForks(
  client: Queries,
  sourceId: string,
  stream: LogStream,
  ancestors: readonly LogFork[],
): Promise<void> {
  let child = stream;
  for (const { parent, position } of ancestors) {
    await client.query(
      `insert into log_fork (source_id, system_identifier, timeline, parent_system_identifier, parent_timeline,
         position_order, position_text)
       values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
      [
        sourceId,
        child.systemIdentifier,
        child.timeline,
        parent.systemIdentifier,
        parent.timeline,
        position.order,
        position.text,
      ],
    );
    child = parent;
  }
}

export async function loadForks(queries: Queries, sourceId: string): Promise<StreamFork[]> {
  const { rows } = await queries.query<{
    system_identifier: string;
    timeline: number;
    parent_system_identifier: string;
    parent_timeline: number;
    position_order: string;
    position_text: string;
  }>('select * from log_fork where source_id = $1', [sourceId]);
  return rows.map((row) => ({
    stream: streamOf(row),
    parent: { systemIdentifier: row.parent_system_identifier, timeline: row.parent_timeline },
    position: { order: BigInt(row.position_order), text: row.position_text },
  }));
}

/** Whether a gap, be it empty, starts between the ends of a range. */
export async function hasGapWithin(
  client: Queries,
  sourceId: string,
  { stream, start, end }: LogRange,
): Promise<boolean> {
  const { rows } = await client.query(
    `select 1 from log_gap where source_id = $1 and system_identifier = $2 and timeline = $3
       and start_order > $4 and start_order < $5`,
    [sourceId, stream.systemIdentifier, stream.timeline, start.order, end.order],
  );
  return rows.length > 0;
}
