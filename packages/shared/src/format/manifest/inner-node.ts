// Inner nodes: children in order, each with its first path, its entry count and its bytes.

import type { ByteString } from '../../base/byte-string.ts';
import type { NodeReference } from './entry.ts';
import { closingOf, openNode } from './leaf-columns.ts';
import {
  CLOSING_PATH_BYTES,
  CLOSING_WEIGHT,
  ID_BYTES,
  MAX_INNER_CHILDREN,
  MAX_LEVEL,
  type NodeBounds,
  PROOF_BYTES,
} from './limits.ts';
import { CLOSED_BY_END, type Closing, NODE_FIELD } from './node-fields.ts';
import { lowerBound, PathWriter, readPaths } from './paths.ts';
import { damaged, type WireReader, WireWriter } from './wire.ts';

const FIELD = { level: 1, closing: 2, firstPaths: 3, entries: 4, totalBytes: 5, proofs: 6 } as const;

/** A node as its parent knows it. */
export interface Child extends NodeReference {
  readonly firstPath: ByteString;
  readonly entries: number;
  readonly totalBytes: number;
}

/** Most that a child takes in the payload, its path aside. */
const CHILD_WEIGHT = 64;

export class InnerWriter {
  readonly level: number;
  readonly #maxChildren: number;
  readonly #paths = new PathWriter();
  readonly #entries: number[] = [];
  readonly #totalBytes: number[] = [];
  readonly #ids = new WireWriter(8 * 1024);
  readonly #proofs = new WireWriter(4 * 1024);
  #weight = 0;
  #first: Child | undefined;

  constructor(level: number, { maxChildren }: NodeBounds) {
    this.level = level;
    this.#maxChildren = maxChildren;
  }

  get count(): number {
    return this.#entries.length;
  }

  /** The first child since the node began. */
  get first(): Child | undefined {
    return this.#first;
  }

  add(child: Child): void {
    this.#first ??= child;
    this.#weight += CHILD_WEIGHT + this.#paths.add(child.firstPath);
    this.#entries.push(child.entries);
    this.#totalBytes.push(child.totalBytes);
    this.#ids.raw(child.id);
    this.#proofs.raw(child.proof);
  }

  get full(): boolean {
    return (
      this.count >= this.#maxChildren ||
      this.#weight >= CLOSING_WEIGHT ||
      this.#paths.decodedBytes >= CLOSING_PATH_BYTES
    );
  }

  /** The node's bytes, and what its parent says of it. Begins a new node. */
  take(closing: Closing): { payload: Buffer; references: Buffer; proofs: Buffer; about: Omit<Child, 'id' | 'proof'> } {
    const inner = new WireWriter(16 * 1024);
    inner.uintField(FIELD.level, this.level);
    inner.uintField(FIELD.closing, closing);
    inner.bytesField(FIELD.firstPaths, this.#paths.peek());
    inner.packedField(FIELD.entries, this.#entries);
    inner.packedField(FIELD.totalBytes, this.#totalBytes);
    inner.bytesField(FIELD.proofs, this.#proofs.peek());
    const node = new WireWriter(inner.length + 8);
    node.element(NODE_FIELD.inner, inner.peek());
    const taken = {
      payload: node.copy(),
      references: this.#ids.copy(),
      proofs: this.#proofs.copy(),
      about: {
        firstPath: this.#first?.firstPath ?? '',
        entries: sum(this.#entries),
        totalBytes: sum(this.#totalBytes),
      },
    };
    for (const column of [this.#paths, this.#ids, this.#proofs]) column.clear();
    this.#entries.length = 0;
    this.#totalBytes.length = 0;
    this.#weight = 0;
    this.#first = undefined;
    return taken;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** An inner node that was read; checked as a whole when it is opened. */
export class InnerView {
  readonly id: Buffer;
  readonly level: number;
  readonly closing: Closing;
  /** Strictly ascending. */
  readonly firstPaths: readonly ByteString[];
  readonly #references: Buffer;
  readonly #entries: readonly number[];
  readonly #totalBytes: readonly number[];
  readonly #proofs: Buffer;

  /** Throws DAMAGED or PATH_ESCAPES. */
  constructor(id: Buffer, references: Buffer, reader: WireReader) {
    this.id = id;
    this.#references = references;
    let level = 0;
    let closing = 0;
    let paths: WireReader | undefined;
    let entries: readonly number[] = [];
    let totalBytes: readonly number[] = [];
    let proofs: Buffer = Buffer.alloc(0);
    while (reader.nextField()) {
      if (reader.field === FIELD.level) level = reader.uint(MAX_LEVEL);
      else if (reader.field === FIELD.closing) closing = reader.uint(CLOSED_BY_END);
      else if (reader.field === FIELD.firstPaths) paths = reader.nested();
      else if (reader.field === FIELD.entries) entries = reader.packed(MAX_INNER_CHILDREN, Number.MAX_SAFE_INTEGER);
      else if (reader.field === FIELD.totalBytes)
        totalBytes = reader.packed(MAX_INNER_CHILDREN, Number.MAX_SAFE_INTEGER);
      else if (reader.field === FIELD.proofs) proofs = reader.slice();
      else reader.unknownField();
    }
    const count = entries.length;
    if (count === 0 || totalBytes.length !== count) throw damaged('wrong columns of children');
    if (references.length !== count * ID_BYTES || proofs.length !== count * PROOF_BYTES) {
      throw damaged(`${count} children, but ${references.length / ID_BYTES} references`);
    }
    if (level === 0 || paths === undefined) throw damaged('an inner node without level or paths');
    this.level = level;
    this.closing = closingOf(closing);
    this.firstPaths = readPaths(paths, count);
    this.#entries = entries;
    this.#totalBytes = totalBytes;
    this.#proofs = proofs;
  }

  get count(): number {
    return this.#entries.length;
  }

  /** Entries of all children. */
  get entries(): number {
    return sum(this.#entries);
  }

  child(index: number): Child {
    const firstPath = this.firstPaths[index];
    if (firstPath === undefined) throw new RangeError(`child ${index} of ${this.count}`);
    return {
      id: this.#references.subarray(index * ID_BYTES, (index + 1) * ID_BYTES),
      proof: this.#proofs.subarray(index * PROOF_BYTES, (index + 1) * PROOF_BYTES),
      firstPath,
      entries: this.#entries[index]!,
      totalBytes: this.#totalBytes[index]!,
    };
  }

  /** The last child that begins at or before `path`; 0 when none does. */
  childHolding(path: ByteString): number {
    const at = lowerBound(this.firstPaths, path);
    return this.firstPaths[at] === path ? at : Math.max(0, at - 1);
  }
}

/** Opens a manifest node that may be of either sort. Throws DAMAGED. */
export function openInner(id: Buffer, references: Buffer, payload: Buffer): InnerView | undefined {
  const { kind, reader } = openNode(payload);
  return kind === NODE_FIELD.inner ? new InnerView(id, references, reader) : undefined;
}
