// Stored logs, put together again from the controller's records in the packs.
//
// Hazard: records and pieces that were lost with a pack leave holes, and a hole that nobody sees is a restore that goes wrong. So a log
// is laid out anew from the pieces that are there, by their positions: what does not follow what stands before it gets a gap.
//
// Invariants (log-rebuild.db.test.ts): LR1 the rebuilt tables equal the lost ones; LR2 whatever was lost, the runs hold only pieces
// that are there, and between two of them is a gap.

import { headAfterGap, headAfterSegment, type LogHead } from '@holdfast/shared/format/log-order';
import type { LogSegmentRecord } from '@holdfast/shared/format/controller-record';
import type { LogGap, LogRange } from '@holdfast/shared/format/log-point';

import { saveForks, saveGap } from './log-gaps.ts';
import { insertSegments, saveRun, streamKey, type LogOwner, type NewSegment } from './log-rows.ts';
import type { Queries } from './object-index.ts';

export interface FoundLogRecord {
  readonly id: Buffer;
  readonly record: LogSegmentRecord;
}

/** A piece whose object is there. */
interface FoundPiece {
  readonly objectId: Buffer;
  readonly recordId: Buffer;
  readonly lengthBytes: number;
  readonly range: LogRange;
  readonly storedAtMs: number;
}

interface FoundGap {
  readonly gap: LogGap;
  /** Undefined: found here. */
  readonly recordId: Buffer | undefined;
  readonly storedAtMs: number;
}

/** Writes the rows of every log that the records speak of. */
export async function rebuildLogs(
  client: Queries,
  found: readonly FoundLogRecord[],
  warnings: string[],
): Promise<void> {
  const sources = Map.groupBy(found, ({ record }) => record.sourceId);
  for (const records of sources.values()) await rebuildLog(client, records, warnings);
}

async function rebuildLog(client: Queries, found: readonly FoundLogRecord[], warnings: string[]): Promise<void> {
  const { domainId, hostId, sourceId } = found.at(-1)!.record;
  const owner = { domainId, hostId, sourceId };
  const { pieces, missing } = await piecesThatAreThere(client, domainId, found);
  if (missing > 0) warnings.push(`${missing} stored pieces of the log of source ${sourceId} are missing`);
  const gaps = found.flatMap(({ id, record }): FoundGap[] =>
    record.content.kind === 'gap' ? [{ gap: record.content.gap, recordId: id, storedAtMs: record.storedAtMs }] : [],
  );
  const ofStream = new Map<string, { pieces: FoundPiece[]; gaps: FoundGap[]; storedAtMs: number }>();
  const stream = (range: LogRange | LogGap, storedAtMs: number) => {
    const known = ofStream.get(streamKey(range.stream)) ?? { pieces: [], gaps: [], storedAtMs: 0 };
    known.storedAtMs = Math.max(known.storedAtMs, storedAtMs);
    ofStream.set(streamKey(range.stream), known);
    return known;
  };
  for (const piece of pieces) stream(piece.range, piece.storedAtMs).pieces.push(piece);
  for (const gap of gaps) stream(gap.gap, gap.storedAtMs).gaps.push(gap);
  // The stream that grew last is written last: it is the newest.
  for (const laid of [...ofStream.values()].toSorted((a, b) => a.storedAtMs - b.storedAtMs)) {
    await writeStream(client, owner, layOut(laid.pieces, laid.gaps), warnings);
  }
}

async function piecesThatAreThere(
  client: Queries,
  domainId: string,
  found: readonly FoundLogRecord[],
): Promise<{ pieces: FoundPiece[]; missing: number }> {
  const pieces: FoundPiece[] = [];
  const all = found.flatMap(({ id, record }) =>
    record.content.kind === 'segment' ? [{ recordId: id, storedAtMs: record.storedAtMs, ...record.content }] : [],
  );
  for (let first = 0; first < all.length; first += 1000) {
    const batch = all.slice(first, first + 1000);
    const { rows } = await client.query<{ id: Buffer; length_bytes: number }>(
      'select id, length_bytes from object where domain_id = $1 and id = any($2::bytea[])',
      [domainId, batch.map(({ segmentId }) => Buffer.from(segmentId))],
    );
    const lengths = new Map(rows.map((row) => [row.id.toString('hex'), row.length_bytes]));
    for (const { recordId, segmentId, range, storedAtMs } of batch) {
      const objectId = Buffer.from(segmentId);
      const lengthBytes = lengths.get(objectId.toString('hex'));
      if (lengthBytes !== undefined) pieces.push({ objectId, recordId, lengthBytes, range, storedAtMs });
    }
  }
  return { pieces, missing: all.length - pieces.length };
}

interface LaidOut {
  readonly segments: readonly NewSegment[];
  readonly gaps: readonly FoundGap[];
  readonly runs: readonly LogHead[];
  readonly invented: number;
}

/** One stream, from its pieces and gaps in any order. Pure. */
export function layOut(pieces: readonly FoundPiece[], told: readonly FoundGap[]): LaidOut {
  const inOrder = pieces.toSorted((a, b) => a.storedAtMs - b.storedAtMs);
  const replaced = replacedPieces(inOrder);
  const segments = inOrder.map((piece): NewSegment => {
    const supersededAtMs = replaced.get(piece);
    return supersededAtMs === undefined ? piece : { ...piece, supersededAtMs };
  });
  const newestOfStart = new Map(
    told.toSorted((a, b) => a.storedAtMs - b.storedAtMs).map((gap) => [gap.gap.start.order, gap]),
  );
  return {
    segments,
    ...walk(
      inOrder.filter((piece) => !replaced.has(piece)),
      [...newestOfStart.values()],
    ),
  };
}

/** Pieces for which a later one stands, with when that was stored: another copy, or a merged piece around it. */
function replacedPieces(inOrder: readonly FoundPiece[]): Map<FoundPiece, number> {
  const replaced = new Map<FoundPiece, number>();
  const copies = Map.groupBy(inOrder, ({ range: { file, start, end } }) =>
    file === '' ? `${start.order} ${end.order}` : file,
  );
  for (const same of copies.values()) {
    const newest = same.at(-1)!;
    for (const copy of same.slice(0, -1)) replaced.set(copy, newest.storedAtMs);
  }
  const merged = inOrder
    .filter((piece) => piece.range.merged && !replaced.has(piece))
    .toSorted((a, b) => (a.range.start.order < b.range.start.order ? -1 : 1));
  for (const piece of inOrder) {
    const { file, start, end } = piece.range;
    const around = file === '' && start.order < end.order ? lastFrom(merged, start.order) : undefined;
    if (around === undefined || around === piece || end.order > around.range.end.order) continue;
    if (around.storedAtMs >= piece.storedAtMs) replaced.set(piece, around.storedAtMs);
  }
  return replaced;
}

/** The last of `sorted` that starts at or before a position. */
function lastFrom(sorted: readonly FoundPiece[], order: bigint): FoundPiece | undefined {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]!.range.start.order <= order) low = middle + 1;
    else high = middle;
  }
  return sorted[low - 1];
}

function walk(live: readonly FoundPiece[], told: readonly FoundGap[]): Omit<LaidOut, 'segments'> {
  const steps = [
    ...live
      .filter(({ range }) => range.file === '')
      .map((piece) => ({ place: piece.range, piece, gap: undefined, storedAtMs: piece.storedAtMs })),
    ...told.map((gap) => ({ place: gap.gap, piece: undefined, gap, storedAtMs: gap.storedAtMs })),
  ].toSorted((a, b) => compare(a.place.start.order, b.place.start.order) || a.storedAtMs - b.storedAtMs);
  const runs: LogHead[] = [];
  const gaps: FoundGap[] = [];
  let head: LogHead | undefined;
  let invented = 0;
  const addGap = (gap: FoundGap): void => {
    head = headAfterGap(head, gap.gap);
    gaps.push(gap);
    runs.push(head);
  };
  for (const { place, piece, gap, storedAtMs } of steps) {
    const { stream, start: end } = place;
    const at = end.order;
    if (head !== undefined && at > head.end.order) {
      const start = head.end;
      const reason = 'stored pieces of the log were lost before the catalog was rebuilt';
      addGap({
        gap: { stream, start, end, fromMs: head.completeToMs, toMs: 0, reason },
        recordId: undefined,
        storedAtMs,
      });
      invented++;
    }
    // What overlaps what stands there already was stored under two ids: the first serves.
    if (head !== undefined && at < head.end.order) continue;
    if (gap !== undefined) addGap(gap);
    else if (piece !== undefined && (head !== undefined || piece.range.end.order > at)) {
      const isFirst = head === undefined;
      head = headAfterSegment(head, piece.range);
      if (isFirst) runs.push(head);
      else runs[runs.length - 1] = head;
    }
  }
  return { runs, gaps, invented };
}

function compare(a: bigint, b: bigint): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

async function writeStream(client: Queries, owner: LogOwner, laid: LaidOut, warnings: string[]): Promise<void> {
  const { segments, gaps, runs, invented } = laid;
  if (invented > 0) warnings.push(`the log of source ${owner.sourceId} has ${invented} gaps that were not recorded`);
  await insertSegments(client, owner, segments);
  for (const { gap, recordId, storedAtMs } of gaps) await saveGap(client, owner, gap, recordId, storedAtMs);
  for (const { range } of segments) await saveForks(client, owner.sourceId, range.stream, range.ancestors ?? []);
  for (const run of runs) await saveRun(client, owner.sourceId, run);
}
