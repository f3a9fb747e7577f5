// What a plan's sources could be recovered to: rows, as the decider takes them (recovery/runs/recovery-choice.ts).
//
// Tested in api/recovery.db.test.ts.

import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import type pg from 'pg';

import { sourcesOfHost } from '../fleet/sources.ts';
import {
  BURST_MS,
  INCOMPRESSIBLE,
  LITTLE_BYTES,
  MUCH,
  SUSPICION_WINDOW_MS,
  USUAL_MAX,
} from '../recovery/runs/mass-change.ts';
import {
  firstSuspicion,
  type Candidate,
  type SourceCandidates,
  type Suspicion,
} from '../recovery/runs/recovery-choice.ts';
import { knowSources, type KnownSource } from './source-facts.ts';

/** So many are looked at, whatever they are like: the newest of them are seldom all damaged. */
const NEWEST = 500;
/** A watched tree has one every ten seconds, for a week. */
const SNAPSHOTS_MAX = 65_536;

/** Of the host's sources with these names, in the order of the names. @param upToMs the catalog's clock: nothing newer is wanted; 0: all */
export async function sourceCandidates(
  pool: pg.Pool,
  hostId: string,
  names: readonly string[],
  upToMs = 0,
): Promise<{ sources: SourceCandidates[]; nowMs: number }> {
  const nowMs = await catalogNow(pool);
  const known = await knowSources(pool, await sourcesOfHost(pool, hostId));
  const sources: SourceCandidates[] = [];
  for (const name of names) {
    const one = known.find(({ source }) => source.name === name);
    if (one === undefined) continue;
    const isFiles = SourceSpec.decode(one.source.spec).type?.$case === 'files';
    sources.push({
      source: name,
      sourceId: one.source.id,
      kind: isFiles ? 'files' : 'engine',
      logUpToMs: logUpToMs(one, nowMs),
      quietUpToMs: one.facts.quietAgeMs === undefined ? undefined : nowMs - one.facts.quietAgeMs,
      snapshots: await candidatesOf(pool, one.source.id, upToMs),
    });
  }
  return { sources, nowMs };
}

/** Whether one of these file trees was encrypted or destroyed lately, as far as snapshots tell. */
export async function suspicionOf(
  pool: pg.Pool,
  hostId: string,
  names: readonly string[],
): Promise<Suspicion | undefined> {
  const trees: Pick<SourceCandidates, 'source' | 'kind' | 'snapshots'>[] = [];
  for (const source of await sourcesOfHost(pool, hostId)) {
    if (!names.includes(source.name) || SourceSpec.decode(source.spec).type?.$case !== 'files') continue;
    trees.push({ source: source.name, kind: 'files', snapshots: await candidatesOf(pool, source.id, 0) });
  }
  return firstSuspicion(trees, await catalogNow(pool));
}

async function catalogNow(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ ms: number }>('select floor(extract(epoch from now()) * 1000)::bigint as ms');
  return rows[0]?.ms ?? 0;
}

/**
 * Newest first: the newest ones, and all since what may be the first mass change, with those before it that say what is usual. Most sources have
 * none, and the catalog finds that without sending a week of rows.
 */
async function candidatesOf(pool: pg.Pool, sourceId: string, upToMs: number): Promise<Candidate[]> {
  const { rows } = await pool.query<Candidate & { committedAt: Date }>(
    `with known as (
       select * from snapshot where source_id = $1 and ($2::bigint = 0 or committed_at <= to_timestamp($2::bigint / 1000.0))
     ), lately as (
       select sequence, files, bytes_new, bytes_total, lag(files) over (order by sequence) as files_before,
         sum(bytes_new) over hour as hour_new, sum(bytes_stored) over hour as hour_stored
       from known where committed_at >= now() - $3 * interval '1 ms'
       window hour as (order by committed_at range between $4 * interval '1 ms' preceding and current row)
     ), odd as (
       select min(sequence) as first from lately where files * 2 < files_before
         or (bytes_new >= $5 and bytes_new >= $6::float8 * bytes_total and sequence > (select min(sequence) from known))
         or (hour_new >= $5 and hour_new >= $6::float8 * bytes_total and hour_stored >= $10::float8 * hour_new)
     )
     select encode(id, 'hex') as id, committed_at as "committedAt", started_at_ms as "startedAtMs", duration_ms as "durationMs",
       bytes_total as "bytesTotal", bytes_new as "bytesNew", bytes_stored as "bytesStored", files, damaged_at is not null as damaged,
       coalesce(suspect, false) as suspect
     from known where sequence > least((select max(sequence) from known) - $7, (select first from odd) - $8)
     order by sequence desc limit $9`,
    [
      sourceId,
      upToMs,
      SUSPICION_WINDOW_MS,
      BURST_MS,
      LITTLE_BYTES,
      MUCH,
      NEWEST,
      USUAL_MAX + NEWEST,
      SNAPSHOTS_MAX,
      INCOMPRESSIBLE,
    ],
  );
  return rows.map(({ committedAt, ...row }) => ({ ...row, committedAtMs: committedAt.getTime() }));
}

/** Undefined for what keeps no log, and when nobody can tell how far it is. */
function logUpToMs({ facts, state }: KnownSource, nowMs: number): number | undefined {
  const hasLog = facts.log?.bases.some(({ point }) => point.hasLog) === true;
  return hasLog && state.rpoMs !== undefined ? nowMs - state.rpoMs : undefined;
}
