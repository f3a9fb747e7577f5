// LeafView: a leaf read in place. Columns are decoded when they are asked for.
//
// Hazard: an unchanged backup goes through every leaf of the previous manifest; decoding each entry would cost more than
// the walk. And a leaf may come from a hostile controller. So opening a leaf only finds its columns and checks their
// lengths, stat records are compared where they stand, and every value is checked when it is decoded.
//
// Invariants (leaf.test.ts, leaf.property.test.ts): what the writer wrote is read back field by field; it agrees with
// ts-proto's generated decoder; any cut or garbled payload is refused or reads as some well-formed leaf, and no payload
// makes it allocate more than a small multiple of its 1 MiB.

import { fromBytes, type ByteString } from '../../base/byte-string.ts';
import type { Content, Entry, PlacedChunk, PlacedEntry, PlacedNode, Segment, Xattrs } from './entry.ts';
import { NO_CONTENT, NO_XATTRS } from './entry.ts';
import { entryFault } from './entry-check.ts';
import { type LeafColumns, openLeaf, sparseValue } from './leaf-columns.ts';
import { TREE_CONTENT } from './leaf-writer.ts';
import { MAX_INLINE_SEGMENTS } from './limits.ts';
import type { Closing } from './node-fields.ts';
import { lowerBound, readPaths, shortPath } from './paths.ts';
import { ReferenceTable } from './references.ts';
import { SegmentReader } from './segment-columns.ts';
import { S_IFMT, S_IFREG, STAT_BYTES, statCtimeNs, statCtimeSeconds, statMode, statSize } from './stat-record.ts';
import { damaged, WireReader } from './wire.ts';
import { decodeXattrSet } from './xattrs.ts';

export class LeafView {
  readonly id: Buffer;
  readonly proof: Buffer;
  /** 32-byte ids, concatenated. */
  readonly references: Buffer;
  readonly payload: Buffer;
  readonly count: number;
  readonly closing: Closing;
  /** count × 64 bytes: the record of entry i begins at i × 64. */
  readonly stats: Buffer;
  readonly #columns: LeafColumns;
  #paths: readonly ByteString[] | undefined;
  #references: ReferenceTable | undefined;
  #contents: readonly Content<PlacedChunk, PlacedNode>[] | undefined;
  #xattrSets: (Xattrs<PlacedChunk> | undefined)[] = [];
  #maxCtime: { readonly seconds: number; readonly ns: number } | undefined;

  private constructor(id: Buffer, proof: Buffer, references: Buffer, payload: Buffer, columns: LeafColumns) {
    this.id = id;
    this.proof = proof;
    this.references = references;
    this.payload = payload;
    this.#columns = columns;
    this.count = columns.count;
    this.closing = columns.closing;
    this.stats = columns.stats;
  }

  /** Checks the structure; the values are checked when they are decoded. Throws DAMAGED. */
  static open(id: Buffer, proof: Buffer, references: Buffer, payload: Buffer): LeafView {
    return new LeafView(id, proof, references, payload, openLeaf(payload));
  }

  /** All paths, strictly ascending and well formed. Throws DAMAGED or PATH_ESCAPES. */
  get paths(): readonly ByteString[] {
    if (this.#paths === undefined) {
      const [at, end] = this.#columns.paths;
      this.#paths = readPaths(new WireReader(this.payload, at, end), this.count);
    }
    return this.#paths;
  }

  /** The same as `count`: an inner node has entries, too. */
  get entries(): number {
    return this.count;
  }

  path(index: number): ByteString {
    const path = this.paths[index];
    if (path === undefined) throw new RangeError(`entry ${index} of ${this.count}`);
    return path;
  }

  /** First entry whose path is at or after `path`; `count` when there is none. */
  lowerBound(path: ByteString): number {
    return lowerBound(this.paths, path);
  }

  /** Whether the path of entry `index` is known to close no leaf by the rule. */
  knownInside(index: number): boolean {
    return index < this.count - 1 || this.closing !== 1;
  }

  /** The stat record of entry `index`, as a view. */
  stat(index: number): Buffer {
    return this.stats.subarray(index * STAT_BYTES, (index + 1) * STAT_BYTES);
  }

  /** Everything about an entry; buffers are views. Throws DAMAGED or PATH_ESCAPES. */
  entry(index: number): PlacedEntry {
    const columns = this.#columns;
    const link = sparseValue(columns.links, index);
    const entry: PlacedEntry = {
      path: this.path(index),
      stat: this.stat(index),
      user: nameAt(columns.users, index),
      group: nameAt(columns.groups, index),
      linkTarget: link === undefined ? '' : fromBytes(link),
      xattrs: this.#xattrs(index),
      inodeFlags: sparseValue(columns.flags, index) ?? 0,
      hardLinkGroup: sparseValue(columns.linkGroups, index) ?? 0,
      content: this.content(index),
    };
    const fault = entryFault(entry satisfies Entry);
    if (fault !== undefined) throw damaged(`"${shortPath(entry.path)}" ${fault}`);
    return entry;
  }

  /** Content of one entry. Throws DAMAGED. */
  content(index: number): Content<PlacedChunk, PlacedNode> {
    this.#contents ??= this.#readContents();
    return this.#contents[index] ?? NO_CONTENT;
  }

  /** Latest ctime of all entries. */
  get maxCtime(): { readonly seconds: number; readonly ns: number } {
    return (this.#maxCtime ??= latestCtime(this.stats));
  }

  /** Sum of the sizes of regular files. */
  get totalBytes(): number {
    let total = 0;
    for (let at = 0; at < this.stats.length; at += STAT_BYTES) {
      if ((statMode(this.stats, at) & S_IFMT) === S_IFREG) total += statSize(this.stats, at);
    }
    return total;
  }

  /** Decodes every entry, so that all is checked. Throws DAMAGED or PATH_ESCAPES. */
  check(): void {
    for (let i = 0; i < this.count; i++) this.entry(i);
  }

  get #table(): ReferenceTable {
    return (this.#references ??= new ReferenceTable(this.id, this.references, this.#reader(this.#columns.references)));
  }

  #xattrs(index: number): Xattrs<PlacedChunk> {
    const set = sparseValue(this.#columns.xattrs, index);
    if (set === undefined) return NO_XATTRS;
    const range = this.#columns.xattrSets[set];
    if (range === undefined) throw damaged(`xattr set ${set} is missing`);
    return (this.#xattrSets[set] ??= decodeXattrSet(new WireReader(this.payload, range[0], range[1]), this.#table));
  }

  #readContents(): Content<PlacedChunk, PlacedNode>[] {
    const { contents, treeReferences, treeSegments } = this.#columns;
    const reader = new SegmentReader(
      this.#table,
      this.#reader(this.#columns.segments),
      this.count * MAX_INLINE_SEGMENTS,
    );
    const all: Content<PlacedChunk, PlacedNode>[] = [];
    let tree = 0;
    for (let i = 0; i < this.count; i++) {
      const kind = contents[i]!;
      if (kind > TREE_CONTENT) throw damaged(`content of ${kind} segments`);
      if (kind < TREE_CONTENT) {
        all.push(kind === 0 ? NO_CONTENT : { kind: 'segments', segments: this.#readSegments(reader, kind, i) });
        continue;
      }
      const reference = treeReferences[tree];
      const segmentCount = treeSegments[tree++];
      if (reference === undefined || segmentCount === undefined) throw damaged('a segment tree is missing');
      all.push({ kind: 'tree', root: this.#table.tree(reference), segmentCount });
    }
    if (!reader.done || tree !== treeReferences.length || tree !== treeSegments.length)
      throw damaged('left-over segments');
    return all;
  }

  #readSegments(reader: SegmentReader, count: number, index: number): Segment<PlacedChunk>[] {
    const segments: Segment<PlacedChunk>[] = [];
    let rest = statSize(this.stats, index * STAT_BYTES);
    for (let i = 1; i <= count; i++) {
      const segment = reader.next(i === count ? rest : undefined);
      rest -= segment.length;
      segments.push(segment);
    }
    return segments;
  }

  #reader(range: readonly [number, number] | undefined): WireReader | undefined {
    return range === undefined ? undefined : new WireReader(this.payload, range[0], range[1]);
  }
}

function nameAt({ names, index }: LeafColumns['users'], entry: number): ByteString {
  const name = names[index === undefined ? 0 : index[entry]!];
  if (name === undefined) throw damaged('an owner name is missing');
  return name;
}

function latestCtime(stats: Buffer): { readonly seconds: number; readonly ns: number } {
  let seconds = -Infinity;
  let ns = 0;
  for (let at = 0; at < stats.length; at += STAT_BYTES) {
    const s = statCtimeSeconds(stats, at);
    if (s < seconds) continue;
    const n = statCtimeNs(stats, at);
    if (s > seconds || n > ns) {
      seconds = s;
      ns = n;
    }
  }
  return { seconds, ns };
}
