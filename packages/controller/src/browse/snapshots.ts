// Committed snapshots, as the catalog lists them, and choosing one.
//
// Hazard: choosing the wrong one. An id may be shortened, but only while it names one snapshot; "at" goes by the commit's
// time on the catalog's clock, never by an agent's (I7).
//
// Tested in choose-snapshot.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import type pg from 'pg';

import { pointOf, type PointRow } from '../vault/log-bases.ts';

type Queryable = pg.ClientBase | pg.Pool;

export interface Snapshot {
  readonly id: Buffer;
  readonly domainId: string;
  readonly hostId: string;
  readonly sourceId: string;
  readonly sequence: number;
  readonly committedAt: Date;
  /** The agent's clock. */
  readonly startedAtMs: number;
  readonly entries: number;
  readonly files: number;
  readonly bytesTotal: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly durationMs: number;
  readonly partial: boolean;
  readonly warningsTotal: number;
  readonly damaged: boolean;
  /** Where a database's base stands in its log. */
  readonly point: DatabasePoint | undefined;
}

type SnapshotRow = Omit<Snapshot, 'point'> & PointRow;

/** A row with its point put together. */
function snapshotOf(row: SnapshotRow): Snapshot {
  return {
    id: row.id,
    domainId: row.domainId,
    hostId: row.hostId,
    sourceId: row.sourceId,
    sequence: row.sequence,
    committedAt: row.committedAt,
    startedAtMs: row.startedAtMs,
    entries: row.entries,
    files: row.files,
    bytesTotal: row.bytesTotal,
    bytesRead: row.bytesRead,
    bytesNew: row.bytesNew,
    bytesStored: row.bytesStored,
    durationMs: row.durationMs,
    partial: row.partial,
    warningsTotal: row.warningsTotal,
    damaged: row.damaged,
    point: pointOf(row),
  };
}

const COLUMNS = `id, domain_id as "domainId", host_id as "hostId", source_id as "sourceId", sequence,
  committed_at as "committedAt", started_at_ms as "startedAtMs", entries, files, bytes_total as "bytesTotal",
  bytes_read as "bytesRead", bytes_new as "bytesNew", bytes_stored as "bytesStored", duration_ms as "durationMs",
  partial, warnings_total as "warningsTotal", damaged_at is not null as damaged, system_identifier, timeline, start_order,
  start_text, end_order, end_text, start_at_ms, end_at_ms, server_version, suspect, has_log, gtid`;

const PREFIX_MIN_BYTES = 4;

/** Newest first. @param limit 0: all */
export async function listSnapshots(client: Queryable, sourceId: string, limit: number): Promise<Snapshot[]> {
  const { rows } = await client.query<SnapshotRow>(
    `select ${COLUMNS} from snapshot where source_id = $1 order by sequence desc limit $2`,
    [sourceId, limit === 0 ? null : limit],
  );
  return rows.map(snapshotOf);
}

/** Those of these ids that there are. */
export async function snapshotsById(client: Queryable, domainId: string, ids: readonly Buffer[]): Promise<Snapshot[]> {
  const { rows } = await client.query<SnapshotRow>(
    `select ${COLUMNS} from snapshot where domain_id = $1 and id = any($2::bytea[])`,
    [domainId, ids],
  );
  return rows.map(snapshotOf);
}

/** The newest snapshot of each source, and how many there are. */
export async function latestSnapshots(
  client: Queryable,
  sourceIds: readonly string[],
): Promise<Map<string, { latest: Snapshot; count: number }>> {
  const { rows } = await client.query<SnapshotRow & { count: number }>(
    `select distinct on (source_id) ${COLUMNS}, count(*) over (partition by source_id) as count
     from snapshot where source_id = any($1) order by source_id, sequence desc`,
    [sourceIds],
  );
  return new Map(rows.map((row) => [row.sourceId, { latest: snapshotOf(row), count: row.count }]));
}

export interface SnapshotChoice {
  readonly domainId: string;
  /** Undefined: of any source; then an id is needed. */
  readonly sourceId: string | undefined;
  /** Whole or a prefix of at least 4 bytes; empty: by time, or the newest. */
  readonly id: Uint8Array;
  /** The newest that was committed at or before; 0: not used. */
  readonly atMs: number;
}

/** Throws NOT_FOUND, or INVALID_ARGUMENT when the choice names none or several. */
export async function chooseSnapshot(client: Queryable, choice: SnapshotChoice): Promise<Snapshot> {
  if (choice.id.length > 0) return await snapshotByPrefix(client, choice);
  if (choice.sourceId === undefined) {
    throw new HoldfastError('INVALID_ARGUMENT', 'name a source or a snapshot');
  }
  const { rows } = await client.query<SnapshotRow>(
    `select ${COLUMNS} from snapshot where domain_id = $1 and source_id = $2
       and ($3::bigint = 0 or committed_at <= to_timestamp($3::bigint / 1000.0)) order by sequence desc limit 1`,
    [choice.domainId, choice.sourceId, choice.atMs],
  );
  if (rows[0] !== undefined) return snapshotOf(rows[0]);
  throw new HoldfastError(
    'NOT_FOUND',
    choice.atMs === 0
      ? 'the source has no snapshot yet'
      : `the source has no snapshot from ${isoTime(choice.atMs)} or before`,
    {
      hint: choice.atMs === 0 ? 'Make one with: holdfast backup HOST/SOURCE' : 'See: holdfast snapshot ls HOST/SOURCE',
    },
  );
}

async function snapshotByPrefix(client: Queryable, choice: SnapshotChoice): Promise<Snapshot> {
  const prefix = Buffer.from(choice.id);
  if (prefix.length < PREFIX_MIN_BYTES || prefix.length > 32) {
    throw new HoldfastError(
      'INVALID_ARGUMENT',
      `a snapshot's id has 32 bytes; ${PREFIX_MIN_BYTES} of them are needed at least`,
    );
  }
  const { rows } = await client.query<SnapshotRow>(
    `select ${COLUMNS} from snapshot where domain_id = $1 and ($2::text is null or source_id = $2)
       and substring(id from 1 for $4) = $3 limit 2`,
    [choice.domainId, choice.sourceId ?? null, prefix, prefix.length],
  );
  if (rows.length > 1)
    throw new HoldfastError('INVALID_ARGUMENT', `several snapshots begin with ${prefix.toString('hex')}`);
  if (rows[0] === undefined) {
    throw new HoldfastError('NOT_FOUND', `there is no snapshot ${prefix.toString('hex')}`, {
      hint: 'See: holdfast snapshot ls',
    });
  }
  return snapshotOf(rows[0]);
}

function isoTime(ms: number): string {
  return Number.isNaN(new Date(ms).getTime()) ? String(ms) : new Date(ms).toISOString();
}
