// Did somebody encrypt or destroy a file tree? Told from what is known of its snapshots: how much of each is new, whether that compresses, and
// how many files there are. Nobody but the agent can read the files themselves.
//
// Hazards: encrypted files that are taken for the newest good ones; and a deployment that is taken for an attack, so that a failover goes back
// further than it has to. So what is new is held against what is usual for the source, and the reason is told to whoever recovers.
//
// What only comes beside what is there (photos, an archive) destroys nothing: new bytes by which a tree has grown are not counted.
//
// Invariants (recovery-choice.property.test.ts): MS1 nothing is suspected without history; MS2 what is as usual for the source is not suspected;
// MS3 a suspicion begins at the first snapshot that has any of it, also where each has a little; MS4 what is only added is not suspected.
//
// Pure.

/** Of one snapshot. Times are the catalog's clock (commits). */
export interface SnapshotSize {
  readonly committedAtMs: number;
  readonly bytesTotal: number;
  readonly bytesNew: number;
  /** Of the new ones, compressed. */
  readonly bytesStored: number;
  readonly files: number;
}

/** How far back a mass change still makes what follows suspect: by then people have seen it, or it was meant. */
export const SUSPICION_WINDOW_MS = 7 * 86_400_000;
/** Snapshots before one that say what is usual: at least, at most. */
const USUAL_MIN = 2;
export const USUAL_MAX = 100;
const MOST = 0.5;
export const MUCH = 0.2;
/** A few small files change as a whole whenever they change. */
export const LITTLE_BYTES = 64 * 1024;
const USUAL_FACTOR = 5;
const COMPRESSIBLE = 0.8;
export const INCOMPRESSIBLE = 0.97;
/** A watched tree has a snapshot every few seconds, and each has a little of a change that takes its time. */
export const BURST_MS = 3_600_000;

export interface MassChange {
  /** Of the first snapshot that has any of it. */
  readonly atMs: number;
  /** For people. */
  readonly why: string;
}

/** The first one within the window. @param oldestFirst all that is known of the source */
export function firstMassChange(oldestFirst: readonly SnapshotSize[], nowMs: number): MassChange | undefined {
  const found = oldestFirst.findIndex(({ committedAtMs }) => nowMs - committedAtMs <= SUSPICION_WINDOW_MS);
  if (found < 0) return undefined;
  const sums = sumsOf(oldestFirst);
  let burst = 0;
  for (let index = found; index < oldestFirst.length; index++) {
    const snapshot = oldestFirst[index]!;
    const why = massChange(snapshot, oldestFirst.slice(Math.max(0, index - USUAL_MAX), index));
    if (why !== undefined) return { atMs: beginningOf(oldestFirst, index).committedAtMs, why };
    while (snapshot.committedAtMs - oldestFirst[burst]!.committedAtMs >= BURST_MS) burst++;
    const from = creepingFrom(oldestFirst, sums, burst, index);
    if (from !== undefined) {
      return { atMs: from.committedAtMs, why: 'within an hour, much of it is new and does not compress any more' };
    }
  }
  return undefined;
}

/** Why one snapshot looks like encryption or destruction, against those before it (oldest first). */
export function massChange(snapshot: SnapshotSize, before: readonly SnapshotSize[]): string | undefined {
  const last = before.at(-1);
  if (last === undefined || before.length < USUAL_MIN) return undefined;
  if (last.files >= 10 && snapshot.files <= last.files * (1 - MOST)) return 'most files are gone';
  const share = rewrittenShare(snapshot.bytesNew, last, snapshot);
  if (snapshot.bytesNew < LITTLE_BYTES || share < MUCH) return undefined;
  // The first one is all new by nature.
  if (share < median(before.slice(1).map(shareOf)) * USUAL_FACTOR) return undefined;
  if (share >= MOST) return 'most of its bytes are new';
  const compresses = isCompressible(sum(before, 'bytesStored'), sum(before, 'bytesNew'));
  return compresses && isHard(snapshot) ? 'much of it is new and does not compress any more' : undefined;
}

/** MS3: snapshots are taken while files are encrypted, and the first of them have too little to be told by themselves. */
function beginningOf(oldestFirst: readonly SnapshotSize[], found: number): SnapshotSize {
  let index = found;
  const isPart = (one: SnapshotSize | undefined): boolean =>
    one !== undefined &&
    one.bytesNew >= LITTLE_BYTES &&
    isHard(one) &&
    oldestFirst[found]!.committedAtMs - one.committedAtMs < BURST_MS;
  while (index > 1 && isPart(oldestFirst[index - 1])) index--;
  return oldestFirst[index]!;
}

interface Sums {
  /** Of all snapshots before the index. */
  readonly new: readonly number[];
  readonly stored: readonly number[];
}

function sumsOf(snapshots: readonly SnapshotSize[]): Sums {
  const sums = { new: [0], stored: [0] };
  for (const { bytesNew, bytesStored } of snapshots) {
    sums.new.push(sums.new.at(-1)! + bytesNew);
    sums.stored.push(sums.stored.at(-1)! + bytesStored);
  }
  return sums;
}

/** MS3: of the snapshots from `first` to `index`, the earliest that does not compress, when all of them together are a mass change. */
function creepingFrom(
  snapshots: readonly SnapshotSize[],
  sums: Sums,
  first: number,
  index: number,
): SnapshotSize | undefined {
  if (first < USUAL_MIN) return undefined;
  const bytesNew = sums.new[index + 1]! - sums.new[first]!;
  const bytesStored = sums.stored[index + 1]! - sums.stored[first]!;
  const share = rewrittenShare(bytesNew, snapshots[first - 1]!, snapshots[index]!);
  if (bytesNew < LITTLE_BYTES || share < MUCH || !isHard({ bytesNew, bytesStored })) return undefined;
  if (!isCompressible(sums.stored[first]!, sums.new[first]!)) return undefined;
  if (share < median(hourlyShares(snapshots, first)) * USUAL_FACTOR) return undefined;
  return snapshots.slice(first, index + 1).find(isHard);
}

/** Of the hours before the snapshot `end` in which there was any, newest first; without the very first snapshot. */
function hourlyShares(snapshots: readonly SnapshotSize[], end: number): number[] {
  const shares: number[] = [];
  const endMs = snapshots[end]!.committedAtMs;
  let hour = -1;
  for (let index = end - 1; index > 0 && shares.length <= USUAL_MAX; index--) {
    const one = snapshots[index]!;
    const its = Math.floor((endMs - one.committedAtMs) / BURST_MS);
    if (its === hour) shares[shares.length - 1]! += shareOf(one);
    else shares.push(shareOf(one));
    hour = its;
  }
  return shares;
}

/** MS4. Of the larger tree: the end of a file that grows is stored anew with each snapshot, and that is much where there was little before. */
function rewrittenShare(bytesNew: number, before: SnapshotSize, after: SnapshotSize): number {
  const growth = Math.max(0, after.bytesTotal - before.bytesTotal);
  return shareOf({ bytesNew: bytesNew - growth, bytesTotal: Math.max(before.bytesTotal, after.bytesTotal) });
}

function shareOf({ bytesNew, bytesTotal }: Pick<SnapshotSize, 'bytesNew' | 'bytesTotal'>): number {
  return bytesTotal === 0 ? 0 : bytesNew / bytesTotal;
}

function isHard({ bytesNew, bytesStored }: Pick<SnapshotSize, 'bytesNew' | 'bytesStored'>): boolean {
  return bytesNew > 0 && bytesStored / bytesNew >= INCOMPRESSIBLE;
}

function isCompressible(stored: number, whole: number): boolean {
  return whole > 0 && stored / whole < COMPRESSIBLE;
}

function sum(snapshots: readonly SnapshotSize[], field: 'bytesNew' | 'bytesStored'): number {
  return snapshots.reduce((total, one) => total + one[field], 0);
}

/** The upper one of two; 0 of nothing. */
function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
