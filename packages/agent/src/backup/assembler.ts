// Assembler: entries come in scan order with content that is still being sealed; they go to the manifest in the same order,
// each as soon as all of its chunks have ids.
//
// Hazard: the manifest must be built in path order, while sealing answers late and out of order. Waiting for each answer
// would stop the scan; building out of order would build another tree.
//
// Invariants (assembler.test.ts):
//   A1 entries reach the builder in exactly the order in which they were given;
//   A2 what waits here is bounded by the bytes in flight: a file's segments are handed on as they become known, so a file of
//      any size costs no more than its chunks in flight.

import type {
  ChunkReference,
  Content,
  DataSegment,
  EmptySegment,
  Entry,
  Xattrs,
} from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';

/** A chunk that is being sealed, or one that the base already had. */
export interface ChunkSlot {
  reference: ChunkReference | undefined;
}

export type PendingSegment =
  | {
      readonly kind: 'data';
      readonly slot: ChunkSlot;
      readonly offset: number;
      readonly length: number;
      readonly tag: Buffer;
    }
  | EmptySegment;

/** What the manifest's builders offer here (ManifestBuilder and ContentBuilder of the format). */
export interface ManifestSink {
  add(entry: Entry, knownInside: boolean): void;
  keep(leaf: LeafView, index: number): void;
}
export interface ContentSink {
  add(segment: DataSegment | EmptySegment): void;
  finish(): Content;
}

/** Content of a file that has another name further on: filled when the first name is handed on. */
export interface SharedContent {
  content: Content | undefined;
}

/** What an entry still waits for besides the entries before it. */
export interface Awaited {
  /** Its extended attributes went to a chunk of their own. */
  readonly xattrs?: ChunkSlot | undefined;
  /** Another name of an inode whose content is (being) handed on. */
  readonly content?: SharedContent;
}

/** A file whose content is being read: give its segments in order, then `complete`. */
export interface OpenFile {
  readonly shared: SharedContent;
  add(segment: PendingSegment): void;
  /** The entry, without its content. */
  complete(entry: Entry, knownInside: boolean): void;
  /** The file can't be kept after all (unreadable, vanished). */
  abandon(): void;
  /** Forgets the segments given so far that were not handed on; false when some already were. */
  restart(): boolean;
}

interface Waiting {
  readonly kind: 'keep' | 'entry' | 'file';
  readonly leaf?: LeafView;
  readonly index?: number;
  readonly segments: PendingSegment[];
  handedOn: number;
  entry: Entry | undefined;
  knownInside: boolean;
  abandoned: boolean;
  xattrs: ChunkSlot | undefined;
  /** Where the content comes from (another name), or where it goes to (a file). */
  shared: SharedContent | undefined;
}

export class Assembler {
  readonly #manifest: ManifestSink;
  readonly #content: ContentSink;
  readonly #waiting: Waiting[] = [];

  constructor(manifest: ManifestSink, content: ContentSink) {
    this.#manifest = manifest;
    this.#content = content;
  }

  /** Entries not yet handed on. */
  get waiting(): number {
    return this.#waiting.length;
  }

  keep(leaf: LeafView, index: number): void {
    if (this.#waiting.length === 0) this.#manifest.keep(leaf, index);
    else this.#waiting.push({ ...blank(), kind: 'keep', leaf, index });
  }

  /** An entry that is complete but for what it awaits. */
  add(entry: Entry, knownInside: boolean, awaited: Awaited = {}): void {
    const { xattrs, content: shared } = awaited;
    if (this.#waiting.length === 0 && xattrs === undefined && shared === undefined) {
      this.#manifest.add(entry, knownInside);
      return;
    }
    this.#waiting.push({ ...blank(), kind: 'entry', entry, knownInside, xattrs, shared });
    this.drain();
  }

  openFile(xattrs?: ChunkSlot): OpenFile {
    const shared: SharedContent = { content: undefined };
    const waiting: Waiting = { ...blank(), kind: 'file', xattrs, shared };
    this.#waiting.push(waiting);
    return {
      shared,
      add: (segment) => void waiting.segments.push(segment),
      complete(entry, knownInside) {
        waiting.entry = entry;
        waiting.knownInside = knownInside;
      },
      abandon() {
        waiting.segments.length = 0;
        waiting.abandoned = true;
      },
      restart() {
        if (waiting.handedOn > 0) return false;
        waiting.segments.length = 0;
        return true;
      },
    };
  }

  /** Hands on all that can be. Call it when slots were filled. */
  drain(): void {
    let done = 0;
    while (done < this.#waiting.length && this.#handOn(this.#waiting[done]!)) done++;
    if (done > 0) this.#waiting.splice(0, done);
  }

  /** Whether this entry is through, so that the next may follow. */
  #handOn(waiting: Waiting): boolean {
    if (waiting.kind === 'keep') {
      this.#manifest.keep(waiting.leaf!, waiting.index!);
      return true;
    }
    if (waiting.abandoned) {
      // The builder of contents begins anew with every file; what it got of this one is dropped.
      if (waiting.handedOn > 0) this.#content.finish();
      return true;
    }
    if (waiting.kind === 'file' && !this.#handOnSegments(waiting)) return false;
    if (waiting.entry === undefined) return false;
    const xattrs = withChunk(waiting.entry.xattrs, waiting.xattrs);
    if (xattrs === undefined) return false;
    let content = waiting.entry.content;
    if (waiting.kind === 'file') {
      content = this.#content.finish();
      waiting.shared!.content = content;
    } else if (waiting.shared !== undefined) {
      // The first name came before this one, so it was handed on; without content it was given up, and so is this.
      if (waiting.shared.content === undefined) return true;
      content = waiting.shared.content;
    }
    this.#manifest.add({ ...waiting.entry, xattrs, content }, waiting.knownInside);
    return true;
  }

  #handOnSegments(waiting: Waiting): boolean {
    const { segments } = waiting;
    // A small file may still be read again from its start: nothing of it is handed on before it is complete.
    if (waiting.entry === undefined && segments.length <= SEGMENTS_HELD) return false;
    let next = 0;
    for (; next < segments.length; next++) {
      const segment = segments[next]!;
      if (segment.kind !== 'data') {
        this.#content.add(segment);
        continue;
      }
      const chunk = segment.slot.reference;
      if (chunk === undefined) break;
      this.#content.add({ kind: 'data', chunk, offset: segment.offset, length: segment.length, tag: segment.tag });
    }
    segments.splice(0, next);
    waiting.handedOn += next;
    return segments.length === 0;
  }
}

/** Files of up to this many segments (64 MiB at the average chunk) can be read again when they change meanwhile. */
const SEGMENTS_HELD = 64;

function blank(): Omit<Waiting, 'kind'> {
  return {
    segments: [],
    handedOn: 0,
    entry: undefined,
    knownInside: false,
    abandoned: false,
    xattrs: undefined,
    shared: undefined,
  };
}

function withChunk(xattrs: Xattrs, slot: ChunkSlot | undefined): Xattrs | undefined {
  if (slot === undefined || xattrs.kind !== 'chunk') return xattrs;
  if (slot.reference === undefined) return undefined;
  return { kind: 'chunk', segment: { ...xattrs.segment, chunk: slot.reference } };
}
