// Content of entries on its way from opened chunks to a file, or to a check.
//
// Hazard: a segment that is written where it does not belong, or not at all, leaves a file that looks whole. So every
// segment is bounded by its chunk and by the file's size, and the caller abandons the file when anything here throws.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { crc32cAfterZeros, crc32cRegister } from '@holdfast/shared/format/crc32c';
import { decodeXattrs } from '@holdfast/shared/format/manifest/xattrs';
import { statSize } from '@holdfast/shared/format/manifest/stat-record';
import type { OpenedChunks } from './opened-chunks.ts';
import type { Piece } from './piece.ts';
import type { EntryMetadata } from './target/restore-target.ts';
import type { FileContent } from './target/file-content.ts';

export type TagBytes = (bytes: Buffer) => Buffer;

/** A file of the target, by whoever has it open. */
export type WrittenContent = Pick<FileContent, 'write' | 'writeZeros' | 'makeHole'>;
export type ReadContent = Pick<FileContent, 'read'>;

/** The pieces of an entry whose segments stand in the leaf. Throws DAMAGED unless they add up to its size. */
export function piecesOf(entry: PlacedEntry): Piece[] {
  if (entry.content.kind === 'tree') throw new HoldfastError('INTERNAL', 'a segment tree where segments were expected');
  const size = statSize(entry.stat);
  const pieces: Piece[] = [];
  let position = 0;
  for (const segment of entry.content.segments) {
    pieces.push({ position, segment });
    position += segment.length;
  }
  if (position !== size) throw new HoldfastError('DAMAGED', `its segments have ${position} bytes, its size is ${size}`);
  return pieces;
}

/** Writes pieces into a new file. Data whose chunk was not supplied is taken from `existing`, where its tag must be the same. */
export function writePieces(
  file: WrittenContent,
  pieces: readonly Piece[],
  chunks: OpenedChunks,
  existing: ExistingContent | undefined,
): void {
  for (const { position, segment } of pieces) {
    if (segment.kind === 'data') {
      const fetched = existing === undefined || chunks.has(segment.chunk);
      const bytes = fetched ? chunks.bytesOf(segment) : existing.bytesAt(position, segment.length, segment.tag);
      file.write(bytes, 0, segment.length, position);
    } else if (segment.kind === 'zeros') file.writeZeros(position, segment.length);
    else file.makeHole(position, segment.length);
  }
}

/** Reads pieces and throws them away; where the entry has a tag of the piece it must match. Throws DAMAGED. */
export function checkPieces(pieces: readonly Piece[], chunks: OpenedChunks, tagOf: TagBytes): number {
  let bytes = 0;
  for (const { segment } of pieces) {
    bytes += segment.length;
    if (segment.kind !== 'data') continue;
    if (!tagOf(chunks.bytesOf(segment)).equals(segment.tag)) {
      throw new HoldfastError('DAMAGED', 'its content is not what its tag says');
    }
  }
  return bytes;
}

/** Register over pieces that follow each other, begun with 0 (format/crc32c.ts). */
export function checksumOf(pieces: readonly Piece[], chunks: OpenedChunks): number {
  let register = 0;
  for (const { segment } of pieces) {
    register =
      segment.kind === 'data'
        ? crc32cRegister(register, chunks.bytesOf(segment))
        : crc32cAfterZeros(register, segment.length);
  }
  return register;
}

/** A file that is there already, read and compared by tags. */
export class ExistingContent {
  readonly #file: ReadContent;
  readonly #tagOf: TagBytes;

  constructor(file: ReadContent, tagOf: TagBytes) {
    this.#file = file;
    this.#tagOf = tagOf;
  }

  /** Whether these bytes are there. Only their content counts: a hole that was filled with zeros is the same. */
  holds(piece: Piece): boolean {
    const { position, segment } = piece;
    if (segment.kind !== 'data') return this.#isZero(position, segment.length);
    const bytes = this.#read(position, segment.length);
    return bytes !== undefined && this.#tagOf(bytes).equals(segment.tag);
  }

  /** A view, valid until something else is read. Throws FAILED_PRECONDITION when they have changed since they were compared. */
  bytesAt(position: number, length: number, tag: Buffer): Buffer {
    const bytes = this.#read(position, length);
    if (bytes === undefined || !this.#tagOf(bytes).equals(tag)) {
      throw new HoldfastError('FAILED_PRECONDITION', 'it was changed by somebody else during the restore', {
        hint: 'Run the restore again once nothing else writes into the target.',
      });
    }
    return bytes;
  }

  #isZero(position: number, length: number): boolean {
    for (let done = 0; done < length; done += ZEROS.length) {
      const part = Math.min(ZEROS.length, length - done);
      const bytes = this.#read(position + done, part);
      if (bytes === undefined || bytes.compare(ZEROS, 0, part) !== 0) return false;
    }
    return true;
  }

  #read(position: number, length: number): Buffer | undefined {
    if (scratch.length < length) scratch = Buffer.allocUnsafeSlow(length);
    const bytes = scratch.subarray(0, length);
    return this.#file.read(bytes, 0, length, position) === length ? bytes : undefined;
  }
}

export function metadataOf(entry: PlacedEntry, chunks: OpenedChunks): EntryMetadata {
  return {
    stat: entry.stat,
    user: entry.user,
    group: entry.group,
    xattrs:
      entry.xattrs.kind === 'inline'
        ? entry.xattrs.list
        : decodeXattrs(Buffer.from(chunks.bytesOf(entry.xattrs.segment))),
    inodeFlags: entry.inodeFlags,
  };
}

/** For what is read of existing files; grows to the longest piece. New memory for each costs more than reading it. */
let scratch = Buffer.alloc(0);

const ZEROS = Buffer.alloc(1024 * 1024);
