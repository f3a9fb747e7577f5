// The published vectors of manifest nodes, computed anew: what goes in, and the bytes that must come out.
//
// A node's "sealing" is here id = SHA-256(payload), proof = id[0..16]; envelopes have vectors of their own. All byte strings
// are hexadecimal.

import { createHash } from 'node:crypto';
import { toBytes } from '@holdfast/shared/base/byte-string';
import { BoundaryHash } from '@holdfast/shared/format/manifest/boundary';
import { type BuilderPorts, type EmittedNode, ManifestBuilder } from '@holdfast/shared/format/manifest/builder';
import {
  type Entry,
  newEntry,
  type NodeReference,
  type PageTagsReference,
  type Segment,
} from '@holdfast/shared/format/manifest/entry';
import { ContentBuilder } from '@holdfast/shared/format/manifest/segment-tree';
import { encodePageTags } from '@holdfast/shared/format/page-map';
import { everyKindOfEntry } from '@holdfast/shared/testing/manifest-entries';
import {
  chunkOf,
  dataSegment,
  directory,
  pagedChunkOf,
  sha256,
  statOf,
  TEST_NODE_KEY,
} from '@holdfast/shared/testing/manifest-trees';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** What a builder makes of `add`, with the vectors' sealing. */
function nodesOf(add: (ports: BuilderPorts) => void): EmittedNode<NodeReference>[] {
  const nodes: EmittedNode<NodeReference>[] = [];
  add({
    node: TEST_NODE_KEY,
    sealNode: (_references, payload) => {
      const id = createHash('sha256').update(payload).digest();
      return { id, proof: id.subarray(0, 16) };
    },
    onNode: (node) => nodes.push(node),
  });
  return nodes;
}

export interface EntryVector {
  path: string;
  stat: string;
  user: string;
  group: string;
  linkTarget: string;
  inodeFlags: number;
  hardLinkGroup: number;
  xattrs: [name: string, value: string][] | SegmentVector;
  content: SegmentVector[] | { root: string; proof: string; segments: number };
}

/** Where the tags of a chunk's pages stand. */
interface PageTagsVector {
  node: string;
  proof: string;
  list: number;
}

export type SegmentVector =
  | {
      chunk: string;
      proof: string;
      plainLength: number;
      pageTags?: PageTagsVector;
      offset: number;
      length: number;
      tag: string;
    }
  | { zeros: number }
  | { hole: number };

function described(entry: Entry): EntryVector {
  return {
    path: hex(toBytes(entry.path)),
    stat: hex(entry.stat),
    user: hex(toBytes(entry.user)),
    group: hex(toBytes(entry.group)),
    linkTarget: hex(toBytes(entry.linkTarget)),
    inodeFlags: entry.inodeFlags,
    hardLinkGroup: entry.hardLinkGroup,
    xattrs:
      entry.xattrs.kind === 'inline'
        ? entry.xattrs.list.map(({ name, value }) => [hex(toBytes(name)), hex(value)])
        : describedSegment(entry.xattrs.segment),
    content:
      entry.content.kind === 'segments'
        ? entry.content.segments.map(describedSegment)
        : {
            root: hex(entry.content.root.id),
            proof: hex(entry.content.root.proof),
            segments: entry.content.segmentCount,
          },
  };
}

function describedSegment(segment: Segment): SegmentVector {
  if (segment.kind !== 'data') return segment.kind === 'zeros' ? { zeros: segment.length } : { hole: segment.length };
  const { chunk, offset, length, tag } = segment;
  return {
    chunk: hex(chunk.id),
    proof: hex(chunk.proof),
    plainLength: chunk.plainLength,
    ...(chunk.pageTags === undefined ? {} : { pageTags: describedPageTags(chunk.pageTags) }),
    offset,
    length,
    tag: hex(tag),
  };
}

function describedPageTags({ node, list }: PageTagsReference): PageTagsVector {
  return { node: hex(node.id), proof: hex(node.proof), list };
}

/** Everything that test/vectors/manifest.json holds. */
export function manifestVectors() {
  const hash = new BoundaryHash(TEST_NODE_KEY);
  const entries = everyKindOfEntry();
  const leaf = nodesOf((ports) => {
    const builder = new ManifestBuilder(ports);
    for (const entry of entries) builder.add(entry);
    builder.finish();
  });
  const manifest = nodesOf((ports) => {
    const builder = new ManifestBuilder(ports);
    builder.add(directory(''));
    for (let i = 0; i < 5000; i++)
      builder.add(newEntry(`f${10_000 + i}`, statOf(0o100644, { ino: BigInt(i) }), { user: 'root' }));
    builder.finish();
  });
  const tree = nodesOf((ports) => {
    const builder = new ContentBuilder(ports);
    for (let i = 0; i < 5000; i++) builder.add(dataSegment(`${i}`, 4096, chunkOf(`${i % 7}`), 0));
    builder.finish();
  });
  const pagedTree = nodesOf((ports) => {
    const builder = new ContentBuilder(ports);
    for (let i = 0; i < 3000; i++) {
      const chunk = pagedChunkOf(`${i % 90}`, `tags ${(i % 90) % 4}`, i % 90);
      builder.add(dataSegment(`${i}`, 8192, chunk, (i % 128) * 8192));
    }
    builder.finish();
  });
  const pageTagLists = [sha256('list 0'), Buffer.concat([sha256('list 1'), sha256('more of it')])];
  const summary = ({ kind, payload, references, proofs }: EmittedNode<NodeReference>) => ({
    kind,
    bytes: payload.length,
    payloadSha256: hex(sha256(payload)),
    referencesSha256: hex(sha256(references)),
    proofsSha256: hex(sha256(proofs)),
  });
  return {
    nodeKey: hex(TEST_NODE_KEY),
    boundaryHashes: [
      { of: 'path "usr/share/doc"', message: hex(Buffer.from('usr/share/doc')), hash: hash.ofPath('usr/share/doc') },
      {
        of: 'child of level 1 that begins with "usr"',
        message: `0001${hex(Buffer.from('usr'))}`,
        hash: hash.ofChild(1, 'usr'),
      },
      {
        of: 'segment with the tag 16 × 05',
        message: `0080${'05'.repeat(16)}`,
        hash: hash.ofSegment(Buffer.alloc(16, 5)),
      },
      {
        of: 'segment-tree child of level 2 with the id 32 × 07',
        message: `0082${'07'.repeat(32)}`,
        hash: hash.ofSegmentChild(2, Buffer.alloc(32, 7)),
      },
    ],
    leaf: {
      note: 'names, paths and targets are bytes in hex; stat is the 64-byte record',
      entries: entries.map(described),
      references: hex(leaf[0]!.references),
      payload: hex(leaf[0]!.payload),
    },
    manifest: {
      note: 'the root directory (mode 40755) and 5,000 empty files f10000 … f14999, mode 100644, inode i, user "root"; every stat record as in `leaf` otherwise: nlink 1, mtime 1700000000.000000001, ctime 1700000000.000000002',
      nodes: manifest.map(summary),
    },
    segmentTree: {
      note: '5,000 segments of 4,096 bytes; segment i: chunk id SHA-256("chunk" + (i mod 7)), proof SHA-256("proof" + id)[0..16], plain length 1 MiB, offset 0, tag SHA-256("tag" + i)[0..16]',
      nodes: tree.map(summary),
    },
    pagedSegmentTree: {
      note: '3,000 segments of 8,192 bytes at offset 8,192 × (i mod 128); c = i mod 90; chunk, proof and tag as in `segmentTree` with c in place of i mod 7; its tags are list c of the page-tag node with the id SHA-256("chunk" + "tags " + (c mod 4)), and a proof as for a chunk',
      nodes: pagedTree.map(summary),
    },
    pageTags: {
      pageBytes: 8192,
      lists: pageTagLists.map(hex),
      payload: hex(encodePageTags({ pageBytes: 8192, lists: pageTagLists })),
    },
  };
}
