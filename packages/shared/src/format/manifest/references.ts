// References of a node: chunks, segment-tree roots and page-tag nodes, each once, in order of first use, with plain length and
// proof; and for chunks written page by page which page-tag node has their tags.

import type { ChunkReference, NodeReference, PageTagsReference, PlacedChunk, PlacedNode } from './entry.ts';
import { ID_BYTES, MAX_CHUNK_BYTES, MAX_NODE_REFERENCES, MAX_PAGE_TAG_LISTS, PROOF_BYTES } from './limits.ts';
import { REFERENCES_FIELD } from './node-fields.ts';
import { damaged, type WireReader, WireWriter } from './wire.ts';

/** Collects the references of a node that is being written. */
export class ReferenceWriter {
  readonly #ids = new WireWriter(4096);
  readonly #proofs = new WireWriter(2048);
  readonly #lengths: number[] = [];
  readonly #places = new Map<string, number>();
  /** By the chunk's place: the page-tag node's place, and the list. */
  readonly #pageTags = new Map<number, { readonly node: number; readonly list: number }>();
  /** Neighbours mostly share one bundle. */
  #lastChunk: ChunkReference | undefined;
  #lastPlace = 0;

  get count(): number {
    return this.#lengths.length;
  }

  /** Place of this chunk, added if it is new. */
  chunk(chunk: ChunkReference): number {
    if (chunk !== this.#lastChunk) {
      this.#lastPlace = this.#place(chunk, chunk.plainLength);
      this.#lastChunk = chunk;
      const { pageTags } = chunk;
      if (pageTags !== undefined && !this.#pageTags.has(this.#lastPlace)) {
        this.#pageTags.set(this.#lastPlace, { node: this.#place(pageTags.node, 0), list: pageTags.list });
      }
    }
    return this.#lastPlace;
  }

  tree(root: NodeReference): number {
    return this.#place(root, 0);
  }

  #place(reference: NodeReference, plainLength: number): number {
    const key = reference.id.toString('latin1');
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const place = this.#lengths.length;
    this.#places.set(key, place);
    this.#ids.raw(reference.id);
    this.#proofs.raw(reference.proof);
    this.#lengths.push(plainLength);
    return place;
  }

  /** The message's bytes; empty without references. */
  encode(message: WireWriter): void {
    message.packedField(REFERENCES_FIELD.plainLength, this.#lengths);
    message.bytesField(REFERENCES_FIELD.proofs, this.#proofs.peek());
    const paged = [...this.#pageTags].toSorted(([a], [b]) => a - b);
    const column = (field: number, of: (row: (typeof paged)[number]) => number) =>
      message.packedField(field, paged.map(of));
    column(REFERENCES_FIELD.paged, ([place]) => place);
    column(REFERENCES_FIELD.pageTagNode, ([, { node }]) => node);
    column(REFERENCES_FIELD.pageTagList, ([, { list }]) => list);
  }

  copyIds(): Buffer {
    return this.#ids.copy();
  }

  copyProofs(): Buffer {
    return this.#proofs.copy();
  }

  clear(): void {
    this.#ids.clear();
    this.#proofs.clear();
    this.#lengths.length = 0;
    this.#places.clear();
    this.#pageTags.clear();
    this.#lastChunk = undefined;
  }
}

/** References of a node that is being read. */
export class ReferenceTable {
  readonly #node: Buffer;
  readonly #ids: Buffer;
  readonly #lengths: readonly number[];
  readonly #proofs: Buffer;
  readonly #chunks: (PlacedChunk | undefined)[] = [];
  readonly #pageTags: ReadonlyMap<number, PageTagsReference<PlacedNode>>;

  /** `reader`: the ReferenceColumns message, undefined when it was left out. Throws DAMAGED. */
  constructor(node: Buffer, ids: Buffer, reader: WireReader | undefined) {
    if (ids.length % ID_BYTES !== 0 || ids.length > MAX_NODE_REFERENCES * ID_BYTES)
      throw damaged('wrong number of references');
    this.#node = node;
    this.#ids = ids;
    let lengths: readonly number[] = [];
    let proofs: Buffer = Buffer.alloc(0);
    const paged = new Map<number, readonly number[]>();
    while (reader?.nextField() === true) {
      const { field } = reader;
      if (field === REFERENCES_FIELD.plainLength) lengths = reader.packed(MAX_NODE_REFERENCES, MAX_CHUNK_BYTES);
      else if (field === REFERENCES_FIELD.proofs) proofs = reader.slice();
      else if (field <= REFERENCES_FIELD.pageTagNode)
        paged.set(field, reader.packed(lengths.length, lengths.length - 1));
      else if (field === REFERENCES_FIELD.pageTagList)
        paged.set(field, reader.packed(lengths.length, MAX_PAGE_TAG_LISTS - 1));
      else reader.unknownField();
    }
    const count = ids.length / ID_BYTES;
    if (lengths.length !== count || proofs.length !== count * PROOF_BYTES) {
      throw damaged(`columns for ${lengths.length} references, but the node has ${count}`);
    }
    this.#lengths = lengths;
    this.#proofs = proofs;
    this.#pageTags = this.#readPageTags(paged);
  }

  get count(): number {
    return this.#lengths.length;
  }

  /** One object for each chunk, however often it is asked for. Throws DAMAGED when `index` is no chunk. */
  chunk(index: number): PlacedChunk {
    const plainLength = this.#lengths[index];
    if (plainLength === undefined || plainLength === 0) throw damaged(`reference ${index} is no chunk`);
    const pageTags = this.#pageTags.get(index);
    const chunk = { ...this.#place(index), plainLength };
    return (this.#chunks[index] ??= pageTags === undefined ? chunk : { ...chunk, pageTags });
  }

  /** Throws DAMAGED when `index` is no segment-tree node. */
  tree(index: number): PlacedNode {
    if (this.#lengths[index] !== 0) throw damaged(`reference ${index} is no segment tree`);
    return this.#place(index);
  }

  #readPageTags(columns: ReadonlyMap<number, readonly number[]>): ReadonlyMap<number, PageTagsReference<PlacedNode>> {
    const paged = columns.get(REFERENCES_FIELD.paged) ?? [];
    const nodes = columns.get(REFERENCES_FIELD.pageTagNode) ?? [];
    const lists = columns.get(REFERENCES_FIELD.pageTagList) ?? [];
    if (nodes.length !== paged.length || lists.length !== paged.length) throw damaged('wrong columns of page tags');
    const found = new Map<number, PageTagsReference<PlacedNode>>();
    let last = -1;
    for (const [i, index] of paged.entries()) {
      if (index <= last || this.#lengths[index] === 0) throw damaged('page tags for what is no chunk, or out of order');
      last = index;
      const node = nodes[i]!;
      if (this.#lengths[node] !== 0) throw damaged(`reference ${node} is no page-tag node`);
      found.set(index, { node: this.#place(node), list: lists[i]! });
    }
    return found;
  }

  #place(index: number): PlacedNode {
    return {
      id: this.#ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES),
      proof: this.#proofs.subarray(index * PROOF_BYTES, (index + 1) * PROOF_BYTES),
      node: this.#node,
      index,
    };
  }
}
