// A page file: each page compared with what stood at its place in the previous snapshot, changed ones written.
//
// The file goes through in windows of 1 MiB. Page tags say what changed; the plan of a window (window-plan.ts) says what is
// written; extents of neighbouring windows are joined where they lie one behind the other in their chunk. An extent's own tag
// is that of its very bytes: of an old extent that is still whole it is known, else it is computed while the bytes are here.
//
// Invariants (page-stream.property.test.ts):
//   P1 whatever the sequence of updates, every snapshot gives back the file's bytes;
//   P2 what is stored is the changed pages and little else, until a window's extents pass their bound;
//   P3 no window has more extents than the bound, after any number of rounds;
//   P4 memory doesn't grow with the file (page-memory.test.ts).

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { TAG_BYTES, TagStream, writeTag } from '@holdfast/shared/format/tag';
import { zeroRunEnd } from '@holdfast/shared/format/zero-run';
import type { ChunkSlot, OpenFile, PendingSegment } from '../../assembler.ts';
import type { EntryMetadata, OpenStream } from '../../snapshot-writer.ts';
import type { ProducerProgress } from '../progress.ts';
import type { PageChunks } from './page-chunks.ts';
import type { OldExtent, PreviousPages } from './previous-pages.ts';
import { KEPT, NEW, type PageRun, planWindow, ZERO } from './window-plan.ts';

export const WINDOW_BYTES = 1024 * 1024;

export interface PageStreamDeps {
  readonly keys: DomainKeys;
  readonly pageBytes: number;
  readonly chunks: PageChunks;
  readonly before: PreviousPages | undefined;
  /** WINDOW_BYTES, used by one file at a time. */
  readonly window: Buffer;
  readonly progress: ProducerProgress;
  readonly throwIfCancelled: () => void;
  /** Adds the entry; the file has this size. */
  readonly onEnd: (metadata: EntryMetadata | undefined, size: number) => void;
}

/** An extent that the next piece may lengthen. */
interface OpenExtent {
  /** The slot, or the old chunk. */
  readonly of: object;
  readonly slot: ChunkSlot;
  readonly offset: number;
  readonly tag: TagStream;
  length: number;
}

export class PageStream implements OpenStream {
  readonly #path: ByteString;
  readonly #file: Pick<OpenFile, 'add'>;
  readonly #deps: PageStreamDeps;
  readonly #tags: Buffer;
  readonly #states: Uint8Array;
  readonly #pieces: Int32Array;
  /** File position of the window's first byte, and bytes in it. */
  #start = 0;
  #filled = 0;
  #extent: OpenExtent | undefined;
  #ended = false;

  constructor(path: ByteString, file: Pick<OpenFile, 'add'>, deps: PageStreamDeps) {
    const pages = WINDOW_BYTES / deps.pageBytes;
    this.#path = path;
    this.#file = file;
    this.#deps = deps;
    this.#tags = Buffer.allocUnsafe(pages * TAG_BYTES);
    this.#states = new Uint8Array(pages);
    this.#pieces = new Int32Array(pages);
  }

  get length(): number {
    return this.#start + this.#filled;
  }

  write(bytes: Uint8Array): void {
    this.#check();
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + this.#room());
      this.#deps.window.set(part, this.#filled);
      this.#took(part.length, part.length);
      at += part.length;
    }
  }

  skip(length: number, kind: 'hole' | 'zeros'): void {
    this.#check();
    const { pageBytes } = this.#deps;
    const toBoundary = (pageBytes - (this.length % pageBytes)) % pageBytes;
    let rest = length - this.#writeZeros(Math.min(length, toBoundary));
    const whole = rest - (rest % pageBytes);
    if (whole > 0) {
      this.#flush();
      this.#add({ kind, length: whole });
      this.#start += whole;
      this.#deps.progress.content(this.#path, whole, 0);
      rest -= whole;
    }
    this.#writeZeros(rest);
  }

  end(metadata: EntryMetadata): void {
    this.#check();
    this.#flush();
    this.#closeExtent();
    this.#deps.chunks.endFile();
    this.#ended = true;
    this.#deps.onEnd(metadata, this.length);
  }

  abandon(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#deps.onEnd(undefined, 0);
  }

  #check(): void {
    this.#deps.throwIfCancelled();
    if (this.#ended) throw new HoldfastError('INVALID_ARGUMENT', `"${this.#path}" has ended`);
  }

  /** Windows end at multiples of their size, wherever a hole began. */
  #room(): number {
    return WINDOW_BYTES - (this.#start % WINDOW_BYTES) - this.#filled;
  }

  #took(length: number, read: number): void {
    this.#filled += length;
    this.#deps.progress.content(this.#path, length, read);
    if (this.#room() === 0) this.#flush();
  }

  #writeZeros(length: number): number {
    for (let rest = length; rest > 0;) {
      const part = Math.min(rest, this.#room());
      this.#deps.window.fill(0, this.#filled, this.#filled + part);
      this.#took(part, 0);
      rest -= part;
    }
    return length;
  }

  /** Puts the window's pages where they belong. */
  #flush(): void {
    if (this.#filled === 0) return;
    this.#deps.throwIfCancelled();
    const extents = this.#compare();
    const pages = Math.ceil(this.#filled / this.#deps.pageBytes);
    for (const run of planWindow(this.#states, this.#pieces, pages)) this.#place(run, extents);
    this.#start += this.#filled;
    this.#filled = 0;
  }

  /** Sets the state of each page of the window; returns the old extents that `pieces` counts. */
  #compare(): OldExtent[] {
    const { keys, pageBytes, before, window } = this.#deps;
    const extents: OldExtent[] = [];
    for (let page = 0, at = 0; at < this.#filled; page++, at += pageBytes) {
      const end = Math.min(at + pageBytes, this.#filled);
      if (zeroRunEnd(window, at, end) === end) {
        this.#states[page] = ZERO;
        continue;
      }
      const tagAt = page * TAG_BYTES;
      writeTag(keys, window.subarray(at, end), this.#tags, tagAt);
      const old = before?.extentAt(this.#start + at, end - at);
      this.#states[page] = NEW;
      if (old === undefined) continue;
      if (extents.at(-1) !== old) extents.push(old);
      const oldAt = ((old.segment.offset + this.#start + at - old.start) / pageBytes) * TAG_BYTES;
      if (this.#tags.compare(old.tags, oldAt, oldAt + TAG_BYTES, tagAt, tagAt + TAG_BYTES) !== 0) continue;
      this.#states[page] = KEPT;
      this.#pieces[page] = extents.length - 1;
    }
    return extents;
  }

  #place(run: PageRun, extents: readonly OldExtent[]): void {
    const { pageBytes, chunks, window } = this.#deps;
    const at = run.at * pageBytes;
    const bytes = window.subarray(at, Math.min(at + run.pages * pageBytes, this.#filled));
    if (run.kind === ZERO) {
      this.#add({ kind: 'zeros', length: bytes.length });
    } else if (run.kind === NEW) {
      const tags = this.#tags.subarray(run.at * TAG_BYTES, (run.at + run.pages) * TAG_BYTES);
      const { slot, offset } = chunks.put(bytes, tags);
      this.#extend(slot, slot, offset, bytes);
    } else {
      const { segment, start } = extents[this.#pieces[run.at]!]!;
      const slot = { reference: segment.chunk };
      if (bytes.length === segment.length) {
        const { offset, length, tag } = segment;
        this.#add({ kind: 'data', slot, offset, length, tag });
      } else {
        this.#extend(segment.chunk, slot, segment.offset + this.#start + at - start, bytes);
      }
    }
  }

  #extend(of: object, slot: ChunkSlot, offset: number, bytes: Buffer): void {
    const open = this.#extent;
    if (open?.of === of && open.offset + open.length === offset) {
      open.tag.update(bytes);
      open.length += bytes.length;
      return;
    }
    this.#closeExtent();
    const tag = new TagStream(this.#deps.keys);
    tag.update(bytes);
    this.#extent = { of, slot, offset, tag, length: bytes.length };
  }

  #add(segment: PendingSegment): void {
    this.#closeExtent();
    this.#file.add(segment);
    this.#deps.chunks.countSegment();
  }

  #closeExtent(): void {
    const open = this.#extent;
    if (open === undefined) return;
    this.#extent = undefined;
    const { slot, offset, length, tag } = open;
    this.#add({ kind: 'data', slot, offset, length, tag: tag.finish() });
  }
}
