// Extended attributes as bytes: the set that a leaf stores once for all entries that have it, and the bytes that go to a
// chunk when there are too many for the node.

import { fromBytes } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { DataSegment, PlacedChunk, Xattr, Xattrs } from './entry.ts';
import {
  MAX_CHUNK_BYTES,
  MAX_INLINE_XATTR_BYTES,
  MAX_XATTR_NAME_BYTES,
  MAX_XATTRS,
  PROOF_BYTES,
  ID_BYTES,
  TAG_BYTES,
} from './limits.ts';
import type { ReferenceTable, ReferenceWriter } from './references.ts';
import { damaged, WireReader, WireWriter } from './wire.ts';

/** Bytes that count against MAX_INLINE_XATTR_BYTES: names and values. */
export function xattrBytes(list: readonly Xattr[]): number {
  return list.reduce((sum, { name, value }) => sum + name.length + value.length, 0);
}

/** By name, as a manifest demands. */
export function sortXattrs(list: readonly Xattr[]): Xattr[] {
  return list.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What goes to a chunk: sorted by name, each as varint name length, name, varint value length, value. */
export function encodeXattrs(list: readonly Xattr[]): Buffer {
  const bytes = new WireWriter(xattrBytes(list) + 8 * list.length);
  for (const { name, value } of sortXattrs(list)) {
    bytes.varint(name.length);
    bytes.text(name);
    bytes.varint(value.length);
    bytes.raw(value);
  }
  return bytes.copy();
}

/** Throws DAMAGED. */
export function decodeXattrs(bytes: Buffer): Xattr[] {
  if (bytes.length > MAX_CHUNK_BYTES) throw damaged('xattrs are too long');
  const reader = new WireReader(bytes);
  const list: Xattr[] = [];
  while (!reader.done) {
    const name = fromBytes(counted(reader));
    list.push({ name, value: counted(reader) });
    if (list.length > MAX_XATTRS) throw damaged('too many xattrs');
  }
  const fault = xattrListFault(list);
  if (fault !== undefined) throw damaged(fault);
  return list;
}

function counted(reader: WireReader): Buffer {
  const length = reader.varint();
  if (length > reader.end - reader.at) throw damaged('an xattr goes beyond the end');
  reader.at += length;
  return reader.bytes.subarray(reader.at - length, reader.at);
}

/** What is wrong with xattrs; undefined when nothing is. */
export function xattrsFault(xattrs: Xattrs): string | undefined {
  if (xattrs.kind === 'inline') {
    if (xattrs.list.length === 0) return undefined;
    return xattrBytes(xattrs.list) > MAX_INLINE_XATTR_BYTES
      ? 'has too long inline xattrs'
      : xattrListFault(xattrs.list);
  }
  return dataSegmentFault(xattrs.segment);
}

function xattrListFault(list: readonly Xattr[]): string | undefined {
  let last = '';
  for (const { name } of list) {
    if (name.length === 0 || name.length > MAX_XATTR_NAME_BYTES || name.includes('\0'))
      return 'has a malformed xattr name';
    if (name <= last) return 'has xattrs out of order';
    last = name;
  }
  return undefined;
}

/** What is wrong with a piece of a chunk; undefined when nothing is. */
export function dataSegmentFault({ chunk, offset, length, tag }: DataSegment): string | undefined {
  if (chunk.id.length !== ID_BYTES || chunk.proof.length !== PROOF_BYTES)
    return 'refers to a chunk with a malformed id or proof';
  const { pageTags } = chunk;
  if (pageTags !== undefined && (pageTags.node.id.length !== ID_BYTES || pageTags.node.proof.length !== PROOF_BYTES)) {
    return 'refers to page tags with a malformed id or proof';
  }
  if (!(Number.isInteger(chunk.plainLength) && chunk.plainLength > 0 && chunk.plainLength <= MAX_CHUNK_BYTES)) {
    return `refers to a chunk of ${chunk.plainLength} bytes`;
  }
  if (
    !(
      Number.isInteger(offset) &&
      offset >= 0 &&
      Number.isInteger(length) &&
      length > 0 &&
      offset + length <= chunk.plainLength
    )
  ) {
    return 'has a segment beyond its chunk';
  }
  return tag.length === TAG_BYTES ? undefined : 'has a segment with a malformed tag';
}

/** Bytes an entry's xattrs may take in a node, at most. */
export function xattrsWeight(xattrs: Xattrs): number {
  return xattrs.kind === 'inline' ? xattrBytes(xattrs.list) + 16 * xattrs.list.length : 64;
}

/** Encodes an XattrSet message. */
export function encodeXattrSet(xattrs: Xattrs, references: ReferenceWriter): Buffer {
  const message = new WireWriter(256);
  const part = new WireWriter(256);
  if (xattrs.kind === 'inline') {
    for (const { name, value } of xattrs.list) {
      part.clear();
      part.textElement(1, name);
      part.bytesField(2, value);
      message.element(1, part.peek());
    }
    return message.copy();
  }
  const { chunk, offset, length, tag } = xattrs.segment;
  part.uintField(1, references.chunk(chunk));
  part.uintField(2, offset);
  part.uintField(3, length);
  part.bytesField(4, tag);
  message.element(2, part.peek());
  return message.copy();
}

/** Decodes an XattrSet message; the values are views. Throws DAMAGED. */
export function decodeXattrSet(reader: WireReader, references: ReferenceTable): Xattrs<PlacedChunk> {
  const list: Xattr[] = [];
  let segment: DataSegment<PlacedChunk> | undefined;
  while (reader.nextField([1])) {
    if (reader.field === 1) list.push(decodeXattr(reader.nested()));
    else if (reader.field === 2) segment = decodeXattrChunk(reader.nested(), references);
    else reader.unknownField();
    if (list.length > MAX_XATTRS) throw damaged('too many xattrs');
  }
  if ((list.length === 0) === (segment === undefined)) throw damaged('a set of xattrs is empty or twofold');
  const xattrs: Xattrs<PlacedChunk> = segment === undefined ? { kind: 'inline', list } : { kind: 'chunk', segment };
  const fault = xattrsFault(xattrs);
  if (fault !== undefined) throw damaged(`an entry ${fault}`);
  return xattrs;
}

function decodeXattr(reader: WireReader): Xattr {
  let name = '';
  let value: Buffer = Buffer.alloc(0);
  while (reader.nextField()) {
    if (reader.field === 1) name = fromBytes(reader.slice());
    else if (reader.field === 2) value = reader.slice();
    else reader.unknownField();
  }
  return { name, value };
}

function decodeXattrChunk(reader: WireReader, references: ReferenceTable): DataSegment<PlacedChunk> {
  let place = 0;
  let offset = 0;
  let length = 0;
  let tag: Buffer = Buffer.alloc(0);
  while (reader.nextField()) {
    if (reader.field === 1) place = reader.uint(references.count);
    else if (reader.field === 2) offset = reader.uint(MAX_CHUNK_BYTES);
    else if (reader.field === 3) length = reader.uint(MAX_CHUNK_BYTES);
    else if (reader.field === 4) tag = reader.slice();
    else reader.unknownField();
  }
  return { kind: 'data', chunk: references.chunk(place), offset, length, tag };
}

/** Xattrs from a list as a backup reads it: inline, or undefined when they need a chunk (`encodeXattrs`). */
export function inlineXattrs(list: readonly Xattr[]): Xattrs | undefined {
  if (xattrBytes(list) > MAX_INLINE_XATTR_BYTES) return undefined;
  const sorted = sortXattrs(list);
  const fault = xattrListFault(sorted);
  if (fault !== undefined) throw new HoldfastError('INVALID_ARGUMENT', `an entry ${fault}`);
  return { kind: 'inline', list: sorted };
}
