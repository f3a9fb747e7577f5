// The columns of a leaf: where they stand in the payload, their lengths checked against the number of entries.

import { fromBytes, type ByteString } from '../../base/byte-string.ts';
import { MAX_LEAF_ENTRIES, MAX_NODE_PAYLOAD_BYTES, MAX_NODE_REFERENCES, MAX_OWNER_NAME_BYTES } from './limits.ts';
import { CLOSED_BY_END, type Closing, LEAF_FIELD, NODE_FIELD } from './node-fields.ts';
import { STAT_BYTES } from './stat-record.ts';
import { damaged, WireReader } from './wire.ts';

/** Bytes [0], inclusive, to [1], exclusive, of the payload. */
export type Range = readonly [number, number];

/** Values that few entries have: indexes, ascending, and the value of each. */
export interface Sparse<T> {
  readonly at: readonly number[];
  readonly values: readonly T[];
}

export interface Names {
  readonly names: readonly ByteString[];
  /** For each entry; undefined when all have the first name. */
  readonly index: readonly number[] | undefined;
}

export interface LeafColumns {
  readonly count: number;
  readonly closing: Closing;
  readonly paths: Range;
  readonly stats: Buffer;
  readonly users: Names;
  readonly groups: Names;
  readonly links: Sparse<Buffer>;
  readonly xattrSets: readonly Range[];
  readonly xattrs: Sparse<number>;
  readonly flags: Sparse<number>;
  readonly linkGroups: Sparse<number>;
  readonly contents: Buffer;
  readonly segments: Range | undefined;
  readonly treeReferences: readonly number[];
  readonly treeSegments: readonly number[];
  readonly references: Range | undefined;
}

/** The message inside a ManifestNode, and which it is (its field number). Throws DAMAGED. */
export function openNode(payload: Buffer): { kind: number; reader: WireReader } {
  if (payload.length > MAX_NODE_PAYLOAD_BYTES) throw damaged(`${payload.length} bytes, more than a node may have`);
  const outer = new WireReader(payload);
  if (!outer.nextField()) throw damaged('empty');
  const kind = outer.field;
  const reader = outer.nested();
  if (!outer.done) throw damaged('bytes behind the node');
  return { kind, reader };
}

/** Throws DAMAGED. */
export function openLeaf(payload: Buffer): LeafColumns {
  const { kind, reader } = openNode(payload);
  if (kind !== NODE_FIELD.leaf) throw damaged('no leaf');
  const found = readFields(reader);
  const { count } = found;
  if (found.stats.length !== count * STAT_BYTES)
    throw damaged(`${found.stats.length} bytes of stat records for ${count} entries`);
  if (found.contents.length !== count) throw damaged('wrong number of contents');
  checkNames(found.users, count);
  checkNames(found.groups, count);
  for (const { at, values } of [found.links, found.xattrs, found.flags, found.linkGroups]) {
    checkSparse(at, values.length, count);
  }
  return found;
}

function readFields(reader: WireReader): LeafColumns {
  let count = 0;
  let closing: number = 0;
  let paths: Range = [0, 0];
  let stats: Buffer = Buffer.alloc(0);
  let contents: Buffer = Buffer.alloc(0);
  let users: Names = { names: [], index: undefined };
  let groups = users;
  let segments: Range | undefined;
  let references: Range | undefined;
  const linkTargets: Buffer[] = [];
  const xattrSets: Range[] = [];
  const packed = new Map<number, number[]>();
  while (reader.nextField([LEAF_FIELD.linkTarget, LEAF_FIELD.xattrSets])) {
    switch (reader.field) {
      case LEAF_FIELD.count:
        count = reader.uint(MAX_LEAF_ENTRIES);
        break;
      case LEAF_FIELD.closing:
        closing = reader.uint(CLOSED_BY_END);
        break;
      case LEAF_FIELD.paths:
        paths = range(reader);
        break;
      case LEAF_FIELD.stats:
        stats = reader.slice();
        break;
      case LEAF_FIELD.users:
        users = readNames(reader.nested(), count);
        break;
      case LEAF_FIELD.groups:
        groups = readNames(reader.nested(), count);
        break;
      case LEAF_FIELD.linkTarget:
        if (linkTargets.push(reader.slice()) > count) throw damaged('more link targets than entries');
        break;
      case LEAF_FIELD.xattrSets:
        if (xattrSets.push(range(reader)) > count) throw damaged('more sets of xattrs than entries');
        break;
      case LEAF_FIELD.contents:
        contents = reader.slice();
        break;
      case LEAF_FIELD.segments:
        segments = range(reader);
        break;
      case LEAF_FIELD.references:
        references = range(reader);
        break;
      default:
        packed.set(reader.field, reader.packed(count, packedMaximum(reader)));
    }
  }
  const column = (field: number): number[] => packed.get(field) ?? [];
  return {
    count,
    closing: closingOf(closing),
    paths,
    stats,
    users,
    groups,
    links: { at: column(LEAF_FIELD.linkAt), values: linkTargets },
    xattrSets,
    xattrs: { at: column(LEAF_FIELD.xattrAt), values: column(LEAF_FIELD.xattrSet) },
    flags: { at: column(LEAF_FIELD.flagsAt), values: column(LEAF_FIELD.flags) },
    linkGroups: { at: column(LEAF_FIELD.linkGroupAt), values: column(LEAF_FIELD.linkGroup) },
    contents,
    segments,
    treeReferences: column(LEAF_FIELD.treeReference),
    treeSegments: column(LEAF_FIELD.treeSegments),
    references,
  };
}

function packedMaximum(reader: WireReader): number {
  switch (reader.field) {
    case LEAF_FIELD.linkAt:
    case LEAF_FIELD.xattrAt:
    case LEAF_FIELD.xattrSet:
    case LEAF_FIELD.flagsAt:
    case LEAF_FIELD.linkGroupAt:
      return MAX_LEAF_ENTRIES - 1;
    case LEAF_FIELD.flags:
      return 2 ** 32 - 1;
    case LEAF_FIELD.treeReference:
      return MAX_NODE_REFERENCES - 1;
    case LEAF_FIELD.linkGroup:
    case LEAF_FIELD.treeSegments:
      return Number.MAX_SAFE_INTEGER;
    default:
      return reader.unknownField();
  }
}

function range(reader: WireReader): Range {
  const nested = reader.nested();
  return [nested.at, nested.end];
}

export function closingOf(value: number): Closing {
  if (value === 1 || value === 2 || value === 3) return value;
  throw damaged('it does not say why it closed');
}

function readNames(reader: WireReader, count: number): Names {
  const names: ByteString[] = [];
  let index: number[] | undefined;
  while (reader.nextField([1])) {
    if (reader.field === 1) {
      const name = reader.slice(true);
      if (name.length > MAX_OWNER_NAME_BYTES || names.push(fromBytes(name)) > count)
        throw damaged('owner names beyond bounds');
    } else if (reader.field === 2) {
      index = reader.packed(count, names.length - 1);
    } else {
      reader.unknownField();
    }
  }
  return { names, index };
}

function checkNames({ names, index }: Names, count: number): void {
  const expected = count > 0 && names.length > 1 ? count : undefined;
  if (names.length > 0 !== count > 0 || index?.length !== expected) throw damaged('wrong columns of owner names');
}

function checkSparse(at: readonly number[], values: number, count: number): void {
  let last = -1;
  for (const index of at) {
    if (index <= last || index >= count) throw damaged('a sparse column is out of order');
    last = index;
  }
  if (at.length !== values) throw damaged('a sparse column has not a value for each index');
}

/** Value of entry `index`; undefined when it has none. */
export function sparseValue<T>({ at, values }: Sparse<T>, index: number): T | undefined {
  let low = 0;
  let high = at.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (at[middle]! < index) low = middle + 1;
    else high = middle;
  }
  return at[low] === index ? values[low] : undefined;
}
