// Files of a log, put together from the pieces that the vault has.
//
// A file of timeline T that begins before T left its parent holds the parent's bytes up to there, as the server's own files do. The
// last file is filled with zeros, which the server takes for the end of the log.
//
// Hazard: a piece that is damaged, or not there. What is before it is good, and nothing behind it may be replayed: from there on
// every file is missing, and the reader says why.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { freeMemory } from '@holdfast/shared/base/free-memory';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import type { LogFork, LogPosition, LogStream } from '@holdfast/shared/format/log-point';
import type { ListedSegment, LogReadSession } from '../../../link/log-port.ts';
import type { KeyRing } from '../../../restore/key-ring.ts';
import { fileStart, formatLsn, historyFileName, parseLsn, walFileName } from '../log/lsn.ts';

/** Positions [from, to) of a timeline. */
export interface TimelinePart {
  readonly timeline: number;
  readonly from: bigint;
  readonly to: bigint;
}

export interface WalFile {
  readonly name: string;
  readonly bytes: Buffer;
}

interface OpenedSegment {
  readonly segment: ListedSegment;
  readonly plain: Buffer;
}

const FETCHED_AT_ONCE = 16;
/** 16 TiB of log in files of 16 MiB. How far it reaches is the controller's word, and each file costs memory before any is read. */
const MAX_FILES = 1 << 20;
/** A name becomes one in the restored directory, and the vault is not trusted with where that is. */
const HISTORY = /^[0-9A-F]{8}\.history$/;

/** What a server asks for by name. */
export interface WalSource {
  /** In the order in which they are replayed. */
  readonly names: readonly string[];
  /** Those that are stored, of the timelines on the way. */
  readonly histories: readonly string[];
  /** undefined: there is none. Nothing else looks at its memory. Throws DAMAGED when a piece of it can't be had. */
  file(name: string): Promise<Buffer | undefined>;
  /**
   * Bytes around a file, on the way that leads through it: `offset` is counted from its beginning, and may be negative. Zeros where
   * there is nothing. Throws DAMAGED.
   */
  around(name: string, offset: number, length: number): Promise<Buffer>;
}

export interface WalOrder {
  readonly session: LogReadSession;
  readonly keys: KeyRing;
  readonly base: { readonly stream: LogStream; readonly start: LogPosition };
  readonly stream: LogStream;
  readonly end: LogPosition;
  readonly fileBytes: number;
}

/** Lists what there is; reads nothing yet. Throws DAMAGED when the way from the base is not known. */
export async function openWalSource(order: WalOrder): Promise<WalSource> {
  const { session, keys, base, stream, end, fileBytes } = order;
  const system = stream.systemIdentifier;
  const segments = new Map<number, ListedSegment[]>();
  const list = async (timeline: number, to: bigint | undefined): Promise<ListedSegment[]> => {
    const found: ListedSegment[] = [];
    const from = fileStart(base.start.order, fileBytes);
    for await (const segment of session.list({ systemIdentifier: system, timeline }, from, to)) found.push(segment);
    segments.set(timeline, found);
    return found;
  };
  const newest = await list(stream.timeline, end.order);
  const forks = forksOf(newest, stream, base.stream);
  const parts = partsOf(base, { timeline: stream.timeline, end: end.order }, forks);
  for (const { timeline, to } of parts) if (!segments.has(timeline)) await list(timeline, to);

  const read = async function* (found: readonly ListedSegment[]): AsyncGenerator<OpenedSegment, void, undefined> {
    for (let at = 0; at < found.length; at += FETCHED_AT_ONCE) {
      const some = found.slice(at, at + FETCHED_AT_ONCE);
      let index = 0;
      for await (const { id, envelope } of session.fetch(some.map((segment) => segment.id))) {
        const segment = some[index++]!;
        const { plain } = keys.open(envelope, { id, kind: ObjectKind.logSegment });
        freeMemory(envelope);
        yield { segment, plain };
      }
    }
  };

  const histories = new Map<string, ListedSegment>();
  for (const found of segments.values()) {
    for (const segment of found) if (HISTORY.test(segment.range.file)) histories.set(segment.range.file, segment);
  }
  const files = namesOf(parts, fileBytes);
  const bytesOf = async (timeline: number, start: bigint, length: number): Promise<Buffer> => {
    const bytes = Buffer.alloc(length);
    for (const part of partsWithin(parts, timeline, start, length)) {
      const pieces = (segments.get(part.timeline) ?? []).filter(
        ({ range }) => range.file === '' && range.end.order > part.from && range.start.order < part.to,
      );
      checkUnbroken(pieces, part, maximum(part.from, parts[0]!.from));
      for await (const { segment, plain } of read(pieces)) {
        copyPiece(bytes, start, part, segment, plain);
        freeMemory(plain);
      }
    }
    return bytes;
  };
  return {
    names: [...files.keys()],
    histories: [...histories.keys()],
    async file(name) {
      const history = histories.get(name);
      if (history !== undefined) {
        for await (const { plain } of read([history])) return plain;
        return undefined;
      }
      const wanted = files.get(name);
      return wanted === undefined ? undefined : bytesOf(wanted.timeline, wanted.start, fileBytes);
    },
    async around(name, offset, length) {
      const file = files.get(name);
      if (file === undefined) return Buffer.alloc(length);
      return bytesOf(file.timeline, maximum(file.start + BigInt(offset), 0n), length);
    },
  };
}

/** Where each timeline on the way was left: from the newest one's ancestors. */
export function forksOf(found: readonly ListedSegment[], stream: LogStream, base: LogStream): readonly LogFork[] {
  if (stream.timeline === base.timeline) return [];
  const known = found.map(({ range }) => range.ancestors).find((ancestors) => (ancestors?.length ?? 0) > 0);
  if (known === undefined) {
    throw new HoldfastError('DAMAGED', `nobody knows from where timeline ${stream.timeline} comes`, {
      hint: `Its history (${historyFileName(stream.timeline)}) is not in the vault: restore to a point on timeline ${base.timeline}.`,
    });
  }
  return known;
}

/** The way from the base to the end, oldest timeline first. Pure. */
export function partsOf(
  base: WalOrder['base'],
  target: { readonly timeline: number; readonly end: bigint },
  forks: readonly LogFork[],
): TimelinePart[] {
  const parts: TimelinePart[] = [];
  let { timeline, end } = target;
  for (;;) {
    const fork = timeline === base.stream.timeline ? undefined : forks.find((one) => one.parent.timeline < timeline);
    const from = fork === undefined ? base.start.order : fork.position.order;
    parts.unshift({ timeline, from, to: end });
    if (fork === undefined) break;
    timeline = fork.parent.timeline;
    end = from;
  }
  if (timeline !== base.stream.timeline) {
    throw new HoldfastError('DAMAGED', `timeline ${target.timeline} does not come from the base's`);
  }
  return parts;
}

interface FilePlace {
  readonly timeline: number;
  readonly start: bigint;
}

function namesOf(parts: readonly TimelinePart[], fileBytes: number): Map<string, FilePlace> {
  const files = new Map<string, FilePlace>();
  const wanted = parts.reduce((sum, { from, to }) => sum + maximum(to - from, 0n) / BigInt(fileBytes), 0n);
  if (wanted > MAX_FILES) {
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `the log to replay would be ${wanted} files, and ${MAX_FILES} is the most`,
      {
        hint: 'Restore from a newer base, or to an earlier point.',
      },
    );
  }
  for (const { timeline, from, to } of parts) {
    for (let start = fileStart(from, fileBytes); start < to; start += BigInt(fileBytes)) {
      files.set(walFileName(timeline, start, fileBytes), { timeline, start });
    }
  }
  return files;
}

/** What of the way up to a timeline lies there: its own part, and what came before on the timelines before. */
function partsWithin(parts: readonly TimelinePart[], newest: number, start: bigint, length: number): TimelinePart[] {
  const end = start + BigInt(length);
  return parts
    .filter(({ timeline }) => timeline <= newest)
    .map(({ timeline, from, to }) => ({
      timeline,
      // The base begins within a file, and the server reads that file from its start.
      from: maximum(timeline === parts[0]!.timeline ? start : from, start),
      to: minimum(to, end),
    }))
    .filter(({ from, to }) => from < to);
}

/**
 * Throws DAMAGED when pieces are missing: zeros in their place would be taken for the log's end.
 * @param neededFrom before the base's own start nothing is needed
 */
function checkUnbroken(pieces: readonly ListedSegment[], part: TimelinePart, neededFrom: bigint): void {
  let at = neededFrom;
  for (const { range } of pieces) {
    if (range.start.order > at) break;
    at = maximum(at, range.end.order);
  }
  if (at >= part.to) return;
  throw new HoldfastError('DAMAGED', `the log from ${formatLsn(at)} on timeline ${part.timeline} is not in the vault`, {
    details: { position: formatLsn(at) },
  });
}

function copyPiece(into: Buffer, startsAt: bigint, part: TimelinePart, segment: ListedSegment, plain: Buffer): void {
  const { start } = segment.range;
  if (BigInt(plain.length) !== segment.range.end.order - start.order) {
    throw new HoldfastError('DAMAGED', `the log at ${start.text} is not as long as it should be`, {
      details: { position: start.text },
    });
  }
  const from = maximum(start.order, part.from);
  const to = minimum(segment.range.end.order, part.to);
  plain.copy(into, Number(from - startsAt), Number(from - start.order), Number(to - start.order));
}

function maximum(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
function minimum(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** Where an error says that the log stops being good; undefined when it says nothing. */
export function damagedAt(error: HoldfastError): bigint | undefined {
  const position = error.details['position'];
  return typeof position === 'string' ? parseLsn(position) : undefined;
}
