// Puts the many small pieces of a log file together when it is complete, and the many of a quiet one now and then.
//
// Hazard: a database that commits once a second makes four pieces a second, 80,000 for a file of 16 MiB: each a row in the
// catalog and a fetch for a restore. So when more than PIECES_MAX pieces make up a file they are stored once more as one, which
// takes their place; and so are RUN_MAX of them before it is complete.
//
// Memory: the sealed (compressed) pieces of the open file are kept, at most GROUP_BYTES of plain ones. One merge at a time; while
// one runs, or much waits to be stored, the next group stays as it is.
//
// Invariants (piece-merger.test.ts): M1 a merged piece is the bytes of what it covers, stored pieces without a hole, of one file;
// M2 pieces that are not merged lose nothing.

import type { LogRange } from '@holdfast/shared/format/log-point';
import { MARKS_MAX } from './piece-cutter.ts';
import type { SealedBytes } from './vault-writer.ts';

export const PIECES_MAX = 8;
export const RUN_MAX = 256;
export const GROUP_BYTES = 16 * 1024 * 1024;

export interface StoredPiece {
  readonly envelope: Uint8Array;
  readonly range: LogRange;
}

/** One at a time. */
export type Merge = (pieces: readonly StoredPiece[]) => Promise<SealedBytes>;

export class PieceMerger {
  readonly #merge: Merge;
  readonly #merged: (sealed: SealedBytes, range: LogRange) => void;
  #pieces: StoredPiece[] = [];
  #sinceMerge = 0;
  #running = false;

  /** @param merged takes what a merge made; a merge that failed makes nothing */
  constructor(merge: Merge, merged: (sealed: SealedBytes, range: LogRange) => void) {
    this.#merge = merge;
    this.#merged = merged;
  }

  /** The sealed pieces that are kept. */
  get heldBytes(): number {
    return this.#pieces.reduce((sum, { envelope }) => sum + envelope.length, 0);
  }

  /** A piece, or one that was merged, is stored. @param endsFile nothing more comes for this file @param busy spare the vault */
  stored(piece: StoredPiece, endsFile: boolean, busy: boolean): void {
    if (piece.range.merged) {
      this.#replace(piece);
      return;
    }
    if (!this.#fits(piece)) this.#forget();
    this.#pieces.push(piece);
    this.#sinceMerge++;
    const due = endsFile ? this.#pieces.length > PIECES_MAX : this.#sinceMerge >= RUN_MAX;
    if (due && !this.#running && !busy) void this.#run(this.#pieces);
    if (endsFile) this.#forget();
  }

  #forget(): void {
    this.#pieces = [];
    this.#sinceMerge = 0;
  }

  #fits({ range }: StoredPiece): boolean {
    const first = this.#pieces[0];
    const last = this.#pieces.at(-1);
    if (first === undefined || last === undefined) return true;
    const follows = last.range.end.order === range.start.order && first.range.stream.timeline === range.stream.timeline;
    const marks = this.#pieces.reduce((sum, one) => sum + one.range.marks.length, range.marks.length);
    return follows && marks <= MARKS_MAX && range.end.order - first.range.start.order <= BigInt(GROUP_BYTES);
  }

  /** In the place of the pieces that it covers, unless they are forgotten. */
  #replace(merged: StoredPiece): void {
    const { start, end } = merged.range;
    const covered = this.#pieces.filter(
      ({ range }) => start.order <= range.start.order && range.end.order <= end.order,
    );
    if (covered.length === 0) return;
    this.#pieces = [merged, ...this.#pieces.slice(covered.length)];
    this.#sinceMerge = this.#pieces.length - 1;
  }

  async #run(pieces: readonly StoredPiece[]): Promise<void> {
    const own = [...pieces];
    this.#running = true;
    this.#sinceMerge = 0;
    try {
      this.#merged(await this.#merge(own), mergedRange(own));
    } catch {
      // The pieces are stored; they stay as they are.
    } finally {
      this.#running = false;
    }
  }
}

/** @param pieces in order, without a hole, at least one */
export function mergedRange(pieces: readonly StoredPiece[]): LogRange {
  const ranges = pieces.map(({ range }) => range);
  const first = ranges.map(({ firstCommitAtMs }) => firstCommitAtMs).filter((ms) => ms !== undefined);
  const last = ranges.map(({ lastCommitAtMs }) => lastCommitAtMs).filter((ms) => ms !== undefined);
  const { stream, start, ancestors } = ranges[0]!;
  return {
    stream,
    start,
    end: ranges.at(-1)!.end,
    file: '',
    firstCommitAtMs: first.length === 0 ? undefined : Math.min(...first),
    lastCommitAtMs: last.length === 0 ? undefined : Math.max(...last),
    completeToMs: Math.max(...ranges.map(({ completeToMs }) => completeToMs)),
    marks: ranges.flatMap(({ marks }) => marks),
    merged: true,
    ...(ancestors === undefined ? {} : { ancestors }),
  };
}
