// Cuts the log into the pieces that are stored: at a size, after a time, and at the end of each of the server's log files.
//
// Hazard: a piece that claims what is not in it. A commit belongs to the piece in which its record ends: only with that piece
// can it be replayed. Pieces follow each other without a byte between them or twice.
//
// Invariants (piece-cutter.property.test.ts): C1 the pieces put together are the bytes pushed from the start on; C2 no piece crosses
// a file's end, or is larger than asked; C3 each event is in the piece that its record ends in; C4 no piece has more than 64 marks.
//
// Pure: time is an argument.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { WalEvent, WalReader } from './wal-reader.ts';

export interface Piece {
  readonly start: bigint;
  readonly end: bigint;
  /** Nothing else lies in its memory. */
  readonly bytes: Buffer<ArrayBuffer>;
  /** Server's clock, Unix ms with a fraction. */
  readonly firstCommitAtMs: number | undefined;
  readonly lastCommitAtMs: number | undefined;
  readonly restorePoints: readonly string[];
  /** A file of the server's ends with it. */
  readonly endsFile: boolean;
}

export const MARKS_MAX = 64;
const FIRST_BYTES = 16 * 1024;

export class PieceCutter {
  readonly #reader: Pick<WalReader, 'feed'>;
  readonly #fileBytes: bigint;
  #pieceBytes: number;
  /** LSN of the next byte that is pushed. */
  #next: bigint;
  /** Of the open piece. */
  #start: bigint;
  #bytes: Buffer<ArrayBuffer> = Buffer.alloc(0);
  #length = 0;
  #openedAtMs = 0;
  #first: number | undefined;
  #last: number | undefined;
  #names: string[] = [];

  /**
   * @param start LSN from which on pieces are made
   * @param reader stands at `readFrom` ≤ `start`: what is pushed before `start` is only read
   */
  constructor(
    start: bigint,
    readFrom: bigint,
    reader: Pick<WalReader, 'feed'>,
    limits: { fileBytes: number; pieceBytes: number },
  ) {
    this.#start = start;
    this.#next = readFrom;
    this.#reader = reader;
    this.#fileBytes = BigInt(limits.fileBytes);
    this.#pieceBytes = limits.pieceBytes;
  }

  /** LSN of the next byte that is pushed. */
  get next(): bigint {
    return this.#next;
  }

  /** Bytes in the open piece. */
  get openBytes(): number {
    return this.#length;
  }

  /** When the open piece was begun; undefined: it is empty. */
  get openedAtMs(): number | undefined {
    return this.#length === 0 ? undefined : this.#openedAtMs;
  }

  /** Of the open piece; server's clock. */
  get firstCommitAtMs(): number | undefined {
    return this.#first;
  }

  /** For the pieces to come. */
  set pieceBytes(bytes: number) {
    this.#pieceBytes = bytes;
  }

  /**
   * The next bytes of the log, copied. Answers the pieces that they complete.
   * Throws PROTOCOL_VIOLATION for bytes that don't follow those before.
   */
  push(start: bigint, bytes: Buffer, nowMs: number): Piece[] {
    if (start !== this.#next) {
      throw new HoldfastError(
        'PROTOCOL_VIOLATION',
        'the server sent a part of its log that does not follow the last one',
      );
    }
    const events = this.#reader.feed(bytes);
    const pieces: Piece[] = [];
    const end = start + BigInt(bytes.length);
    this.#next = end;
    let at = start < this.#start ? this.#start : start;
    let index = 0;
    while (at < end) {
      const limit = this.#limit(end);
      let upTo = limit;
      for (; index < events.length && events[index]!.end <= limit; index++) {
        const event = events[index]!;
        if (event.end <= this.#start) continue;
        this.#note(event);
        if (this.#names.length < MARKS_MAX) continue;
        upTo = event.end;
        index++;
        break;
      }
      this.#append(bytes.subarray(Number(at - start), Number(upTo - start)), nowMs);
      at = upTo;
      const full = this.#length >= this.#pieceBytes || this.#names.length === MARKS_MAX;
      if (full || at % this.#fileBytes === 0n) pieces.push(this.flush()!);
    }
    return pieces;
  }

  /** Ends the open piece; undefined when it is empty. */
  flush(): Piece | undefined {
    if (this.#length === 0) return undefined;
    const end = this.#start + BigInt(this.#length);
    const piece: Piece = {
      start: this.#start,
      end,
      bytes: this.#bytes.subarray(0, this.#length),
      firstCommitAtMs: this.#first,
      lastCommitAtMs: this.#last,
      restorePoints: this.#names,
      endsFile: end % this.#fileBytes === 0n,
    };
    this.#start = end;
    this.#bytes = Buffer.alloc(0);
    this.#length = 0;
    this.#first = undefined;
    this.#last = undefined;
    this.#names = [];
    return piece;
  }

  /** Where the open piece must end at the latest, or `end`. */
  #limit(end: bigint): bigint {
    const bySize = this.#start + BigInt(Math.max(this.#pieceBytes, this.#length + 1));
    const byFile = this.#start - (this.#start % this.#fileBytes) + this.#fileBytes;
    const limit = bySize < byFile ? bySize : byFile;
    return limit < end ? limit : end;
  }

  #note(event: WalEvent): void {
    if (event.kind === 'restore-point') this.#names.push(event.name);
    if (event.kind !== 'commit') return;
    // Commits stand in the log nearly, but not exactly, in the order of their times.
    this.#first = this.#first === undefined ? event.atMs : Math.min(this.#first, event.atMs);
    this.#last = this.#last === undefined ? event.atMs : Math.max(this.#last, event.atMs);
  }

  #append(bytes: Buffer, nowMs: number): void {
    if (this.#length === 0) this.#openedAtMs = nowMs;
    const needed = this.#length + bytes.length;
    if (needed > this.#bytes.length) {
      const room = Math.max(needed, Math.min(this.#pieceBytes, Math.max(FIRST_BYTES, this.#bytes.length * 2)));
      const grown = Buffer.allocUnsafeSlow(room);
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    bytes.copy(this.#bytes, this.#length);
    this.#length = needed;
  }
}
