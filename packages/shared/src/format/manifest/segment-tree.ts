// Content of one file: collects its segments, keeps up to eight for the leaf, and makes a segment tree of more.
//
// The tree's nodes end where a keyed hash of a segment's tag is small: a changed block of a large file gives one new node
// and new ancestors, and a file of any size fits. Memory doesn't grow with the file.
//
// Invariants (segment-tree.property.test.ts): the segments come back as they went in; the nodes depend on the segments
// alone; changing one changes one node of each level; no node is beyond its limits.
//
// Reading one is in segment-tree-reader.ts, and exported from here as well.

import { HoldfastError } from '../../base/errors.ts';
import { BoundaryHash } from './boundary.ts';
import type { BuilderPorts, NodeKind } from './builder.ts';
import { type Content, NO_CONTENT, type NodeReference, type Segment } from './entry.ts';
import { segmentFault } from './entry-check.ts';
import {
  MAX_INLINE_SEGMENTS,
  MAX_INNER_CHILDREN,
  MAX_TREE_SEGMENTS,
  MIN_INNER_CHILDREN,
  MIN_TREE_SEGMENTS,
  SEGMENT_BOUNDARY_BOUND,
  SEGMENT_CHILD_BOUND,
} from './limits.ts';
import {
  CLOSED_BY_END,
  CLOSED_BY_LIMIT,
  CLOSED_BY_RULE,
  type Closing,
  NODE_FIELD,
  SEGMENT_INNER_FIELD,
  SEGMENT_NODE_FIELD,
} from './node-fields.ts';
import { ReferenceWriter } from './references.ts';
import { SegmentWriter } from './segment-columns.ts';
import { WireWriter } from './wire.ts';

export { readSegments } from './segment-tree-reader.ts';

export class ContentBuilder<S extends NodeReference = NodeReference> {
  readonly #ports: BuilderPorts<S>;
  readonly #hash: BoundaryHash;
  /** Those that may yet stand in the leaf. */
  #inline: Segment[] = [];
  #tree: SegmentTreeWriter<S> | undefined;
  /** Zeros or a hole that the next segment may still lengthen. */
  #empty: { readonly kind: 'zeros' | 'hole'; length: number } | undefined;
  #length = 0;

  constructor(ports: BuilderPorts<S>) {
    this.#ports = ports;
    this.#hash = new BoundaryHash(ports.node);
  }

  /** Adds the next segment. Neighbouring zeros, and neighbouring holes, become one. Throws INVALID_ARGUMENT. */
  add(segment: Segment): void {
    const fault = segmentFault(segment);
    if (fault !== undefined) throw new HoldfastError('INVALID_ARGUMENT', `a file ${fault}`);
    this.#length += segment.length;
    if (segment.kind === 'data') {
      this.#flushEmpty();
      this.#put(segment);
    } else if (this.#empty?.kind === segment.kind) {
      this.#empty.length += segment.length;
    } else {
      this.#flushEmpty();
      this.#empty = { kind: segment.kind, length: segment.length };
    }
  }

  /** Bytes of all segments so far. */
  get length(): number {
    return this.#length;
  }

  /** Seals what is open, returns the content for the entry, and starts anew. */
  finish(): Content {
    this.#flushEmpty();
    const content: Content =
      this.#tree?.finish() ?? (this.#inline.length === 0 ? NO_CONTENT : { kind: 'segments', segments: this.#inline });
    this.#inline = [];
    this.#tree = undefined;
    this.#length = 0;
    return content;
  }

  #flushEmpty(): void {
    const empty = this.#empty;
    this.#empty = undefined;
    if (empty !== undefined) this.#put(empty);
  }

  #put(segment: Segment): void {
    if (this.#tree !== undefined) {
      this.#tree.add(segment);
      return;
    }
    this.#inline.push(segment);
    if (this.#inline.length <= MAX_INLINE_SEGMENTS) return;
    this.#tree = new SegmentTreeWriter(this.#ports, this.#hash);
    for (const early of this.#inline) this.#tree.add(early);
    this.#inline = [];
  }
}

interface Child extends NodeReference {
  readonly segments: number;
  readonly length: number;
}

class SegmentTreeWriter<S extends NodeReference> {
  readonly #ports: BuilderPorts<S>;
  readonly #hash: BoundaryHash;
  readonly #references = new ReferenceWriter();
  readonly #columns = new SegmentWriter(this.#references);
  /** Children of the open node of each level; index 0 is level 1. */
  readonly #levels: Child[][] = [];
  /** Children that each level ever got. */
  readonly #pushed: number[] = [];
  #nodeLength = 0;
  #total = 0;

  constructor(ports: BuilderPorts<S>, hash: BoundaryHash) {
    this.#ports = ports;
    this.#hash = hash;
  }

  add(segment: Segment): void {
    this.#columns.add(segment, false);
    this.#nodeLength += segment.length;
    this.#total++;
    const { count } = this.#columns;
    if (this.#closesAfter(segment, count)) this.#closeNode(CLOSED_BY_RULE);
    else if (count >= MAX_TREE_SEGMENTS) this.#closeNode(CLOSED_BY_LIMIT);
  }

  finish(): Content {
    if (this.#columns.count > 0) this.#closeNode(CLOSED_BY_END);
    for (let level = 1; ; level++) {
      const open = this.#levels[level - 1]!;
      const only = this.#pushed[level - 1] === 1 ? open[0] : undefined;
      if (only !== undefined) {
        return { kind: 'tree', root: { id: only.id, proof: only.proof }, segmentCount: this.#total };
      }
      if (open.length > 0) this.#closeInner(level, open, CLOSED_BY_END);
    }
  }

  #closesAfter(segment: Segment, count: number): boolean {
    return (
      segment.kind === 'data' &&
      count >= MIN_TREE_SEGMENTS &&
      this.#hash.ofSegment(segment.tag) < SEGMENT_BOUNDARY_BOUND
    );
  }

  #closeNode(closing: Closing): void {
    const node = new WireWriter(16 * 1024);
    const part = new WireWriter(16 * 1024);
    node.uintField(SEGMENT_NODE_FIELD.closing, closing);
    this.#columns.encode(part);
    node.bytesField(SEGMENT_NODE_FIELD.segments, part.peek());
    part.clear();
    this.#references.encode(part);
    node.bytesField(SEGMENT_NODE_FIELD.references, part.peek());
    const child = { segments: this.#columns.count, length: this.#nodeLength };
    const sealed = this.#seal('segments', NODE_FIELD.segments, node, this.#references);
    this.#references.clear();
    this.#columns.clear();
    this.#nodeLength = 0;
    this.#push(1, { id: sealed.id, proof: sealed.proof, ...child });
  }

  #closeInner(level: number, children: Child[], closing: Closing): void {
    const references = new ReferenceWriter();
    const places = children.map((child) => references.tree(child));
    const node = new WireWriter(16 * 1024);
    node.uintField(SEGMENT_INNER_FIELD.level, level);
    node.uintField(SEGMENT_INNER_FIELD.closing, closing);
    node.packedField(SEGMENT_INNER_FIELD.children, places);
    node.packedField(
      SEGMENT_INNER_FIELD.segmentCounts,
      children.map((child) => child.segments),
    );
    node.packedField(
      SEGMENT_INNER_FIELD.lengths,
      children.map((child) => child.length),
    );
    node.bytesField(SEGMENT_INNER_FIELD.proofs, references.copyProofs());
    const segments = children.reduce((sum, child) => sum + child.segments, 0);
    const length = children.reduce((sum, child) => sum + child.length, 0);
    children.length = 0;
    const { id, proof } = this.#seal('segments-inner', NODE_FIELD.segmentsInner, node, references);
    this.#push(level + 1, { id, proof, segments, length });
  }

  #seal(kind: NodeKind, field: number, message: WireWriter, from: ReferenceWriter): S {
    const outer = new WireWriter(message.length + 8);
    outer.element(field, message.peek());
    const payload = outer.copy();
    const references = from.copyIds();
    const sealed = this.#ports.sealNode(references, payload);
    this.#ports.onNode({ kind, sealed, references, proofs: from.copyProofs(), payload });
    return sealed;
  }

  #push(level: number, child: Child): void {
    if (this.#levels.length < level) {
      this.#levels.push([]);
      this.#pushed.push(0);
    }
    const open = this.#levels[level - 1]!;
    open.push(child);
    this.#pushed[level - 1]!++;
    if (open.length < MIN_INNER_CHILDREN) return;
    if (this.#hash.ofSegmentChild(level, child.id) < SEGMENT_CHILD_BOUND) this.#closeInner(level, open, CLOSED_BY_RULE);
    else if (open.length >= MAX_INNER_CHILDREN) this.#closeInner(level, open, CLOSED_BY_LIMIT);
  }
}
