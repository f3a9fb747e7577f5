// A log as the vault has it, read onward: what is stored behind a position, and nothing when there is no more yet.
//
// Hazard: a hole. What lies behind one was never meant to follow what lies before it, and a standby that got it would go on without a word.
// So the bytes that are given follow each other to the byte, and a hole is DAMAGED.
//
// Tested in warm-postgres.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { LogPosition, LogStream } from '@holdfast/shared/format/log-point';
import type { ListedSegment, LogReadSession } from '../../link/log-port.ts';
import type { KeyRing } from '../../restore/key-ring.ts';
import { formatLsn } from '../../sources/postgres/log/lsn.ts';
import { forksOf, partsOf, type TimelinePart } from '../../sources/postgres/restore/wal-files.ts';

export interface StoredPiece {
  readonly start: bigint;
  readonly bytes: Buffer;
  /** Server's clock: everything committed up to then is before the end of this. */
  readonly completeToMs: number;
}

/** From a base to wherever the log will go. */
export interface WalWay {
  readonly systemIdentifier: string;
  /** Oldest first; the last one is open. */
  readonly parts: readonly TimelinePart[];
  /** File name → where its content is. */
  readonly histories: ReadonlyMap<string, ListedSegment>;
}

const FETCHED_AT_ONCE = 16;
/** A log's end is a number of 64 bits. */
const OPEN_END = 1n << 63n;
const HISTORY = /^[0-9A-F]{8}\.history$/;

/** The way from a base to the newest stream of its log. Throws DAMAGED when nobody knows it. */
export async function findWay(
  session: LogReadSession,
  base: { readonly stream: LogStream; readonly start: LogPosition },
  newest: LogStream,
): Promise<WalWay> {
  const found: ListedSegment[] = [];
  // Its files come first, and every piece of a stream that forked says where.
  for await (const segment of session.list(newest, 0n, undefined)) {
    found.push(segment);
    if (segment.range.file === '') break;
  }
  const forks = forksOf(found, newest, base.stream);
  const parts = partsOf(base, { timeline: newest.timeline, end: OPEN_END }, forks);
  const histories = new Map<string, ListedSegment>();
  for (const segment of found) if (HISTORY.test(segment.range.file)) histories.set(segment.range.file, segment);
  return { systemIdentifier: newest.systemIdentifier, parts, histories };
}

/**
 * What is stored of a part behind `at`, in order; ends when there is no more now. Throws DAMAGED at a hole, and what the session throws.
 * @param neededFrom what lies before this was never stored: zeros stand for it
 */
export async function* storedFrom(
  session: LogReadSession,
  keys: KeyRing,
  { systemIdentifier }: WalWay,
  part: TimelinePart,
  at: bigint,
  neededFrom: bigint,
): AsyncGenerator<StoredPiece> {
  const stream = { systemIdentifier, timeline: part.timeline };
  let next = at;
  for await (const some of inGroups(session.list(stream, at, part.to), FETCHED_AT_ONCE)) {
    let index = 0;
    for await (const { id, envelope } of session.fetch(some.map((segment) => segment.id))) {
      const { range } = some[index++]!;
      const { plain } = keys.open(envelope, { id, kind: ObjectKind.logSegment });
      const bytes = Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength);
      if (BigInt(bytes.length) !== range.end.order - range.start.order) throw hole(range.start.order, part.timeline);
      if (range.start.order > next) {
        if (range.start.order > neededFrom) throw hole(next, part.timeline);
        yield { start: next, bytes: Buffer.alloc(Number(range.start.order - next)), completeToMs: 0 };
        next = range.start.order;
      }
      const to = range.end.order < part.to ? range.end.order : part.to;
      if (to <= next) continue;
      yield {
        start: next,
        bytes: bytes.subarray(Number(next - range.start.order), Number(to - range.start.order)),
        completeToMs: to === range.end.order ? range.completeToMs : 0,
      };
      next = to;
    }
  }
}

/** Pieces of the log alone, a few at a time. */
async function* inGroups(segments: AsyncIterable<ListedSegment>, most: number): AsyncGenerator<ListedSegment[]> {
  let group: ListedSegment[] = [];
  for await (const segment of segments) {
    if (segment.range.file !== '' || segment.range.start.order === segment.range.end.order) continue;
    group.push(segment);
    if (group.length < most) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

function hole(at: bigint, timeline: number): HoldfastError {
  return new HoldfastError('DAMAGED', `the log from ${formatLsn(at)} on timeline ${timeline} is not in the vault`, {
    details: { position: formatLsn(at) },
  });
}
