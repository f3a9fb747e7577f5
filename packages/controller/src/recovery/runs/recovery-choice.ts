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

export interface Candidate {
  /** Hex. */
  readonly id: string;
  readonly committedAtMs: number;
  /** The agent's clock. */
  readonly startedAtMs: number;
  readonly durationMs: number;
  readonly bytesTotal: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
  readonly files: number;
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

/** How far back a mass change still makes what follows suspect: by then people have seen it, or it was meant. */
export const SUSPICION_WINDOW_MS = 7 * 86_400_000;
/** Snapshots before one that say what is usual. */
const USUAL_MIN = 2;
const MOST = 0.5;
const LITTLE_BYTES = 64 * 1024;
const USUAL_FACTOR = 5;
const INCOMPRESSIBLE = 0.97;

export interface Suspicion {
  readonly source: string;
  readonly atMs: number;
  readonly why: string;
}

/** The first mass change within the window, over all file trees. */
export function firstSuspicion(sources: readonly SourceCandidates[], nowMs: number): Suspicion | undefined {
  return sources
    .filter((one) => one.kind === 'files')
    .flatMap((one) => {
      const oldestFirst = one.snapshots.toReversed();
      return oldestFirst.flatMap((snapshot, index) => {
        if (nowMs - snapshot.committedAtMs > SUSPICION_WINDOW_MS) return [];
        const why = massChange(snapshot, oldestFirst.slice(0, index));
        return why === undefined ? [] : [{ source: one.source, atMs: snapshot.committedAtMs, why }];
      });
    })
    .toSorted((a, b) => a.atMs - b.atMs)[0];
}

/**
 * Why a snapshot looks like encryption or destruction, against those before it (oldest first): most of its bytes are new, which is far from
 * usual for this source, or they are new and don't compress although the source's did; or most files are gone.
 */
export function massChange(snapshot: Candidate, before: readonly Candidate[]): string | undefined {
  const last = before.at(-1);
  if (last === undefined || before.length < USUAL_MIN) return undefined;
  if (last.files >= 10 && snapshot.files < last.files * (1 - MOST)) return 'most files are gone';
  // A few small files change as a whole whenever they change.
  if (snapshot.bytesNew < LITTLE_BYTES) return undefined;
  const share = snapshot.bytesNew / snapshot.bytesTotal;
  // The first one is all new by nature.
  const shares = before.slice(1).map((one) => (one.bytesTotal === 0 ? 0 : one.bytesNew / one.bytesTotal));
  const usual = shares.toSorted((a, b) => a - b)[Math.floor(shares.length / 2)] ?? 0;
  if (share >= MOST && share >= usual * USUAL_FACTOR) return 'most of its bytes are new';
  const first = before[0];
  const compressed = first !== undefined && first.bytesNew > 0 && first.bytesStored / first.bytesNew < 0.8;
  const hard = snapshot.bytesNew > 0 && snapshot.bytesStored / snapshot.bytesNew >= INCOMPRESSIBLE;
  return compressed && hard && share >= 0.2 && share >= usual * USUAL_FACTOR
    ? 'much of it is new and does not compress any more'
    : undefined;
}

function seconds(ms: number): string {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}
