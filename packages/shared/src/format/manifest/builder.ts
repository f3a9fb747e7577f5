// ManifestBuilder: entries in manifest order in, sealed nodes out, children before parents.
//
// Hazard: a node's end must depend on what it holds and on nothing else. Were it to depend on how the manifest was
// built, the same tree would give other nodes after each incremental backup, and nothing would be shared or skipped.
//
// Invariants (builder.property.test.ts, changes.property.test.ts):
//   M1 the same entries give the same nodes, whether each was added, kept from the manifest before, or reused by node;
//   M2 changing one entry gives one new leaf and new ancestors, and nothing else;
//   M3 no node is beyond its limits, whatever the entries;
//   M4 entries are in order, well formed, and each stands in a directory that came before it.
//
// Pure: sealing and sending are ports.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import { BoundaryHash } from './boundary.ts';
import type { Entry, NodeReference } from './entry.ts';
import { entryFault } from './entry-check.ts';
import { type Child, InnerWriter } from './inner-node.ts';
import type { LeafView } from './leaf-view.ts';
import { LeafWriter } from './leaf-writer.ts';
import { MIN_INNER_CHILDREN, NODE_BOUNDS, type NodeBounds } from './limits.ts';
import { CLOSED_BY_END, CLOSED_BY_LIMIT, CLOSED_BY_RULE, type Closing } from './node-fields.ts';
import { Ancestors, ascends, pathFault, sharedLength, shortPath } from './paths.ts';
import { S_IFDIR, S_IFMT, STAT_BYTES, statMode } from './stat-record.ts';

export type NodeKind = 'leaf' | 'inner' | 'segments' | 'segments-inner' | 'page-tags';

/** A node that was just sealed. */
export interface EmittedNode<S extends NodeReference> {
  readonly kind: NodeKind;
  /** What `sealNode` returned. */
  readonly sealed: S;
  /** 32-byte ids, concatenated, in order of first use. */
  readonly references: Buffer;
  /** 16-byte proofs of the references, in the same order: the vault demands them. */
  readonly proofs: Buffer;
  readonly payload: Buffer;
}

export interface BuilderPorts<S extends NodeReference = NodeReference> {
  /** K_node. */
  readonly node: Buffer;
  /** Seals a node (kind 2). `references` is the concatenated 32-byte ids. May return more than id and proof. */
  sealNode(references: Buffer, payload: Buffer): S;
  /** Every new node, children before parents. */
  onNode(node: EmittedNode<S>): void;
  /** A leaf that was kept whole. With `onNode` this tells all leaves in order, unless nodes are reused unread. */
  onReusedLeaf?(leaf: LeafView): void;
}

export interface ManifestRoot extends NodeReference {
  readonly entries: number;
  /** Sum of the sizes of regular files; each name of an inode counts. */
  readonly totalBytes: number;
}

export class ManifestBuilder<S extends NodeReference = NodeReference> {
  readonly #ports: BuilderPorts<S>;
  readonly #hash: BoundaryHash;
  readonly #bounds: NodeBounds;
  readonly #leaf: LeafWriter;
  /** Open inner nodes; the one at index i has level i + 1. */
  readonly #levels: InnerWriter[] = [];
  /** Children that each of them ever got, over all its nodes. */
  readonly #pushed: number[] = [];
  readonly #ancestors = new Ancestors();
  /** Undefined before the first entry, and behind a node that was reused unread. */
  #last: ByteString | undefined;
  #begun = false;
  /** A leaf whose first `kept` entries were kept and nothing else added since it began. */
  #run: { readonly leaf: LeafView; kept: number } | undefined;

  /** `bounds`: other than the format's in tests alone. */
  constructor(ports: BuilderPorts<S>, bounds = NODE_BOUNDS) {
    this.#ports = ports;
    this.#bounds = bounds;
    this.#leaf = new LeafWriter(bounds);
    this.#hash = new BoundaryHash(ports.node);
  }

  /**
   * Adds the next entry. `knownInside`: the caller knows that this path closes no leaf by the rule (it stood inside a
   * leaf of a previous manifest; `PreviousManifest.knownInside`), which saves a hash.
   * Throws INVALID_ARGUMENT for an entry that is malformed or out of order, or whose parent is not a directory.
   */
  add(entry: Entry, knownInside = false): void {
    if (this.#run !== undefined) this.#copyRun();
    this.#append(entry, knownInside);
  }

  /**
   * Adds entry `index` of a leaf of the previous manifest, unchanged. Costs next to nothing when all entries of the leaf
   * are kept one after the other from a leaf boundary on: then the whole leaf is reused, and nothing is decoded or sealed.
   */
  keep(leaf: LeafView, index: number): void {
    const run = this.#run;
    if (run !== undefined && run.leaf === leaf && run.kept === index && index < leaf.count) {
      run.kept++;
    } else {
      if (run !== undefined) this.#copyRun();
      if (index !== 0 || this.#leaf.count > 0) {
        this.#append(leaf.entry(index), leaf.knownInside(index));
        return;
      }
      this.#checkPlace(leaf.path(0), isDirectory(leaf.stats, 0));
      this.#run = { leaf, kept: 1 };
    }
    if (index === leaf.count - 1 && leaf.closing !== CLOSED_BY_END) this.#reuseRun(leaf);
  }

  /** Whether a node of this level (0: a leaf) could be reused here: nothing below it is open. */
  canReuse(level: number): boolean {
    if (this.#leaf.count > 0 || this.#run !== undefined) return false;
    return this.#levels.slice(0, level).every((open) => open.count === 0);
  }

  /**
   * Adds a node of the previous manifest with all below it, unread. Only where `canReuse(level)`, and one that closed by
   * the end only if nothing comes after it.
   */
  reuseNode(level: number, child: Child): void {
    if (!this.canReuse(level)) throw new HoldfastError('INTERNAL', `a node of level ${level} can't be reused here`);
    this.#checkPlace(child.firstPath, true);
    this.#last = undefined;
    // The levels in between have children too, though they were never seen: else the root would be looked for below.
    for (let below = 1; below <= level; below++) this.#countPushed(below, MIN_INNER_CHILDREN);
    this.#push(level + 1, child);
  }

  /** Closes all open nodes and returns the root. Without any entry the root is an empty leaf. */
  finish(): ManifestRoot {
    const run = this.#run;
    if (run !== undefined && run.kept === run.leaf.count) this.#reuseRun(run.leaf);
    else if (run !== undefined) this.#copyRun();
    if (this.#leaf.count > 0 || this.#pushed.length === 0) this.#closeLeaf(CLOSED_BY_END);
    for (let level = 1; ; level++) {
      const open = this.#levels[level - 1]!;
      const only = this.#pushed[level - 1] === 1 ? open.first : undefined;
      if (only !== undefined)
        return { id: only.id, proof: only.proof, entries: only.entries, totalBytes: only.totalBytes };
      if (open.count > 0) this.#closeInner(open, CLOSED_BY_END);
    }
  }

  #append(entry: Entry, knownInside: boolean): void {
    this.#checkPlace(entry.path, entry.stat.length === STAT_BYTES && isDirectory(entry.stat, 0));
    const fault = entryFault(entry);
    if (fault !== undefined) throw refused(entry.path, fault);
    this.#leaf.add(entry);
    if (!knownInside && this.#hash.ofPath(entry.path) < this.#bounds.leaf) this.#closeLeaf(CLOSED_BY_RULE);
    else if (this.#leaf.full) this.#closeLeaf(CLOSED_BY_LIMIT);
  }

  /** Checks order and parent, and goes on to `path`. */
  #checkPlace(path: ByteString, directory: boolean): void {
    const last = this.#last;
    if (last === undefined) {
      const fault = pathFault(path);
      if (fault !== undefined) throw refused(path, fault);
      if (!this.#begun && path !== '') throw refused(path, 'comes before the root');
      this.#ancestors.reset(path, directory);
    } else {
      const shared = sharedLength(last, path);
      if (!ascends(last, path, shared)) throw refused(path, `comes after "${shortPath(last)}"`);
      const fault = pathFault(path, shared);
      if (fault !== undefined) throw refused(path, fault);
      if (!this.#ancestors.holds(path, shared)) throw refused(path, 'stands below something that is no directory');
      this.#ancestors.enter(path, directory);
    }
    this.#begun = true;
    this.#last = path;
  }

  /** The kept entries of a leaf that can't be reused whole after all. */
  #copyRun(): void {
    const run = this.#run;
    if (run === undefined) return;
    this.#run = undefined;
    // Its first entry went through #checkPlace when the run began.
    this.#leaf.add(run.leaf.entry(0));
    if (!run.leaf.knownInside(0)) this.#closeLeaf(CLOSED_BY_RULE);
    else if (this.#leaf.full) this.#closeLeaf(CLOSED_BY_LIMIT);
    for (let i = 1; i < run.kept; i++) this.#append(run.leaf.entry(i), run.leaf.knownInside(i));
  }

  #reuseRun(leaf: LeafView): void {
    this.#run = undefined;
    const last = leaf.count - 1;
    this.#last = leaf.path(last);
    this.#ancestors.reset(this.#last, isDirectory(leaf.stats, last * STAT_BYTES));
    this.#ports.onReusedLeaf?.(leaf);
    const { id, proof, totalBytes } = leaf;
    this.#push(1, { id, proof, firstPath: leaf.path(0), entries: leaf.count, totalBytes });
  }

  #closeLeaf(closing: Closing): void {
    const { firstPath, count: entries, totalBytes } = this.#leaf;
    const { payload, references, proofs } = this.#leaf.take(closing);
    const sealed = this.#ports.sealNode(references, payload);
    this.#ports.onNode({ kind: 'leaf', sealed, references, proofs, payload });
    this.#push(1, { id: sealed.id, proof: sealed.proof, firstPath, entries, totalBytes });
  }

  #closeInner(open: InnerWriter, closing: Closing): void {
    const { payload, references, proofs, about } = open.take(closing);
    const sealed = this.#ports.sealNode(references, payload);
    this.#ports.onNode({ kind: 'inner', sealed, references, proofs, payload });
    this.#push(open.level + 1, { id: sealed.id, proof: sealed.proof, ...about });
  }

  #push(level: number, child: Child): void {
    this.#countPushed(level, 1);
    const open = this.#levels[level - 1]!;
    open.add(child);
    if (open.count < MIN_INNER_CHILDREN) return;
    if (this.#hash.ofChild(level, child.firstPath) < this.#bounds.inner) this.#closeInner(open, CLOSED_BY_RULE);
    else if (open.full) this.#closeInner(open, CLOSED_BY_LIMIT);
  }

  #countPushed(level: number, children: number): void {
    while (this.#levels.length < level) {
      this.#levels.push(new InnerWriter(this.#levels.length + 1, this.#bounds));
      this.#pushed.push(0);
    }
    this.#pushed[level - 1] = this.#pushed[level - 1]! + children;
  }
}

function isDirectory(stats: Buffer, at: number): boolean {
  return (statMode(stats, at) & S_IFMT) === S_IFDIR;
}

function refused(path: ByteString, why: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', `entry "${shortPath(path)}" ${why}`);
}
