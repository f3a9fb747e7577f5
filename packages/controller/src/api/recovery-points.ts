// What a plan's sources could be recovered to: rows, as the decider takes them (recovery/runs/recovery-choice.ts).
//
// Tested in api/recovery.db.test.ts.

import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import type pg from 'pg';

import { listSnapshots, type Snapshot } from '../browse/snapshots.ts';
import { sourcesOfHost } from '../fleet/sources.ts';
import type { Candidate, SourceCandidates } from '../recovery/runs/recovery-choice.ts';
import { knowSources, type KnownSource } from './source-facts.ts';

const SNAPSHOTS_MAX = 500;

/** Of the host's sources with these names, in the order of the names. */
export async function sourceCandidates(
  pool: pg.Pool,
  hostId: string,
  names: readonly string[],
): Promise<{ sources: SourceCandidates[]; nowMs: number }> {
  const now = await pool.query<{ ms: number }>('select floor(extract(epoch from now()) * 1000)::bigint as ms');
  const nowMs = now.rows[0]?.ms ?? 0;
  const known = await knowSources(pool, await sourcesOfHost(pool, hostId));
  const sources: SourceCandidates[] = [];
  for (const name of names) {
    const one = known.find(({ source }) => source.name === name);
    if (one === undefined) continue;
    const snapshots = await listSnapshots(pool, one.source.id, SNAPSHOTS_MAX);
    const isFiles = SourceSpec.decode(one.source.spec).type?.$case === 'files';
    sources.push({
      source: name,
      sourceId: one.source.id,
      kind: isFiles ? 'files' : 'engine',
      logUpToMs: logUpToMs(one, nowMs),
      quietUpToMs: one.facts.quietAgeMs === undefined ? undefined : nowMs - one.facts.quietAgeMs,
      snapshots: snapshots.map(candidate),
    });
  }
  return { sources, nowMs };
}

/** Undefined for what keeps no log, and when nobody can tell how far it is. */
function logUpToMs({ facts, state }: KnownSource, nowMs: number): number | undefined {
  const hasLog = facts.log?.bases.some(({ point }) => point.hasLog) === true;
  return hasLog && state.rpoMs !== undefined ? nowMs - state.rpoMs : undefined;
}

function candidate(snapshot: Snapshot): Candidate {
  const { startedAtMs, durationMs, bytesTotal, bytesNew, bytesStored, files, damaged } = snapshot;
  return {
    id: snapshot.id.toString('hex'),
    committedAtMs: snapshot.committedAt.getTime(),
    startedAtMs,
    durationMs,
    bytesTotal,
    bytesNew,
    bytesStored,
    files,
    damaged,
    suspect: snapshot.point?.suspect ?? false,
  };
}
