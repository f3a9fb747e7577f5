// A second reader of manifest leaves, written from docs/repository-format.md and the proto alone.
//
// It stands on an ordinary protobuf decoder and shares nothing else with the hand-written one of packages/shared.

import { createHmac } from 'node:crypto';
import { type LeafNode, ManifestNode, type NameColumn } from '@holdfast/shared/rpc/gen/holdfast/v1/manifest';
import type { EntryVector, SegmentVector } from './compute-manifest-vectors.ts';

/** First 32 bits, little-endian, of HMAC-SHA-256. */
export function boundaryHash(nodeKey: Uint8Array, message: Uint8Array): number {
  return createHmac('sha256', nodeKey).update(message).digest().readUInt32LE(0);
}

/** The entries of a leaf. Trusts its input, where the real reader must not. */
export function readLeaf(payload: Uint8Array, references: Buffer): EntryVector[] {
  const { node } = ManifestNode.decode(payload);
  if (node?.$case !== 'leaf') throw new TypeError('no leaf');
  const leaf = node.value;
  const paths = readPaths(leaf.paths);
  const segments = segmentReader(leaf, references);
  const trees = leaf.treeReference.values();
  const treeSegments = leaf.treeSegments.values();
  return Array.from({ length: leaf.count }, (_, i): EntryVector => {
    const stat = leaf.stats.subarray(i * 64, (i + 1) * 64);
    const kind = leaf.contents[i]!;
    const content =
      kind < 9
        ? readSegments(kind, Number(stat.readBigUInt64LE(16)), segments)
        : {
            ...referenceAt(leaf, references, trees.next().value!, 'root'),
            segments: Number(treeSegments.next().value),
          };
    return {
      path: paths[i]!.toString('hex'),
      stat: stat.toString('hex'),
      user: nameOf(leaf.users, i),
      group: nameOf(leaf.groups, i),
      linkTarget: sparse(leaf.linkAt, leaf.linkTarget, i)?.toString('hex') ?? '',
      inodeFlags: sparse(leaf.flagsAt, leaf.flags, i) ?? 0,
      hardLinkGroup: Number(sparse(leaf.linkGroupAt, leaf.linkGroup, i) ?? 0n),
      xattrs: readXattrs(leaf, references, i),
      content,
    };
  });
}

function readPaths(column: Buffer): Buffer[] {
  const paths: Buffer[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = column[at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < column.length) {
    const shared = varint();
    const rest = varint();
    paths.push(Buffer.concat([(paths.at(-1) ?? Buffer.alloc(0)).subarray(0, shared), column.subarray(at, at + rest)]));
    at += rest;
  }
  return paths;
}

function referenceAt<Name extends string>(leaf: LeafNode, references: Buffer, place: number, name: Name) {
  const id = references.subarray(place * 32, (place + 1) * 32).toString('hex');
  const proof = leaf.references!.proofs.subarray(place * 16, (place + 1) * 16).toString('hex');
  return { [name]: id, proof } as Record<Name | 'proof', string>;
}

/** Gives the segments of a leaf one after the other; `rest` is what the file's segments before it leave. */
function segmentReader(leaf: LeafNode, references: Buffer): (last: boolean, rest: number) => SegmentVector {
  const columns = leaf.segments ?? { source: [], length: [], offset: [], tags: Buffer.alloc(0) };
  const ends = new Map<number, number>();
  let segment = 0;
  let stored = 0;
  let data = 0;
  return (last, rest) => {
    const source = columns.source[segment++]!;
    const length = last ? rest : Number(columns.length[stored++]!);
    if (source === 0) return { zeros: length };
    if (source === 1) return { hole: length };
    const place = source - 2;
    const offset = (ends.get(place) ?? 0) + Number(columns.offset[data]!);
    ends.set(place, offset + length);
    const tag = columns.tags.subarray(data * 16, (data + 1) * 16).toString('hex');
    data++;
    const plainLength = leaf.references!.plainLength[place]!;
    const pageTags = readPageTagsLink(leaf, references, place);
    return { ...referenceAt(leaf, references, place, 'chunk'), plainLength, ...pageTags, offset, length, tag };
  };
}

function readPageTagsLink(leaf: LeafNode, references: Buffer, place: number) {
  const { paged, pageTagNode, pageTagList } = leaf.references!;
  const at = paged.indexOf(place);
  if (at === -1) return {};
  return { pageTags: { ...referenceAt(leaf, references, pageTagNode[at]!, 'node'), list: pageTagList[at]! } };
}

/** The lists of a page-tag node. */
export function readPageTags(payload: Uint8Array): { pageBytes: number; lists: string[] } {
  const { node } = ManifestNode.decode(payload);
  if (node?.$case !== 'pageTags') throw new TypeError('no page tags');
  const { pageBytes, pageCounts, tags } = node.value;
  let at = 0;
  return { pageBytes, lists: pageCounts.map((count) => tags.toString('hex', at, (at += count * 16))) };
}

function readSegments(count: number, size: number, next: ReturnType<typeof segmentReader>): SegmentVector[] {
  let rest = size;
  return Array.from({ length: count }, (_, i) => {
    const segment = next(i === count - 1, rest);
    rest -= 'zeros' in segment ? segment.zeros : 'hole' in segment ? segment.hole : segment.length;
    return segment;
  });
}

function readXattrs(leaf: LeafNode, references: Buffer, entry: number): EntryVector['xattrs'] {
  const place = sparse(leaf.xattrAt, leaf.xattrSet, entry);
  const set = place === undefined ? undefined : leaf.xattrSets[place]!;
  if (set?.chunk === undefined)
    return (set?.list ?? []).map(({ name, value }) => [name.toString('hex'), value.toString('hex')]);
  const { reference, offset, length, tag } = set.chunk;
  const plainLength = leaf.references!.plainLength[reference]!;
  return {
    ...referenceAt(leaf, references, reference, 'chunk'),
    plainLength,
    offset,
    length,
    tag: tag.toString('hex'),
  };
}

function nameOf(column: NameColumn | undefined, entry: number): string {
  return column!.names[column!.index[entry] ?? 0]!.toString('hex');
}

function sparse<T>(at: readonly number[], values: readonly T[], entry: number): T | undefined {
  const place = at.indexOf(entry);
  return place === -1 ? undefined : values[place];
}
