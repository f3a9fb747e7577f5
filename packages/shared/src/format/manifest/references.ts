// References of a node: chunks and segment-tree roots, each once, in order of first use, with plain length and proof.

import type { ChunkReference, NodeReference, PlacedChunk, PlacedNode } from './entry.ts';
import { ID_BYTES, MAX_CHUNK_BYTES, MAX_NODE_REFERENCES, PROOF_BYTES } from './limits.ts';
import { damaged, type WireReader, WireWriter } from './wire.ts';

/** Collects the references of a node that is being written. */
export class ReferenceWriter {
  readonly #ids = new WireWriter(4096);
  readonly #proofs = new WireWriter(2048);
  readonly #lengths: number[] = [];
  readonly #places = new Map<string, number>();
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
    message.packedField(1, this.#lengths);
    message.bytesField(2, this.#proofs.peek());
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

  /** `reader`: the ReferenceColumns message, undefined when it was left out. Throws DAMAGED. */
  constructor(node: Buffer, ids: Buffer, reader: WireReader | undefined) {
    if (ids.length % ID_BYTES !== 0 || ids.length > MAX_NODE_REFERENCES * ID_BYTES)
      throw damaged('wrong number of references');
    this.#node = node;
    this.#ids = ids;
    let lengths: readonly number[] = [];
    let proofs: Buffer = Buffer.alloc(0);
    while (reader?.nextField() === true) {
      if (reader.field === 1) lengths = reader.packed(MAX_NODE_REFERENCES, MAX_CHUNK_BYTES);
      else if (reader.field === 2) proofs = reader.slice();
      else reader.unknownField();
    }
    const count = ids.length / ID_BYTES;
    if (lengths.length !== count || proofs.length !== count * PROOF_BYTES) {
      throw damaged(`columns for ${lengths.length} references, but the node has ${count}`);
    }
    this.#lengths = lengths;
    this.#proofs = proofs;
  }

  get count(): number {
    return this.#lengths.length;
  }

  /** One object for each chunk, however often it is asked for. Throws DAMAGED when `index` is no chunk. */
  chunk(index: number): PlacedChunk {
    const plainLength = this.#lengths[index];
    if (plainLength === undefined || plainLength === 0) throw damaged(`reference ${index} is no chunk`);
    return (this.#chunks[index] ??= { ...this.#place(index), plainLength });
  }

  /** Throws DAMAGED when `index` is no segment-tree node. */
  tree(index: number): PlacedNode {
    if (this.#lengths[index] !== 0) throw damaged(`reference ${index} is no segment tree`);
    return this.#place(index);
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
