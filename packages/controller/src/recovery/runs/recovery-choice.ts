// The recovery point: to which state each source is brought, chosen when a run starts and pinned in its row.
//
// Hazard: encrypted files that are restored over the last good ones, or a point that drifts while a run is paused. So damage and mass changes
// are looked for in what is known of the snapshots, and what was chosen stays.
//
// Invariants (recovery-choice.property.test.ts):
//   RC1 what is chosen is stored, of the source, and not damaged;
//   RC2 with `at`, nothing newer than that is chosen; with `latest-clean`, nothing at or after the first suspicion;
//   RC3 `consistent` brings every engine with a log to the time of the oldest file tree that was chosen.
//
// Pure. Times of snapshots are the catalog's clock (commits), but for `startedAtMs`, which is the agent's: an engine's server on the same
// host has the same clock, so databases are rewound to it, and it is compared with nothing else (I7).

import { firstMassChange, type MassChange, type SnapshotSize } from './mass-change.ts';

export interface Candidate extends SnapshotSize {
  /** Hex. */
  readonly id: string;
  /** The agent's clock. */
  readonly startedAtMs: number;
  readonly durationMs: number;
  readonly damaged: boolean;
  /** The server found damaged pages. */
  readonly suspect: boolean;
}

export interface SourceCandidates {
  readonly source: string;
  readonly sourceId: string;
  readonly kind: 'files' | 'engine';
  /** An engine's log: how old the newest that is stored of it is, by the catalog's clock, ms since 1970. Undefined: it keeps none. */
  readonly logUpToMs: number | undefined;
  /** A watched file tree: until when nothing had changed that its newest snapshot does not have, by the catalog's clock. */
  readonly quietUpToMs?: number | undefined;
  /** Newest first. */
  readonly snapshots: readonly Candidate[];
}

export interface PointRequest {
  readonly kind: 'latest' | 'latest-clean' | 'at';
  /** `at`: the catalog's clock. */
  readonly atMs: number;
  readonly align: 'each-latest' | 'consistent';
  readonly maxAgeMs: number | undefined;
  readonly nowMs: number;
}

export interface PinnedSource {
  readonly source: string;
  readonly sourceId: string;
  readonly kind: 'files' | 'engine';
  /** Hex. Of an engine with a log: the base is chosen by the target when it is restored. */
  readonly snapshotId: string;
  /** Of an engine with a log; the server's clock for `time`. Null: the snapshot itself. */
  readonly target: { readonly kind: 'latest' } | { readonly kind: 'time'; readonly atMs: number } | null;
  /** The state that it stands for, by the catalog's clock. */
  readonly atMs: number;
}

export interface PinnedPoint {
  /** The oldest of all sources: what is newer may be lost. 0: none could be chosen. */
  readonly atMs: number;
  readonly sources: readonly PinnedSource[];
  /** What people should know: sources without a point, ages beyond what the plan allows, suspicions. */
  readonly findings: readonly string[];
}

export function choosePoints(sources: readonly SourceCandidates[], request: PointRequest): PinnedPoint {
  const findings: string[] = [];
  const pinned: PinnedSource[] = [];
  const clean = request.kind === 'latest-clean' ? firstSuspicion(sources, request.nowMs) : undefined;
  if (clean !== undefined) {
    const when = new Date(clean.atMs).toISOString();
    findings.push(`${clean.source} changed as a whole at ${when} (${clean.why}): the point is before that`);
  }
  for (const one of sources) {
    const chosen = chooseOne(one, request, clean?.atMs);
    if (chosen === undefined) findings.push(`${one.source} has no state that could be restored`);
    else pinned.push(chosen);
  }
  const aligned = request.align === 'consistent' ? alignToFiles(pinned, sources) : pinned;
  for (const { source, atMs } of aligned) {
    const ageMs = request.nowMs - atMs;
    if (request.maxAgeMs !== undefined && ageMs > request.maxAgeMs) {
      findings.push(`${source} goes back ${seconds(ageMs)}, and the plan allows ${seconds(request.maxAgeMs)}`);
    }
  }
  const atMs = aligned.length === 0 ? 0 : Math.min(...aligned.map((one) => one.atMs));
  return { atMs, sources: aligned, findings };
}

function chooseOne(
  one: SourceCandidates,
  request: PointRequest,
  cleanBeforeMs: number | undefined,
): PinnedSource | undefined {
  const before = request.kind === 'at' ? request.atMs : (cleanBeforeMs ?? Infinity);
  const usable = one.snapshots.filter((snapshot) => !snapshot.damaged);
  // What was committed at the moment itself counts for a person's "at", and not for the suspicion's own snapshot.
  const inTime = usable.filter(({ committedAtMs }) =>
    request.kind === 'at' ? committedAtMs <= before : committedAtMs < before,
  );
  const trusted = inTime.filter((snapshot) => !snapshot.suspect);
  const snapshot = trusted[0] ?? (request.kind === 'latest-clean' ? undefined : inTime[0]);
  if (snapshot === undefined) return undefined;
  const { source, sourceId, kind, logUpToMs } = one;
  const snapshotAtMs = snapshot.committedAtMs - snapshot.durationMs;
  const common = { source, sourceId, kind, snapshotId: snapshot.id };
  if (logUpToMs === undefined) {
    const isNewest = snapshot === one.snapshots[0] && before === Infinity;
    const quietUpToMs = isNewest ? (one.quietUpToMs ?? 0) : 0;
    return { ...common, target: null, atMs: Math.max(snapshotAtMs, quietUpToMs) };
  }
  if (before === Infinity) return { ...common, target: { kind: 'latest' }, atMs: Math.max(snapshotAtMs, logUpToMs) };
  return {
    ...common,
    target: { kind: 'time', atMs: before },
    atMs: Math.min(before, Math.max(snapshotAtMs, logUpToMs)),
  };
}

/** RC3. Without a file tree there is nothing to align to. */
function alignToFiles(pinned: readonly PinnedSource[], sources: readonly SourceCandidates[]): PinnedSource[] {
  const started = pinned
    .filter((one) => one.kind === 'files')
    .flatMap((one) => {
      const of = sources.find(({ sourceId }) => sourceId === one.sourceId);
      const snapshot = of?.snapshots.find(({ id }) => id === one.snapshotId);
      return snapshot === undefined ? [] : [{ agentMs: snapshot.startedAtMs, catalogMs: one.atMs }];
    })
    .toSorted((a, b) => a.catalogMs - b.catalogMs)[0];
  if (started === undefined) return [...pinned];
  return pinned.map((one) =>
    one.target === null || one.atMs <= started.catalogMs
      ? one
      : { ...one, target: { kind: 'time', atMs: started.agentMs }, atMs: started.catalogMs },
  );
}

export interface Suspicion extends MassChange {
  readonly source: string;
}

/** The first mass change within the window, over all file trees. */
export function firstSuspicion(
  sources: readonly Pick<SourceCandidates, 'source' | 'kind' | 'snapshots'>[],
  nowMs: number,
): Suspicion | undefined {
  return sources
    .filter((one) => one.kind === 'files')
    .flatMap(({ source, snapshots }) => {
      const change = firstMassChange(snapshots.toReversed(), nowMs);
      return change === undefined ? [] : [{ source, ...change }];
    })
    .toSorted((a, b) => a.atMs - b.atMs)[0];
}

function seconds(ms: number): string {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}
