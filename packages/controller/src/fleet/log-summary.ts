// What is stored of a source's log, as the deciders need it: runs, forks, gaps, bases, and the pieces that matter to a target.
//
// Hazard: a damaged piece that still counts as stored. A run is cut there, and the piece stands among the gaps: a restore that would
// need it is refused before it starts, with a sentence.
//
// Tested in log-summary.db.test.ts.

import {
  sameStream,
  type LogGap,
  type LogRange,
  type LogStatus,
  type RecoveryTarget,
} from '@holdfast/shared/format/log-point';

import { loadBases, type StoredBase } from '../vault/log-bases.ts';
import type { StoredRun } from '../vault/log-reach.ts';
import { loadForks, loadGaps } from '../vault/log-gaps.ts';
import { headsOf, loadRuns, segmentOf, type SegmentRow } from '../vault/log-rows.ts';
import type { Queries } from '../vault/object-index.ts';
import type { LogPiece, LogSummary } from './recovery-facts.ts';

export interface StoredLog extends LogSummary {
  /** Newest first. */
  readonly bases: readonly StoredBase[];
  /** Recorded within the last day. */
  readonly newGaps: readonly LogGap[];
}

/** Enough to find the first one behind any base; there is more than one only when a server's clock was set back. */
const PIECES_MAX = 1000;
const NAMES_TOLD = 10;

/** @param status what the agent last said: of a quiet database it knows further than the last piece */
export async function loadStoredLog(
  queries: Queries,
  sourceId: string,
  status: LogStatus | undefined,
  target?: RecoveryTarget,
): Promise<StoredLog> {
  const [runs, forks, gaps, bases, damaged, pieces, names] = await Promise.all([
    loadRuns(queries, sourceId),
    loadForks(queries, sourceId),
    loadGaps(queries, sourceId),
    loadBases(queries, sourceId),
    damagedPieces(queries, sourceId),
    target === undefined ? [] : piecesFor(queries, sourceId, target),
    target?.kind === 'name' ? restorePoints(queries, sourceId) : [],
  ]);
  // Only of the end of a log: behind a gap the agent speaks of another run.
  const heads = new Set(headsOf(runs));
  const known = runs.map((run) => (heads.has(run) ? knownTo(run, status) : run));
  const newGaps = gaps.filter(({ isNew }) => isNew);
  return { ...cutAtDamage(known, damaged, gaps), forks, bases, newGaps, pieces, names };
}

/** An agent that follows a quiet database says that nothing was committed since its last piece. */
function knownTo(run: StoredRun, status: LogStatus | undefined): StoredRun {
  const { stream, stored, completeToMs } = status ?? {};
  if (stream === undefined || stored === undefined || completeToMs === undefined) return run;
  const says = sameStream(stream, run.stream) && stored.order === run.end.order && completeToMs > run.completeToMs;
  return says ? { ...run, completeToMs } : run;
}

interface DamagedPiece {
  readonly range: LogRange;
  /** Of the piece before it; 0: there is none. */
  readonly completeBeforeMs: number;
}

async function damagedPieces(queries: Queries, sourceId: string): Promise<DamagedPiece[]> {
  const { rows } = await queries.query<SegmentRow & { complete_before_ms: number | null }>(
    `select s.*, (select p.complete_to_ms from log_segment p where p.source_id = s.source_id
         and p.system_identifier = s.system_identifier and p.timeline = s.timeline and p.file = '' and p.superseded_at is null
         and p.end_order <= s.start_order and p.complete_to_ms > 0 order by p.end_order desc limit 1) as complete_before_ms
     from log_segment s join object o on o.domain_id = s.domain_id and o.id = s.object_id
     where s.source_id = $1 and s.superseded_at is null and s.file = '' and o.absent_since is not null
     order by s.start_order`,
    [sourceId],
  );
  return rows.map((row) => ({ range: segmentOf(row).range, completeBeforeMs: row.complete_before_ms ?? 0 }));
}

/** Pure: runs end where a damaged piece begins and go on behind it. */
function cutAtDamage(
  runs: readonly StoredRun[],
  damaged: readonly DamagedPiece[],
  gaps: readonly LogGap[],
): { runs: StoredRun[]; gaps: LogGap[] } {
  const cut = runs.flatMap((run) => {
    const parts: StoredRun[] = [];
    let rest: StoredRun = run;
    for (const { range, completeBeforeMs } of damaged) {
      const within =
        sameStream(range.stream, run.stream) &&
        rest.start.order <= range.start.order &&
        range.end.order <= rest.end.order &&
        range.start.order < range.end.order;
      if (!within) continue;
      parts.push({ ...rest, end: range.start, completeToMs: completeBeforeMs });
      rest = { ...rest, start: range.end };
    }
    return [rest, ...parts.toReversed()].filter(({ start, end }) => start.order < end.order || rest === run);
  });
  const holes = damaged.map(({ range, completeBeforeMs }) => ({
    stream: range.stream,
    start: range.start,
    end: range.end,
    fromMs: completeBeforeMs,
    toMs: range.completeToMs,
    reason: 'a stored piece of the log is damaged',
  }));
  return { runs: cut, gaps: [...gaps, ...holes] };
}

async function piecesFor(queries: Queries, sourceId: string, target: RecoveryTarget): Promise<LogPiece[]> {
  const select = `select * from log_segment where source_id = $1 and superseded_at is null and file = ''`;
  const order = `order by timeline, start_order limit ${PIECES_MAX}`;
  const found = async (condition: string, values: readonly unknown[]): Promise<LogPiece[]> => {
    const { rows } = await queries.query<SegmentRow>(`${select} and ${condition} ${order}`, [sourceId, ...values]);
    return rows.map((row) => segmentOf(row).range);
  };
  switch (target.kind) {
    case 'time':
      return found('last_commit_at_ms > $2', [target.atMs]);
    case 'name':
      return found('marks @> array[$2::text]', [`name=${target.name}`]);
    case 'gtid': {
      // The first domain alone: it leaves few pieces, and the decider looks at all of them.
      const [domain, , sequence] = target.gtid.split(',')[0]!.trim().split('-');
      return found(
        `exists (select from unnest(marks) mark, regexp_split_to_table(substr(mark, 6), ',') gtid where mark like 'gtid=%'
           and gtid ~ '^[0-9]+-[0-9]+-[0-9]+$' and split_part(gtid, '-', 1) = $2
           and split_part(gtid, '-', 3)::numeric >= $3::numeric)`,
        [domain, sequence],
      );
    }
    default:
      return [];
  }
}

async function restorePoints(queries: Queries, sourceId: string): Promise<string[]> {
  const { rows } = await queries.query<{ name: string }>(
    `select substr(mark, 6) as name from (
       select unnest(marks) as mark, sequence from log_segment
       where source_id = $1 and superseded_at is null and marks <> '{}') marks
     where mark like 'name=%' group by mark order by max(sequence) desc limit ${NAMES_TOLD}`,
    [sourceId],
  );
  return rows.map(({ name }) => name);
}
