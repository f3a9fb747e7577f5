// A file as content-defined chunks, its bytes in order: what StreamWriter is given goes through the same cutter as a file that
// the scan reads.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { CHUNK_MAX_BYTES } from '@holdfast/shared/format/chunker';
import type { OpenFile } from '../assembler.ts';
import type { ChunkCutter } from '../chunk-cutter.ts';
import type { PreviousSegments } from '../previous-segments.ts';
import type { Slabs } from '../slabs.ts';
import type { EntryMetadata, OpenStream } from '../snapshot-writer.ts';
import type { ProducerProgress } from './progress.ts';

/** Bytes taken into the slab at once. */
const PIECE_BYTES = CHUNK_MAX_BYTES;

export interface StreamDeps {
  readonly cutter: ChunkCutter;
  readonly chunks: Slabs;
  readonly before: PreviousSegments | undefined;
  readonly progress: ProducerProgress;
  readonly throwIfCancelled: () => void;
  readonly onEnd: (metadata: EntryMetadata | undefined, size: number) => void;
}

export class StreamWriter implements OpenStream {
  readonly #path: ByteString;
  readonly #file: OpenFile;
  readonly #deps: StreamDeps;
  #ended = false;
  /** Where the first byte that is not yet cut stands. */
  #cutAt = 0;
  #length = 0;

  constructor(path: ByteString, file: OpenFile, deps: StreamDeps) {
    this.#path = path;
    this.#file = file;
    this.#deps = deps;
  }

  get length(): number {
    return this.#length;
  }

  write(bytes: Uint8Array): void {
    this.#check();
    const { chunks, progress } = this.#deps;
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + PIECE_BYTES - chunks.pending);
      chunks.room(part.length).set(part);
      chunks.filled(part.length);
      at += part.length;
      this.#length += part.length;
      progress.content(this.#path, part.length, part.length);
      if (chunks.pending >= PIECE_BYTES) this.#cut(false);
    }
  }

  skip(length: number, kind: 'hole' | 'zeros'): void {
    this.#check();
    if (length === 0) return;
    this.#cut(true);
    this.#deps.cutter.reset();
    this.#file.add({ kind, length });
    this.#length += length;
    this.#cutAt += length;
    this.#deps.progress.content(this.#path, length, 0);
  }

  end(metadata: EntryMetadata): void {
    this.#check();
    this.#cut(true);
    this.#ended = true;
    this.#deps.onEnd(metadata, this.#length);
  }

  abandon(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#deps.chunks.skipAll();
    this.#deps.onEnd(undefined, 0);
  }

  #cut(atEnd: boolean): void {
    const { cutter, before } = this.#deps;
    for (;;) {
      const segment = cutter.cut(atEnd, this.#cutAt, before);
      if (segment === undefined) return;
      this.#file.add(segment);
      this.#cutAt += segment.length;
    }
  }

  #check(): void {
    this.#deps.throwIfCancelled();
    if (this.#ended) throw new HoldfastError('INVALID_ARGUMENT', `"${this.#path}" has ended`);
  }
}
