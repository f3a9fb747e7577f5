// Reading the content of a file: its segments in order, from the leaf or from its segment tree.
//
// Hazard: a tree from a hostile controller may claim more or fewer bytes than the file has, or refer to itself. Levels
// sink, each node must hold what its parent says, and the bytes must add up to the size.

import type { Content, PlacedChunk, PlacedNode, Segment } from './entry.ts';
import { closingOf, openNode } from './leaf-columns.ts';
import { ID_BYTES, MAX_INNER_CHILDREN, MAX_LEVEL, MAX_TREE_SEGMENTS, PROOF_BYTES } from './limits.ts';
import { NODE_FIELD, SEGMENT_INNER_FIELD, SEGMENT_NODE_FIELD } from './node-fields.ts';
import { asMany, type ReadingMany, type WantedNode, wanting } from './node-store.ts';
import { ReferenceTable } from './references.ts';
import { SegmentReader } from './segment-columns.ts';
import { damaged, type WireReader } from './wire.ts';

const CLOSINGS = 3;

/** What a parent says of a node. */
interface Expected {
  /** undefined for a root. */
  readonly level: number | undefined;
  readonly segments: number;
  readonly length: number;
}

/** All segments of a content in order, inline or from its tree, checked to add up to `size` bytes. Throws DAMAGED. */
export function* readSegments(
  content: Content<PlacedChunk, PlacedNode>,
  size: number,
): ReadingMany<Segment<PlacedChunk>> {
  if (content.kind === 'segments') {
    if (content.segments.reduce((sum, { length }) => sum + length, 0) !== size) throw damaged('segments do not add up');
    if (content.segments.length > 0) yield content.segments;
    return;
  }
  const { root, segmentCount } = content;
  const wanted: WantedNode = { id: root.id, proof: root.proof, parent: root.node, index: root.index };
  yield* readNode(wanted, [], { level: undefined, segments: segmentCount, length: size });
}

function* readNode(
  wanted: WantedNode,
  next: readonly WantedNode[],
  expected: Expected,
): ReadingMany<Segment<PlacedChunk>> {
  const { references, payload } = yield* asMany(wanting(wanted, next));
  const { kind, reader } = openNode(payload);
  if (kind === NODE_FIELD.segments) {
    if (expected.level !== undefined && expected.level !== 0) throw damaged('a segment node of the wrong level');
    yield readSegmentNode(wanted.id, references, reader, expected);
    return;
  }
  if (kind !== NODE_FIELD.segmentsInner) throw damaged('no segment tree');
  const { level, children } = readInner(wanted.id, references, reader, expected);
  const following = children.map((child) => child.wanted);
  for (const [i, child] of children.entries()) {
    yield* readNode(child.wanted, following.slice(i + 1, i + 9), { level: level - 1, ...child });
  }
}

function readSegmentNode(id: Buffer, ids: Buffer, reader: WireReader, expected: Expected): Segment<PlacedChunk>[] {
  let closing = 0;
  let columns: WireReader | undefined;
  let table: WireReader | undefined;
  while (reader.nextField()) {
    if (reader.field === SEGMENT_NODE_FIELD.closing) closing = reader.uint(CLOSINGS);
    else if (reader.field === SEGMENT_NODE_FIELD.segments) columns = reader.nested();
    else if (reader.field === SEGMENT_NODE_FIELD.references) table = reader.nested();
    else reader.unknownField();
  }
  closingOf(closing);
  const segments = new SegmentReader(new ReferenceTable(id, ids, table), columns, MAX_TREE_SEGMENTS);
  const list: Segment<PlacedChunk>[] = [];
  let length = 0;
  for (let i = 0; i < segments.count; i++) {
    const segment = segments.next(undefined);
    length += segment.length;
    list.push(segment);
  }
  if (!segments.done || list.length !== expected.segments || length !== expected.length) {
    throw damaged('a segment node that holds something else than its parent says');
  }
  return list;
}

interface InnerChild {
  readonly wanted: WantedNode;
  readonly segments: number;
  readonly length: number;
}

function readInner(
  id: Buffer,
  ids: Buffer,
  reader: WireReader,
  expected: Expected,
): { level: number; children: InnerChild[] } {
  let level = 0;
  let closing = 0;
  let proofs: Buffer = Buffer.alloc(0);
  const columns = new Map<number, number[]>();
  while (reader.nextField()) {
    if (reader.field === SEGMENT_INNER_FIELD.level) level = reader.uint(MAX_LEVEL);
    else if (reader.field === SEGMENT_INNER_FIELD.closing) closing = reader.uint(CLOSINGS);
    else if (reader.field === SEGMENT_INNER_FIELD.proofs) proofs = reader.slice();
    else if (reader.field > SEGMENT_INNER_FIELD.lengths) reader.unknownField();
    else columns.set(reader.field, reader.packed(MAX_INNER_CHILDREN, Number.MAX_SAFE_INTEGER));
  }
  closingOf(closing);
  const places = columns.get(SEGMENT_INNER_FIELD.children) ?? [];
  const counts = columns.get(SEGMENT_INNER_FIELD.segmentCounts) ?? [];
  const lengths = columns.get(SEGMENT_INNER_FIELD.lengths) ?? [];
  const references = ids.length / ID_BYTES;
  if (
    counts.length !== places.length ||
    lengths.length !== places.length ||
    proofs.length !== references * PROOF_BYTES
  ) {
    throw damaged('wrong columns of segment-tree children');
  }
  if (level === 0 || (expected.level !== undefined && level !== expected.level))
    throw damaged('a segment node of the wrong level');
  const children = places.map((place, i): InnerChild => {
    if (place >= references) throw damaged(`reference ${place} of ${references}`);
    const at = place * ID_BYTES;
    const proof = proofs.subarray(place * PROOF_BYTES, (place + 1) * PROOF_BYTES);
    const wanted = { id: ids.subarray(at, at + ID_BYTES), proof, parent: id, index: place };
    return { wanted, segments: counts[i]!, length: lengths[i]! };
  });
  const segments = counts.reduce((sum, count) => sum + count, 0);
  const length = lengths.reduce((sum, bytes) => sum + bytes, 0);
  if (segments !== expected.segments || length !== expected.length)
    throw damaged('a segment tree that does not add up');
  return { level, children };
}
