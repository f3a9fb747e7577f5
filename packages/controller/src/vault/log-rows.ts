// Rows of stored logs: pieces and runs (gaps and forks are in log-gaps.ts). What may be stored is decided elsewhere (log-append.ts); this is the SQL.
//
// Positions go up to 2^64 − 1: they are numeric in the catalog, and bigint here.
//
// Tested in log-store.db.test.ts.

import type { LogHead } from '@holdfast/shared/format/log-order';
import type { LogPosition, LogRange, LogStream } from '@holdfast/shared/format/log-point';

import type { Queries } from './object-index.ts';

/** Takes the right to store a source's log from whoever has it. */
export async function takeLogWriter(queries: Queries, sourceId: string): Promise<number> {
  const { rows } = await queries.query<{ stream: number }>(
    `insert into log_writer (source_id, stream) values ($1, 1)
     on conflict (source_id) do update set stream = log_writer.stream + 1 returning stream`,
    [sourceId],
  );
  return rows[0]!.stream;
}

/** Holds the source's log until the transaction ends. False when a newer stream has taken over. */
export async function lockLogWriter(client: Queries, sourceId: string, stream: number): Promise<boolean> {
  const { rows } = await client.query<{ stream: number }>(
    'select stream from log_writer where source_id = $1 for update',
    [sourceId],
  );
  return rows[0]?.stream === stream;
}

export interface PositionRow {
  readonly system_identifier: string;
  readonly timeline: number;
  readonly start_order: string;
  readonly start_text: string;
  readonly end_order: string;
  readonly end_text: string;
}

export function streamOf(row: { system_identifier: string; timeline: number }): LogStream {
  return { systemIdentifier: row.system_identifier, timeline: row.timeline };
}

export function boundsOf(row: PositionRow): { start: LogPosition; end: LogPosition } {
  return {
    start: { order: BigInt(row.start_order), text: row.start_text },
    end: { order: BigInt(row.end_order), text: row.end_text },
  };
}

/** An unbroken sequence of pieces. */
export interface LogRun extends LogHead {
  /** Grows with every run that is touched: of two heads the one with the larger is the newer. */
  readonly touched: number;
}

/** Every run of a source, the last touched first. */
export async function loadRuns(queries: Queries, sourceId: string): Promise<LogRun[]> {
  const { rows } = await queries.query<
    PositionRow & { complete_to_ms: number; gap_start_order: string | null; touched: number }
  >('select * from log_run where source_id = $1 order by touched desc', [sourceId]);
  return rows.map((row) => ({
    stream: streamOf(row),
    ...boundsOf(row),
    completeToMs: row.complete_to_ms,
    gapStart: row.gap_start_order === null ? undefined : BigInt(row.gap_start_order),
    touched: row.touched,
  }));
}

/** The newest run of each stream, the newest stream first. */
export function headsOf(runs: readonly LogRun[]): LogRun[] {
  const heads = new Map<string, LogRun>();
  for (const run of runs) {
    const key = streamKey(run.stream);
    const known = heads.get(key);
    // Positions of a stream only grow, so its newest run is the one that starts last.
    if (known === undefined || run.start.order > known.start.order) heads.set(key, run);
  }
  return [...heads.values()].toSorted((a, b) => b.touched - a.touched);
}

export function streamKey({ systemIdentifier, timeline }: LogStream): string {
  return `${timeline} ${systemIdentifier}`;
}

/** Writes the run that a head stands for: the one that starts there, new or grown. */
export async function saveRun(client: Queries, sourceId: string, head: LogHead): Promise<void> {
  const { stream, start, end, completeToMs, gapStart } = head;
  await client.query(
    `insert into log_run (source_id, system_identifier, timeline, start_order, start_text, end_order, end_text, complete_to_ms,
       gap_start_order, touched)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, nextval('log_sequence'))
     on conflict (source_id, system_identifier, timeline, start_order) do update set end_order = excluded.end_order,
       end_text = excluded.end_text, complete_to_ms = excluded.complete_to_ms, gap_start_order = excluded.gap_start_order,
       touched = excluded.touched`,
    [
      sourceId,
      stream.systemIdentifier,
      stream.timeline,
      start.order,
      start.text,
      end.order,
      end.text,
      completeToMs,
      gapStart ?? null,
    ],
  );
}

/** Removes the empty run behind a gap that is told again. */
export async function removeRun(client: Queries, sourceId: string, head: LogHead): Promise<void> {
  await client.query(
    `delete from log_run where source_id = $1 and system_identifier = $2 and timeline = $3 and start_order = $4
       and end_order = start_order`,
    [sourceId, head.stream.systemIdentifier, head.stream.timeline, head.start.order],
  );
}

export interface NewSegment {
  readonly objectId: Buffer;
  readonly recordId: Buffer;
  readonly lengthBytes: number;
  readonly range: LogRange;
  readonly storedAtMs: number;
  /** Undefined: it is live. */
  readonly supersededAtMs?: number;
}

/** Whose a row is. */
export interface LogOwner {
  readonly domainId: string;
  readonly hostId: string;
  readonly sourceId: string;
}

export async function insertSegments(
  client: Queries,
  { domainId, hostId, sourceId }: LogOwner,
  segments: readonly NewSegment[],
): Promise<void> {
  for (const { objectId, recordId, lengthBytes, range, storedAtMs, supersededAtMs } of segments) {
    await client.query({
      name: 'log-segment-insert',
      text: `insert into log_segment (sequence, domain_id, host_id, source_id, object_id, record_id, length_bytes,
          system_identifier, timeline, file, start_order, start_text, end_order, end_text, first_commit_at_ms,
          last_commit_at_ms, complete_to_ms, marks, merged, stored_at, superseded_at)
        values (nextval('log_sequence'), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
          to_timestamp($19::numeric / 1000), to_timestamp($20::numeric / 1000))`,
      values: [
        domainId,
        hostId,
        sourceId,
        objectId,
        recordId,
        lengthBytes,
        range.stream.systemIdentifier,
        range.stream.timeline,
        range.file,
        range.start.order,
        range.start.text,
        range.end.order,
        range.end.text,
        range.firstCommitAtMs ?? null,
        range.lastCommitAtMs ?? null,
        range.completeToMs,
        [...range.marks],
        range.merged,
        storedAtMs,
        supersededAtMs ?? null,
      ],
    });
  }
}

export interface StoredSegment {
  readonly sequence: number;
  readonly objectId: Buffer;
  readonly lengthBytes: number;
  readonly range: LogRange;
}

export interface SegmentRow extends PositionRow {
  readonly sequence: number;
  readonly object_id: Buffer;
  readonly length_bytes: number;
  readonly file: string;
  readonly first_commit_at_ms: number | null;
  readonly last_commit_at_ms: number | null;
  readonly complete_to_ms: number;
  readonly marks: string[];
  readonly merged: boolean;
}

export function segmentOf(row: SegmentRow): StoredSegment {
  return {
    sequence: row.sequence,
    objectId: row.object_id,
    lengthBytes: row.length_bytes,
    range: {
      stream: streamOf(row),
      ...boundsOf(row),
      file: row.file,
      firstCommitAtMs: row.first_commit_at_ms ?? undefined,
      lastCommitAtMs: row.last_commit_at_ms ?? undefined,
      completeToMs: row.complete_to_ms,
      marks: row.marks,
      merged: row.merged,
    },
  };
}

/** Live pieces of a stream that lie within [start, end], in order; or the live copies of one of its files. */
export async function segmentsWithin(client: Queries, sourceId: string, range: LogRange): Promise<StoredSegment[]> {
  const { rows } = await client.query<SegmentRow>(
    `select * from log_segment where source_id = $1 and system_identifier = $2 and timeline = $3 and file = $4
       and superseded_at is null and ($4 <> '' or (start_order >= $5 and end_order <= $6))
     order by start_order, end_order`,
    [sourceId, range.stream.systemIdentifier, range.stream.timeline, range.file, range.start.order, range.end.order],
  );
  return rows.map(segmentOf);
}

export async function supersede(client: Queries, sequences: readonly number[]): Promise<void> {
  await client.query('update log_segment set superseded_at = clock_timestamp() where sequence = any($1)', [sequences]);
}

/** Whether this very piece is stored. */
export async function findSame(client: Queries, sourceId: string, objectId: Buffer, range: LogRange): Promise<boolean> {
  const { rows } = await client.query(
    `select 1 from log_segment where source_id = $1 and system_identifier = $2 and timeline = $3 and file = $4
       and start_order = $5 and end_order = $6 and object_id = $7 and superseded_at is null
       and (start_order < end_order or complete_to_ms >= $8)`,
    [
      sourceId,
      range.stream.systemIdentifier,
      range.stream.timeline,
      range.file,
      range.start.order,
      range.end.order,
      objectId,
      range.completeToMs,
    ],
  );
  return rows.length > 0;
}
