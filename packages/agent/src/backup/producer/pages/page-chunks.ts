// Chunks of pages on their way, and the tags of their pages.
//
// A long run is a chunk of its own. Short runs collect in a shared one, and go on in it with the next file as long as it is
// small: a backup of a thousand tables with a changed page each is some hundred chunks. Not fewer: files come in another order
// than they are restored in, and each fetches the chunk that its page is in. A segment may be handed on when its chunk is sealed *and* the
// page-tag node that has its list is: until then its slot has no reference.
//
// Invariants (page-stream.property.test.ts): the lists of a node are those of the chunks that refer to it, page by page; what
// waits here is bounded, however little of a file changed.

import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { BuilderPorts } from '@holdfast/shared/format/manifest/builder';
import type { ChunkReference, PageTagsReference } from '@holdfast/shared/format/manifest/entry';
import { encodePageTags, MAX_PAGE_TAG_LISTS } from '@holdfast/shared/format/page-map';
import { TAG_BYTES } from '@holdfast/shared/format/tag';
import type { ChunkSlot } from '../../assembler.ts';
import type { SealingLane } from '../../sealing-lane.ts';
import type { Slabs } from '../../slabs.ts';

export const PAGE_CHUNK_BYTES = 1024 * 1024;
/** A run of at least this is a chunk of its own. */
const OWN_CHUNK_BYTES = 256 * 1024;
/** At a file's end a shared chunk is closed from here on. */
const SHARED_BY_FILES_BYTES = 64 * 1024;
/** A page-tag node is closed from here on: 64 KiB of tags, so that a few of them are at hand for little memory. */
const TAGGED_PAGES = 4_096;
/** Segments that may wait for a chunk or its tags before these are closed early. */
const MOST_WAITING = 8_192;

const NOTHING = Buffer.alloc(0);

/** Where bytes were put. */
export interface PagePlace {
  readonly slot: ChunkSlot;
  readonly offset: number;
}

export interface PageChunksDeps {
  readonly keys: DomainKeys;
  readonly lane: Pick<SealingLane, 'submit'>;
  readonly chunks: Slabs;
  readonly ports: BuilderPorts;
  /** Slots got their references. */
  readonly onTagged: () => void;
}

export class PageChunks {
  readonly #deps: PageChunksDeps;
  readonly #shared = Buffer.allocUnsafeSlow(PAGE_CHUNK_BYTES);
  #sharedLength = 0;
  #sharedTags: Buffer[] = [];
  #sharedSlot = new PageSlot();
  #pageBytes = 0;
  /** Of the page-tag node that is open. */
  #lists: Buffer[] = [];
  #slots: PageSlot[] = [];
  #pages = 0;
  #waiting = 0;

  constructor(deps: PageChunksDeps) {
    this.#deps = deps;
  }

  /** What comes has pages of this size. */
  begin(pageBytes: number): void {
    if (pageBytes !== this.#pageBytes) this.close();
    this.#pageBytes = pageBytes;
  }

  /** Takes whole pages (the last may be a file's short one), at most 1 MiB, with their tags. */
  put(bytes: Buffer, tags: Buffer): PagePlace {
    if (bytes.length >= OWN_CHUNK_BYTES) {
      const slot = new PageSlot();
      this.#seal(slot, bytes, Buffer.from(tags));
      return { slot, offset: 0 };
    }
    if (this.#sharedLength + bytes.length > PAGE_CHUNK_BYTES) this.#closeShared();
    const place = { slot: this.#sharedSlot, offset: this.#sharedLength };
    this.#shared.set(bytes, this.#sharedLength);
    this.#sharedLength += bytes.length;
    this.#sharedTags.push(Buffer.from(tags));
    // Behind a short page nothing would stand on a page boundary.
    if (bytes.length % this.#pageBytes !== 0) this.#closeShared();
    return place;
  }

  /** A segment was given to the assembler, which may have to wait. */
  countSegment(): void {
    const pending = this.#sharedLength > 0 || this.#lists.length > 0;
    this.#waiting = pending ? this.#waiting + 1 : 0;
    if (this.#waiting > MOST_WAITING) this.close();
  }

  /** What comes is of another file. */
  endFile(): void {
    if (this.#sharedLength >= SHARED_BY_FILES_BYTES) this.#closeShared();
  }

  /** Gives everything to be sealed. */
  close(): void {
    this.#closeShared();
    this.#closeTags();
  }

  #closeShared(): void {
    if (this.#sharedLength === 0) return;
    const slot = this.#sharedSlot;
    const length = this.#sharedLength;
    const tags = Buffer.concat(this.#sharedTags);
    this.#sharedSlot = new PageSlot();
    this.#sharedLength = 0;
    this.#sharedTags = [];
    this.#seal(slot, this.#shared.subarray(0, length), tags);
  }

  #seal(slot: PageSlot, bytes: Buffer, tags: Buffer): void {
    const { chunks, lane } = this.#deps;
    this.#lists.push(tags);
    this.#slots.push(slot);
    this.#pages += tags.length / TAG_BYTES;
    chunks.room(bytes.length).set(bytes);
    chunks.filled(bytes.length);
    lane.submit(chunks, chunks.lend(bytes.length), slot.chunk);
    if (this.#pages >= TAGGED_PAGES || this.#lists.length >= MAX_PAGE_TAG_LISTS) this.#closeTags();
  }

  #closeTags(): void {
    if (this.#lists.length === 0) return;
    const { ports, onTagged } = this.#deps;
    const payload = encodePageTags({ pageBytes: this.#pageBytes, lists: this.#lists });
    const sealed = ports.sealNode(NOTHING, payload);
    // What was sealed may be handed over, and its bytes be gone.
    const node = { id: sealed.id, proof: sealed.proof };
    ports.onNode({ kind: 'page-tags', sealed, references: NOTHING, proofs: NOTHING, payload });
    for (const [list, slot] of this.#slots.entries()) slot.pageTags = { node, list };
    this.#lists = [];
    this.#slots = [];
    this.#pages = 0;
    this.#waiting = 0;
    onTagged();
  }
}

/** Has a reference once its chunk and its tags have one. */
class PageSlot implements ChunkSlot {
  readonly chunk: ChunkSlot = { reference: undefined };
  pageTags: PageTagsReference | undefined;
  #reference: ChunkReference | undefined;

  get reference(): ChunkReference | undefined {
    const { reference } = this.chunk;
    if (reference === undefined || this.pageTags === undefined) return undefined;
    return (this.#reference ??= { ...reference, pageTags: this.pageTags });
  }
}
