// Bases of a source that keeps a log: which there are, and whether the log as it is stored can be replayed on one of them.
//
// Tested in log-store.db.test.ts and commit.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { sameStream, type DatabasePoint } from '@holdfast/shared/format/log-point';

import { coversBase, wayTo } from './log-reach.ts';
import { loadForks } from './log-gaps.ts';
import { boundsOf, headsOf, loadRuns, streamOf } from './log-rows.ts';
import type { Queries } from './object-index.ts';

/** A committed snapshot that stands in a log. */
export interface StoredBase {
  readonly snapshotId: Buffer;
  readonly sequence: number;
  /** Catalog's clock. */
  readonly committedAtMs: number;
  readonly point: DatabasePoint;
  /** Something that it needs was found damaged or missing. */
  readonly damaged: boolean;
}

export interface PointRow {
  readonly system_identifier: string | null;
  readonly timeline: number | null;
  readonly start_order: string;
  readonly start_text: string;
  readonly end_order: string;
  readonly end_text: string;
  readonly start_at_ms: number;
  readonly end_at_ms: number;
  readonly server_version: string;
  readonly suspect: boolean;
  readonly has_log: boolean;
  readonly gtid: string;
}

/** A snapshot's point; undefined when it is no database's. */
export function pointOf(row: PointRow): DatabasePoint | undefined {
  if (row.system_identifier === null || row.timeline === null) return undefined;
  return {
    stream: streamOf({ system_identifier: row.system_identifier, timeline: row.timeline }),
    ...boundsOf({ ...row, system_identifier: row.system_identifier, timeline: row.timeline }),
    startAtMs: row.start_at_ms,
    endAtMs: row.end_at_ms,
    serverVersion: row.server_version,
    suspect: row.suspect,
    hasLog: row.has_log,
    gtid: row.gtid,
  };
}

/** The newest first. */
export async function loadBases(queries: Queries, sourceId: string): Promise<StoredBase[]> {
  const { rows } = await queries.query<
    PointRow & { id: Buffer; sequence: number; committed_at: Date; damaged_at: Date | null }
  >('select * from snapshot where source_id = $1 and system_identifier is not null order by sequence desc', [sourceId]);
  return rows.flatMap((row) => {
    const point = pointOf(row);
    if (point === undefined) return [];
    const { id, sequence, committed_at: committedAt, damaged_at: damagedAt } = row;
    return [{ snapshotId: id, sequence, committedAtMs: committedAt.getTime(), point, damaged: damagedAt !== null }];
  });
}

/** True when no whole base is there from which the newest stream can be replayed to its end. */
export async function isBaseNeeded(queries: Queries, sourceId: string): Promise<boolean> {
  const runs = await loadRuns(queries, sourceId);
  const bases = (await loadBases(queries, sourceId)).filter(({ point, damaged }) => point.hasLog && !damaged);
  const newest = headsOf(runs)[0];
  if (newest === undefined) return bases.length === 0;
  const forks = await loadForks(queries, sourceId);
  return !bases.some(({ point }) => {
    const end = wayTo(point, newest.stream, runs, forks)?.at(-1);
    return end !== undefined && end.run.start.order === newest.start.order && end.to.order === newest.end.order;
  });
}

/**
 * Checks, within the transaction of a commit, that the log which a base needs to be consistent is stored. Throws
 * FAILED_PRECONDITION, which names how far it is.
 */
export async function assertLogStored(client: Queries, sourceId: string, point: DatabasePoint): Promise<void> {
  if (!point.hasLog) return;
  const runs = await loadRuns(client, sourceId);
  if (coversBase(point, runs)) return;
  const run = runs.find(
    (one) =>
      sameStream(one.stream, point.stream) &&
      one.start.order <= point.start.order &&
      one.end.order >= point.start.order,
  );
  const far = run === undefined ? `from ${point.start.text} on` : `beyond ${run.end.text}`;
  throw new HoldfastError(
    'FAILED_PRECONDITION',
    `log not stored up to ${point.end.text}, where this base becomes consistent: nothing is there ${far}`,
    { hint: 'Store the log up to there first, then commit.', details: { end: point.end.text } },
  );
}
