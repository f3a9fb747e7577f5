// Snapshots for tests and benches, made with the format's own code: entries in, sealed objects out. No host, no scan.

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';
import { BUNDLE_FILE_LIMIT_BYTES, bundleCloses } from '@holdfast/shared/format/bundle';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys, type DomainKeys } from '@holdfast/shared/format/keys';
import { ManifestBuilder, type BuilderPorts, type ManifestRoot } from '@holdfast/shared/format/manifest/builder';
import {
  newEntry,
  NO_CONTENT,
  NO_XATTRS,
  type ChunkReference,
  type DataSegment,
  type Entry,
  type NodeReference,
  type Segment,
  type Xattr,
} from '@holdfast/shared/format/manifest/entry';
import { ContentBuilder } from '@holdfast/shared/format/manifest/segment-tree';
import {
  encodeStat,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  type StatFields,
} from '@holdfast/shared/format/manifest/stat-record';
import { encodeXattrs } from '@holdfast/shared/format/manifest/xattrs';
import { seal } from '@holdfast/shared/format/seal';
import { encodeSnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import { tagOf } from '@holdfast/shared/format/tag';

export interface SpecEntry {
  readonly path: ByteString;
  readonly type: 'file' | 'directory' | 'symlink' | 'fifo';
  /** A file's content: bytes, or pieces of bytes, zeros and holes. */
  readonly content?: Buffer | readonly (Buffer | { readonly kind: 'zeros' | 'hole'; readonly length: number })[];
  readonly linkTarget?: ByteString;
  readonly stat?: Partial<StatFields>;
  readonly xattrs?: readonly Xattr[];
  /** Larger than 0: has other names; those have the same `stat.ino`. */
  readonly hardLinkGroup?: number;
}

export interface BuiltSnapshot {
  readonly objects: Map<string, Buffer>;
  readonly recordId: Buffer;
  readonly root: NodeReference;
  readonly keys: DomainKeys;
  /** Which chunks hold a file, by path: ids in hex. */
  readonly chunksOf: Map<ByteString, string[]>;
}

export interface BuilderOptions {
  readonly domainId?: string;
  readonly secret?: Buffer;
  readonly hostId?: string;
  readonly signingKey?: KeyObject;
  /** Cut of large files. */
  readonly chunkBytes?: number;
}

export const TEST_DOMAIN = 'domain-1';
export const TEST_SECRET = Buffer.alloc(32, 7);

export class SnapshotBuilder {
  readonly keys: DomainKeys;
  readonly objects = new Map<string, Buffer>();
  readonly chunksOf = new Map<ByteString, string[]>();
  readonly #options: BuilderOptions;
  readonly #ports: BuilderPorts;
  #bundle: { readonly path: ByteString; readonly bytes: Buffer; readonly tag: Buffer }[] = [];
  #bundleBytes = 0;
  /** Entries whose bundle is not sealed yet wait, so that entries are added in order. */
  #waiting: (() => Entry)[] = [];
  readonly #segmentOf = new Map<ByteString, DataSegment>();
  #files = 0;
  #bytes = 0;
  #entries = 0;

  constructor(options: BuilderOptions = {}) {
    this.#options = options;
    this.keys = deriveDomainKeys(options.secret ?? TEST_SECRET, options.domainId ?? TEST_DOMAIN, 0);
    this.#ports = {
      node: Buffer.from(this.keys.node),
      sealNode: (references, payload) => this.put(ObjectKind.manifestNode, references, payload),
      onNode: () => undefined,
    };
  }

  /** Seals and keeps any object. */
  put(kind: ObjectKind, references: Uint8Array, plain: Buffer): NodeReference {
    const sealed = seal(this.keys, kind, references, plain);
    this.objects.set(sealed.id.toString('hex'), sealed.envelope);
    return { id: sealed.id, proof: sealed.proof };
  }

  chunk(path: ByteString, plain: Buffer): ChunkReference {
    const { id, proof } = this.put(ObjectKind.chunk, Buffer.alloc(0), plain);
    const known = this.chunksOf.get(path) ?? [];
    known.push(id.toString('hex'));
    this.chunksOf.set(path, known);
    return { id, proof, plainLength: plain.length };
  }

  data(path: ByteString, plain: Buffer): DataSegment {
    return {
      kind: 'data',
      chunk: this.chunk(path, plain),
      offset: 0,
      length: plain.length,
      tag: tagOf(this.keys, plain),
    };
  }

  /** A snapshot of these entries, in any order; the root and parents that are missing are added as directories. */
  build(spec: readonly SpecEntry[]): BuiltSnapshot {
    const builder = new ManifestBuilder(this.#ports);
    const flush = (): void => {
      this.#closeBundle();
      for (const make of this.#waiting.splice(0)) builder.add(make());
    };
    for (const one of withParents(spec)) {
      this.#waiting.push(this.#entry(one));
      if (this.#bundle.length === 0) flush();
    }
    flush();
    return this.finish(builder.finish());
  }

  /** A record over a root that was made by hand. */
  finish(root: NodeReference | ManifestRoot): BuiltSnapshot {
    const signingKey = this.#options.signingKey ?? generateKeyPairSync('ed25519').privateKey;
    const record = {
      domainId: this.#options.domainId ?? TEST_DOMAIN,
      hostId: this.#options.hostId ?? 'host-of-the-snapshot',
      sourceId: 'source-1',
      sourceType: 'files',
      sequence: 1,
      previousSnapshotId: undefined,
      startedAtMs: 0,
      finishedAtMs: 0,
      statistics: {
        entries: this.#entries,
        files: this.#files,
        bytesTotal: this.#bytes,
        bytesRead: 0,
        bytesNew: 0,
        bytesStored: 0,
        durationMs: 0,
      },
      partial: false,
      warningsTotal: 0,
      warnings: [],
    };
    const { id } = this.put(ObjectKind.snapshotRecord, root.id, encodeSnapshotRecord(record, root.id, signingKey));
    return { objects: this.objects, recordId: id, root, keys: this.keys, chunksOf: this.chunksOf };
  }

  #entry(spec: SpecEntry): () => Entry {
    this.#entries++;
    const pieces = spec.content === undefined ? [] : Buffer.isBuffer(spec.content) ? [spec.content] : spec.content;
    const size =
      spec.type === 'symlink' ? (spec.linkTarget ?? '').length : pieces.reduce((sum, piece) => sum + piece.length, 0);
    const stat = encodeStat({ ...DEFAULT_STAT, mode: DEFAULT_MODE[spec.type], size, ...spec.stat });
    const rest = {
      user: 'root',
      group: 'root',
      linkTarget: spec.linkTarget ?? '',
      xattrs: this.#xattrs(spec),
      hardLinkGroup: spec.hardLinkGroup ?? 0,
    };
    if (spec.type !== 'file') return () => newEntry(spec.path, stat, rest);
    this.#files++;
    this.#bytes += size;
    const whole = pieces.length === 1 && Buffer.isBuffer(pieces[0]) ? pieces[0] : undefined;
    if (whole !== undefined && whole.length > 0 && whole.length < BUNDLE_FILE_LIMIT_BYTES) {
      this.#addToBundle(spec.path, whole);
      return () =>
        newEntry(spec.path, stat, {
          ...rest,
          content: { kind: 'segments', segments: [this.#segmentOf.get(spec.path)!] },
        });
    }
    if (size === 0) return () => newEntry(spec.path, stat, { ...rest, content: NO_CONTENT });
    const content = new ContentBuilder(this.#ports);
    for (const segment of this.#cut(spec.path, pieces)) content.add(segment);
    const finished = content.finish();
    return () => newEntry(spec.path, stat, { ...rest, content: finished });
  }

  #xattrs(spec: SpecEntry): Entry['xattrs'] {
    const list = spec.xattrs ?? [];
    const bytes = list.reduce((sum, { name, value }) => sum + name.length + value.length, 0);
    if (list.length === 0) return NO_XATTRS;
    return bytes <= 4096
      ? { kind: 'inline', list }
      : { kind: 'chunk', segment: this.data(spec.path, encodeXattrs(list)) };
  }

  *#cut(
    path: ByteString,
    pieces: readonly (Buffer | { readonly kind: 'zeros' | 'hole'; readonly length: number })[],
  ): Generator<Segment> {
    const cut = this.#options.chunkBytes ?? 1024 * 1024;
    for (const piece of pieces) {
      if (!Buffer.isBuffer(piece)) yield { kind: piece.kind, length: piece.length };
      else for (let at = 0; at < piece.length; at += cut) yield this.data(path, piece.subarray(at, at + cut));
    }
  }

  #addToBundle(path: ByteString, bytes: Buffer): void {
    const tag = tagOf(this.keys, bytes);
    this.#bundle.push({ path, bytes, tag });
    this.#bundleBytes += bytes.length;
    if (bundleCloses(this.#bundleBytes, tag)) this.#closeBundle();
  }

  #closeBundle(): void {
    const files = this.#bundle;
    if (files.length === 0) return;
    this.#bundle = [];
    this.#bundleBytes = 0;
    const chunk = this.chunk('', Buffer.concat(files.map(({ bytes }) => bytes)));
    let offset = 0;
    for (const { path, bytes, tag } of files) {
      this.chunksOf.set(path, [chunk.id.toString('hex')]);
      this.#segmentOf.set(path, { kind: 'data', chunk, offset, length: bytes.length, tag });
      offset += bytes.length;
    }
  }
}

const DEFAULT_MODE = {
  file: S_IFREG | 0o644,
  directory: S_IFDIR | 0o755,
  symlink: S_IFLNK | 0o777,
  fifo: S_IFIFO | 0o600,
};

const DEFAULT_STAT: StatFields = {
  mode: 0,
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  nlink: 1,
  size: 0,
  ino: 1n,
  mtimeSeconds: 1_600_000_000,
  mtimeNs: 123_456_789,
  ctimeSeconds: 1_600_000_001,
  ctimeNs: 0,
  rdevMajor: 0,
  rdevMinor: 0,
};

function withParents(spec: readonly SpecEntry[]): SpecEntry[] {
  const byPath = new Map(spec.map((one) => [one.path, one]));
  const add = (path: ByteString): void => {
    if (!byPath.has(path)) byPath.set(path, { path, type: 'directory' });
  };
  add('');
  for (const { path } of spec) {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) add(path.slice(0, slash));
  }
  return [...byPath.values()].toSorted((a, b) => comparePaths(a.path, b.path));
}
