// What stood at each page of a file in the previous snapshot: its extents in order, and the tags of their pages.
//
// Hazard: a tag taken from the wrong place makes a changed page look unchanged. So only extents are compared whose chunk has
// page tags for pages of the same size, and which lie on page boundaries in the file and in the chunk.
//
// Bounded: one extent at a time, and the page-tag nodes used last.

import type { Content, DataSegment, PlacedChunk, PlacedNode, Segment } from '@holdfast/shared/format/manifest/entry';
import { streamSync, type SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree';
import { decodePageTags, type PageTagLists } from '@holdfast/shared/format/page-map';
import { TAG_BYTES } from '@holdfast/shared/format/tag';

/** Page-tag nodes at hand: 64 KiB each, mostly. A window of a file has pages of as many backups as it has nodes here. */
const NODES_KEPT = 128;

/** Page-tag nodes by id, decoded; those used last are kept. */
export class PageTagStore {
  readonly #store: SyncNodeStore;
  readonly #kept = new Map<string, PageTagLists>();

  constructor(store: SyncNodeStore) {
    this.#store = store;
  }

  /** The tags of a chunk's pages; undefined when it has none, or for pages of another size. Throws a cache miss, or DAMAGED. */
  tagsOf(chunk: PlacedChunk, pageBytes: number): Buffer | undefined {
    const { pageTags } = chunk;
    if (pageTags === undefined) return undefined;
    const { id, proof, node: parent, index } = pageTags.node;
    const key = id.toString('latin1');
    const lists = this.#kept.get(key) ?? decodePageTags(this.#store.load({ id, proof, parent, index }).payload);
    this.#kept.delete(key);
    this.#kept.set(key, lists);
    if (this.#kept.size > NODES_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    const tags = lists.lists[pageTags.list];
    const pages = Math.ceil(chunk.plainLength / pageBytes);
    return lists.pageBytes === pageBytes && tags?.length === pages * TAG_BYTES ? tags : undefined;
  }
}

/** An old extent that pages can be compared with. */
export interface OldExtent {
  readonly segment: DataSegment<PlacedChunk>;
  /** Where it stands in the file. */
  readonly start: number;
  /** Of all pages of its chunk. */
  readonly tags: Buffer;
}

export class PreviousPages {
  readonly #segments: Iterator<Segment<PlacedChunk>>;
  readonly #store: PageTagStore;
  readonly #pageBytes: number;
  #segment: Segment<PlacedChunk> | undefined;
  #start = 0;
  /** The current segment as an extent to compare with; undefined when it is none; `false`: not looked at yet. */
  #extent: OldExtent | undefined | false = false;

  constructor(
    nodes: SyncNodeStore,
    store: PageTagStore,
    previous: { readonly content: Content<PlacedChunk, PlacedNode>; readonly size: number },
    pageBytes: number,
  ) {
    this.#segments = streamSync(nodes, readSegments(previous.content, previous.size));
    this.#store = store;
    this.#pageBytes = pageBytes;
    this.#advance(0);
  }

  /** The old extent that has all of the page at `position`, `length` bytes long. Positions only grow. */
  extentAt(position: number, length: number): OldExtent | undefined {
    while (this.#segment !== undefined && this.#start + this.#segment.length <= position) {
      this.#advance(this.#start + this.#segment.length);
    }
    const segment = this.#segment;
    if (segment?.kind !== 'data' || this.#start > position || this.#start + segment.length < position + length) {
      return undefined;
    }
    if (this.#extent === false) this.#extent = this.#comparable(segment);
    if (this.#extent === undefined) return undefined;
    const inChunk = segment.offset + position - this.#start;
    const pageLength = Math.min(this.#pageBytes, segment.chunk.plainLength - inChunk);
    return pageLength === length ? this.#extent : undefined;
  }

  #comparable(segment: DataSegment<PlacedChunk>): OldExtent | undefined {
    const aligned = this.#start % this.#pageBytes === 0 && segment.offset % this.#pageBytes === 0;
    const tags = aligned ? this.#store.tagsOf(segment.chunk, this.#pageBytes) : undefined;
    return tags === undefined ? undefined : { segment, start: this.#start, tags };
  }

  #advance(start: number): void {
    const step = this.#segments.next();
    this.#segment = step.done === true ? undefined : step.value;
    this.#start = start;
    this.#extent = false;
  }
}
