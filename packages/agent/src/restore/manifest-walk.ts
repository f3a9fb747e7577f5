// Walking a snapshot's manifest leaf by leaf, past what cannot be read.
//
// Hazard: the manifest comes from a vault that is not trusted. A node that is not what its parent says (another first
// path, other counts, a level that does not fall) would make entries appear twice, vanish, or go on for ever. And one
// damaged node must not cost the files of all the others.
//
// Invariants (fetchers.test.ts, restore.test.ts):
//   M1 leaves come in order, and begin where their parent says;
//   M2 a node that cannot be loaded is one gap, with the range of paths and the number of entries that it costs;
//   M3 nodes without selected paths are not fetched.

import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { openInner, type InnerView } from '@holdfast/shared/format/manifest/inner-node';
import { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import type { AsyncNodeStore, NodeBytes, WantedNode } from '@holdfast/shared/format/manifest/node-store';
import type { Selection } from './selection.ts';

export type WalkStep =
  | { readonly kind: 'leaf'; readonly leaf: LeafView }
  /** Entries from `from` (inclusive) to `to` (exclusive; undefined: the end) are lost. `entries` is 0 when nobody knows how many. */
  | {
      readonly kind: 'gap';
      readonly from: ByteString;
      readonly to: ByteString | undefined;
      readonly entries: number;
      readonly error: HoldfastError;
    };

/** A node that is still to be visited, and what is known of it. */
interface Pending {
  readonly wanted: WantedNode;
  readonly from: ByteString;
  readonly to: ByteString | undefined;
  readonly entries: number;
  /** Level that it must have; undefined for the root. */
  readonly level: number | undefined;
}

/** All leaves that may hold selected paths. Throws what no other vault answer would mend: CANCELLED, UNREACHABLE, PROTOCOL_VIOLATION. */
export async function* walkLeaves(
  store: AsyncNodeStore,
  root: WantedNode,
  selection: Selection,
): AsyncGenerator<WalkStep, void, undefined> {
  const stack: Pending[] = [{ wanted: root, from: '', to: undefined, entries: 0, level: undefined }];
  for (let pending = stack.pop(); pending !== undefined; pending = stack.pop()) {
    store.expect?.([pending, ...stack.slice(-AHEAD).toReversed()].map(({ wanted }) => wanted));
    try {
      const node = await store.load(pending.wanted);
      const opened = openNode(pending, node);
      if (opened instanceof LeafView) yield { kind: 'leaf', leaf: opened };
      else for (const child of opened.toReversed()) if (selection.touches(child.from, child.to)) stack.push(child);
    } catch (thrown) {
      const error = toHoldfastError(thrown);
      if (error.code !== 'DAMAGED' && error.code !== 'UNSUPPORTED_VERSION') throw error;
      yield { kind: 'gap', from: pending.from, to: pending.to, entries: pending.entries, error };
    }
  }
}

const AHEAD = 8;

function openNode(pending: Pending, node: NodeBytes): LeafView | Pending[] {
  const { wanted } = pending;
  const inner = openInner(wanted.id, node.references, node.payload);
  if (inner === undefined) {
    const leaf = LeafView.open(wanted.id, wanted.proof, node.references, node.payload);
    if (pending.level !== undefined && pending.level !== 0) throw mismatch('a leaf where an inner node should be');
    if (leaf.count > 0) {
      const first = leaf.path(0);
      if (first !== pending.from) throw mismatch('another first path than its parent says');
      if (pending.to !== undefined && comparePaths(leaf.path(leaf.count - 1), pending.to) >= 0) {
        throw mismatch('paths that belong to the next leaf');
      }
    }
    if (pending.level !== undefined && leaf.count !== pending.entries)
      throw mismatch('another number of entries than its parent says');
    return leaf;
  }
  if (pending.level !== undefined && inner.level !== pending.level)
    throw mismatch('another level than its parent says');
  if (inner.firstPaths[0] !== pending.from) throw mismatch('another first path than its parent says');
  return inner.firstPaths.map((_, index) => pendingChild(pending, inner, index));
}

function pendingChild(parent: Pending, inner: InnerView, index: number): Pending {
  const child = inner.child(index);
  const to = inner.firstPaths[index + 1] ?? parent.to;
  if (to !== undefined && comparePaths(child.firstPath, to) >= 0) throw mismatch('children out of order');
  return {
    wanted: { id: child.id, proof: child.proof, parent: parent.wanted.id, index },
    from: child.firstPath,
    to,
    entries: child.entries,
    level: inner.level - 1,
  };
}

function mismatch(what: string): HoldfastError {
  return new HoldfastError('DAMAGED', `a manifest node has ${what}`);
}
