// Trees of manifest entries from a seed, and a store of nodes in memory, for the manifest's tests and benches.

import { createHash } from 'node:crypto';
import { comparePaths, type ByteString } from '../base/byte-string.ts';
import { HoldfastError } from '../base/errors.ts';
import { type BuilderPorts, type EmittedNode, ManifestBuilder, type ManifestRoot } from '../format/manifest/builder.ts';
import {
  type ChunkReference,
  type Entry,
  newEntry,
  type NodeReference,
  type Segment,
} from '../format/manifest/entry.ts';
import { LeafView } from '../format/manifest/leaf-view.ts';
import { NODE_BOUNDS, type NodeBounds } from '../format/manifest/limits.ts';
import type { NodeBytes, WantedNode } from '../format/manifest/node-store.ts';
import { encodeStat, type StatFields } from '../format/manifest/stat-record.ts';

export const TEST_NODE_KEY = Buffer.from('4b6e6f6465'.padEnd(64, '0'), 'hex');

/** Nodes so small that a few hundred entries make a tree of many levels, with every sort of ending. */
export const SMALL_NODES: NodeBounds = { leaf: 2 ** 32 / 4, inner: 2 ** 32 / 3, maxEntries: 9, maxChildren: 5 };

export function sha256(...parts: (string | Uint8Array)[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Takes the nodes of a builder and gives them back: its "sealing" is a hash of references and payload. */
export class MemoryNodes {
  readonly nodes = new Map<string, NodeBytes>();
  readonly emitted: EmittedNode<NodeReference>[] = [];
  /** Ids, in hex, in the order they were asked for. */
  readonly loaded: string[] = [];
  readonly ports: BuilderPorts = {
    node: TEST_NODE_KEY,
    sealNode: (references, payload) => {
      const id = sha256('id', references, payload);
      return { id, proof: sha256('proof', id).subarray(0, 16) };
    },
    onNode: (node) => {
      this.emitted.push(node);
      this.nodes.set(node.sealed.id.toString('hex'), node);
    },
  };

  load(wanted: WantedNode): NodeBytes {
    const key = wanted.id.toString('hex');
    this.loaded.push(key);
    const node = this.nodes.get(key);
    if (node === undefined) throw new HoldfastError('NOT_FOUND', `node ${key}`);
    return node;
  }

  build(entries: Iterable<Entry>, bounds = NODE_BOUNDS): ManifestRoot {
    const builder = new ManifestBuilder(this.ports, bounds);
    for (const entry of entries) builder.add(entry);
    return builder.finish();
  }

  /** Leaves emitted so far, in order. */
  leaves(): LeafView[] {
    return this.emitted
      .filter(({ kind }) => kind === 'leaf')
      .map(({ sealed, references, payload }) => LeafView.open(sealed.id, sealed.proof, references, payload));
  }
}

/** Mulberry32: whole numbers below `bound`, the same for the same seed. */
export function randomNumbers(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

export type Random = ReturnType<typeof randomNumbers>;

export function statOf(mode: number, fields: Partial<StatFields> = {}): Buffer {
  return encodeStat({
    mode,
    uid: 0,
    gid: 0,
    nlink: 1,
    size: 0,
    ino: 1n,
    mtimeSeconds: 1_700_000_000,
    mtimeNs: 1,
    ctimeSeconds: 1_700_000_000,
    ctimeNs: 2,
    rdevMajor: 0,
    rdevMinor: 0,
    ...fields,
  });
}

export function directory(path: ByteString): Entry {
  return newEntry(path, statOf(0o040755));
}

export function chunkOf(label: string, plainLength = 1 << 20): ChunkReference {
  const id = sha256('chunk', label);
  return { id, proof: sha256('proof', id).subarray(0, 16), plainLength };
}

/** A chunk written page by page, whose tags are list `list` of the page-tag node `tags`. */
export function pagedChunkOf(label: string, tags: string, list: number, plainLength = 1 << 20): ChunkReference {
  const { id, proof } = chunkOf(tags);
  return { ...chunkOf(label, plainLength), pageTags: { node: { id, proof }, list } };
}

export function dataSegment(label: string, length: number, chunk: ChunkReference, offset = 0): Segment {
  return { kind: 'data', chunk, offset, length, tag: sha256('tag', label).subarray(0, 16) };
}

/** A file of `size` bytes (less than 1 MiB) in a chunk; another `version` has other content. */
export function file(path: ByteString, size = 100, version = 0, chunk = chunkOf('bundle')): Entry {
  const segments = size === 0 ? [] : [dataSegment(`${path} ${version}`, size, chunk)];
  return newEntry(path, statOf(0o100644, { size, mtimeNs: version }), { content: { kind: 'segments', segments } });
}

/** A tree of about `count` entries of every type, in manifest order. */
export function randomTree(seed: number, count: number): Entry[] {
  const random = randomNumbers(seed);
  const directories: ByteString[] = [''];
  const entries = new Map<ByteString, Entry>([['', directory('')]]);
  for (let i = 1; i < count; i++) {
    const parent = directories[random(directories.length)]!;
    const path = parent === '' ? randomName(random) : `${parent}/${randomName(random)}`;
    if (entries.has(path)) continue;
    const entry = randomEntry(random, path);
    entries.set(path, entry);
    if ((entry.stat.readUInt32LE(0) & 0o170000) === 0o040000) directories.push(path);
  }
  return [...entries.values()].toSorted((a, b) => comparePaths(a.path, b.path));
}

const oddNames = [
  '__proto__',
  'constructor',
  '-rf',
  ' ',
  '\n',
  '...',
  '.x',
  '\xff\xfe',
  'e\xcc\x81',
  '\xc3\xa9',
  '!',
  '~',
];

function randomName(random: Random): ByteString {
  if (random(20) === 0) return `${oddNames[random(oddNames.length)]}${random(1000)}`;
  return `${'abcdefgh'.charAt(random(8))}${random(100_000)}${['', '.c', '!', '-x'][random(4)]}`;
}

/** An entry of any type at this path. */
export function randomEntry(random: Random, path: ByteString): Entry {
  const stat: Partial<StatFields> = {
    uid: random(3),
    ino: BigInt(random(2 ** 31)),
    mtimeSeconds: random(2 ** 31) - 2 ** 30,
    mtimeNs: random(1e9),
    ctimeSeconds: 1_700_000_000 + random(1000),
  };
  const owner = { user: ['root', 'www-data', ''][random(3)]!, group: 'root', inodeFlags: random(50) === 0 ? 16 : 0 };
  const xattrs =
    random(30) === 0
      ? { kind: 'inline' as const, list: [{ name: 'user.a', value: Buffer.from([0, random(256)]) }] }
      : undefined;
  const rest = xattrs === undefined ? owner : { ...owner, xattrs };
  const type = random(40);
  if (type < 5) return newEntry(path, statOf(0o040755, stat), rest);
  if (type < 7) return newEntry(path, statOf(0o120777, stat), { ...owner, linkTarget: `../t${random(100)}` });
  if (type === 7) return newEntry(path, statOf(0o010644, stat), owner);
  if (type === 8)
    return newEntry(path, statOf(0o020644, { ...stat, rdevMajor: 4095, rdevMinor: random(2 ** 20) }), owner);
  if (type === 9) return newEntry(path, statOf(0o100644, { ...stat, nlink: 2 }), { ...owner, hardLinkGroup: 1 });
  const size = random(3) === 0 ? 0 : 1 + random(100_000);
  const segments = size === 0 ? [] : [dataSegment(`${random(2 ** 31)}`, size, chunkOf(`c${random(200)}`))];
  return newEntry(path, statOf(0o100644, { ...stat, size }), { ...rest, content: { kind: 'segments', segments } });
}
