// Cuts a stream of content into chunks whose boundaries move with the content (signatures; see the class).
import type { DomainKeys } from './keys.ts';

export const CHUNK_MIN_BYTES = 256 * 1024;
export const CHUNK_AVERAGE_BYTES = 1024 * 1024;
export const CHUNK_MAX_BYTES = 4 * 1024 * 1024;
/** What `cut` answers when the boundary is not in sight and the stream goes on. */
export const NEED_MORE = -1;

/**
 * One file's content at a time, fed through any buffers. Boundaries depend on the content and the domain alone.
 *
 *     const chunker = new Chunker(gearTable(keys));
 *     end = chunker.cut(buffer, from, to, atEnd);
 *     if (end === NEED_MORE) …                       // keep [from, to), append what follows it, and call again with the same chunk's start
 *     else if (chunker.lastWasZeros) …               // [from, end) is zeros: a *zeros* segment (merge with one just before)
 *     else …                                         // [from, end) is a chunk
 */
export declare class Chunker {
  constructor(gear: Uint32Array);
  /** Whether the last piece that `cut` ended is all zeros (at least CHUNK_MIN_BYTES of them, counted over pieces that follow each other). */
  readonly lastWasZeros: boolean;
  /**
   * The end of the piece that begins at `from`. [from, to) are the bytes at hand, `atEnd` says that the file ends at `to`.
   * Answers NEED_MORE only if `to - from` < CHUNK_MAX_BYTES and not `atEnd`; then the next call must give the same bytes
   * again (they may have moved) and more. Bytes seen already are not hashed again. from === to only when atEnd: answers `to`.
   */
  cut(buffer: Buffer, from: number, to: number, atEnd: boolean): number;
  /** Forgets the stream: the next call begins a new file. */
  reset(): void;
}

/** The 256 words of the domain's gear table. */
export declare function gearTable(keys: DomainKeys): Uint32Array;
