// LeafWriter: entries in, the payload of a leaf out.

import type { Entry, Xattrs } from './entry.ts';
import { entryWeight } from './entry-check.ts';
import {
  CLOSING_PATH_BYTES,
  CLOSING_WEIGHT,
  MAX_INLINE_SEGMENTS,
  MAX_NODE_REFERENCES,
  type NodeBounds,
} from './limits.ts';
import { LEAF_FIELD, type Closing, NODE_FIELD } from './node-fields.ts';
import { PathWriter } from './paths.ts';
import { ReferenceWriter } from './references.ts';
import { SegmentWriter } from './segment-columns.ts';
import { S_IFMT, S_IFREG, statMode, statSize } from './stat-record.ts';
import { WireWriter } from './wire.ts';
import { encodeXattrSet } from './xattrs.ts';

/** Content byte of a file with a segment tree. */
export const TREE_CONTENT = MAX_INLINE_SEGMENTS + 1;

/** An entry refers to at most 8 chunks with a page-tag node each, and one with its xattrs. */
const REFERENCES_PER_ENTRY = 2 * MAX_INLINE_SEGMENTS + 1;

/** What a leaf holds until it is sealed. Entries are well formed and in order: the builder checked them. */
export class LeafWriter {
  readonly #maxEntries: number;
  readonly #references = new ReferenceWriter();
  readonly #paths = new PathWriter();
  readonly #stats = new WireWriter(64 * 1024);
  readonly #users = new NameWriter();
  readonly #groups = new NameWriter();
  readonly #segments = new SegmentWriter(this.#references);
  readonly #contents = new WireWriter();
  readonly #links = new SparseColumn<string>();
  readonly #flags = new SparseColumn<number>();
  readonly #linkGroups = new SparseColumn<number>();
  readonly #xattrs = new SparseColumn<number>();
  readonly #xattrSets = new Map<string, number>();
  readonly #treeReferences: number[] = [];
  readonly #treeSegments: number[] = [];
  readonly #message = new WireWriter(64 * 1024);
  readonly #part = new WireWriter(16 * 1024);
  #weight = 0;
  /** Entries so far. */
  count = 0;
  firstPath = '';
  /** Sum of the sizes of regular files. */
  totalBytes = 0;

  constructor({ maxEntries }: NodeBounds) {
    this.#maxEntries = maxEntries;
  }

  add(entry: Entry): void {
    const index = this.count++;
    if (index === 0) this.firstPath = entry.path;
    const rest = this.#paths.add(entry.path);
    this.#weight += entryWeight(entry, rest);
    this.#stats.raw(entry.stat);
    this.#users.add(entry.user);
    this.#groups.add(entry.group);
    if (entry.linkTarget !== '') this.#links.add(index, entry.linkTarget);
    if (entry.inodeFlags !== 0) this.#flags.add(index, entry.inodeFlags);
    if (entry.hardLinkGroup !== 0) this.#linkGroups.add(index, entry.hardLinkGroup);
    if (entry.xattrs.kind === 'chunk' || entry.xattrs.list.length > 0)
      this.#xattrs.add(index, this.#xattrSet(entry.xattrs));
    if ((statMode(entry.stat) & S_IFMT) === S_IFREG) this.totalBytes += statSize(entry.stat);
    this.#addContent(entry);
  }

  /** Whether the leaf must close after what it holds, whatever comes next. */
  get full(): boolean {
    return (
      this.count >= this.#maxEntries ||
      this.#weight >= CLOSING_WEIGHT ||
      this.#paths.decodedBytes >= CLOSING_PATH_BYTES ||
      this.#references.count > MAX_NODE_REFERENCES - REFERENCES_PER_ENTRY
    );
  }

  /** The node's bytes. Begins a new leaf. */
  take(closing: Closing): { payload: Buffer; references: Buffer; proofs: Buffer } {
    const leaf = this.#message;
    leaf.clear();
    leaf.uintField(LEAF_FIELD.count, this.count);
    leaf.uintField(LEAF_FIELD.closing, closing);
    leaf.bytesField(LEAF_FIELD.paths, this.#paths.peek());
    leaf.bytesField(LEAF_FIELD.stats, this.#stats.peek());
    this.#nested(LEAF_FIELD.users, (part) => this.#users.encode(part));
    this.#nested(LEAF_FIELD.groups, (part) => this.#groups.encode(part));
    leaf.packedField(LEAF_FIELD.linkAt, this.#links.at);
    for (const target of this.#links.values) leaf.textElement(LEAF_FIELD.linkTarget, target);
    for (const set of this.#xattrSets.keys()) leaf.element(LEAF_FIELD.xattrSets, Buffer.from(set, 'latin1'));
    leaf.packedField(LEAF_FIELD.xattrAt, this.#xattrs.at);
    leaf.packedField(LEAF_FIELD.xattrSet, this.#xattrs.values);
    leaf.packedField(LEAF_FIELD.flagsAt, this.#flags.at);
    leaf.packedField(LEAF_FIELD.flags, this.#flags.values);
    leaf.packedField(LEAF_FIELD.linkGroupAt, this.#linkGroups.at);
    leaf.packedField(LEAF_FIELD.linkGroup, this.#linkGroups.values);
    leaf.bytesField(LEAF_FIELD.contents, this.#contents.peek());
    this.#nested(LEAF_FIELD.segments, (part) => this.#segments.encode(part));
    leaf.packedField(LEAF_FIELD.treeReference, this.#treeReferences);
    leaf.packedField(LEAF_FIELD.treeSegments, this.#treeSegments);
    this.#nested(LEAF_FIELD.references, (part) => this.#references.encode(part));

    this.#part.clear();
    this.#part.element(NODE_FIELD.leaf, leaf.peek());
    const taken = {
      payload: this.#part.copy(),
      references: this.#references.copyIds(),
      proofs: this.#references.copyProofs(),
    };
    this.#clear();
    return taken;
  }

  #addContent({ content }: Entry): void {
    if (content.kind === 'tree') {
      this.#contents.varint(TREE_CONTENT);
      this.#treeReferences.push(this.#references.tree(content.root));
      this.#treeSegments.push(content.segmentCount);
      return;
    }
    this.#contents.varint(content.segments.length);
    const last = content.segments.length - 1;
    content.segments.forEach((segment, i) => this.#segments.add(segment, i === last));
  }

  #xattrSet(xattrs: Xattrs): number {
    const key = encodeXattrSet(xattrs, this.#references).toString('latin1');
    const known = this.#xattrSets.get(key);
    if (known !== undefined) return known;
    this.#xattrSets.set(key, this.#xattrSets.size);
    return this.#xattrSets.size - 1;
  }

  #nested(field: number, encode: (part: WireWriter) => void): void {
    this.#part.clear();
    encode(this.#part);
    this.#message.bytesField(field, this.#part.peek());
  }

  #clear(): void {
    for (const column of [this.#references, this.#paths, this.#stats, this.#users, this.#groups, this.#segments])
      column.clear();
    for (const column of [this.#contents, this.#links, this.#flags, this.#linkGroups, this.#xattrs]) column.clear();
    this.#xattrSets.clear();
    this.#treeReferences.length = 0;
    this.#treeSegments.length = 0;
    this.#weight = 0;
    this.count = 0;
    this.totalBytes = 0;
  }
}

/** Values that few entries have: index and value. */
class SparseColumn<T> {
  readonly at: number[] = [];
  readonly values: T[] = [];

  add(index: number, value: T): void {
    this.at.push(index);
    this.values.push(value);
  }

  clear(): void {
    this.at.length = 0;
    this.values.length = 0;
  }
}

/** Names of owners: each once, and an index for each entry unless all have the same. */
class NameWriter {
  readonly #places = new Map<string, number>();
  readonly #index: number[] = [];

  add(name: string): void {
    let place = this.#places.get(name);
    if (place === undefined) {
      place = this.#places.size;
      this.#places.set(name, place);
    }
    this.#index.push(place);
  }

  encode(message: WireWriter): void {
    for (const name of this.#places.keys()) message.textElement(1, name);
    if (this.#places.size > 1) message.packedField(2, this.#index);
  }

  clear(): void {
    this.#places.clear();
    this.#index.length = 0;
  }
}
