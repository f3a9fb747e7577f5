// ManifestBuilder: entries in manifest order in, sealed nodes out, children before parents.

import { HoldfastError } from '../../base/errors.ts';
import type { Entry, NodeReference } from './entry.ts';
import type { LeafView } from './leaf-view.ts';

export type NodeKind = 'leaf' | 'inner' | 'segments' | 'segments-inner';

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
  /** A leaf of the previous manifest that stands in the new one as it is. Leaves (new and reused) come in order. */
  onReusedLeaf?(leaf: LeafView): void;
}

export interface ManifestRoot extends NodeReference {
  readonly entries: number;
  /** Sum of the sizes of regular files; each name of an inode counts. */
  readonly totalBytes: number;
}

export class ManifestBuilder<S extends NodeReference = NodeReference> {
  constructor(_ports: BuilderPorts<S>) {}

  /**
   * Adds the next entry. `knownInside`: the caller knows that this path closes no leaf by the rule (it stood inside a
   * leaf of a previous manifest; `PreviousManifest.knownInside`), which saves an HMAC.
   * Throws INVALID_ARGUMENT for an entry that is malformed or out of order, or whose parent is not a directory.
   */
  add(_entry: Entry, _knownInside = false): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /**
   * Adds entry `index` of a leaf of the previous manifest, unchanged. Costs next to nothing when all entries of the leaf
   * are kept one after the other from a leaf boundary on: then the whole leaf is reused, and nothing is decoded or sealed.
   */
  keep(_leaf: LeafView, _index: number): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Closes all open nodes and returns the root. Without any entry the root is an empty leaf. */
  finish(): ManifestRoot {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }
}
