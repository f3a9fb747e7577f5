// TreeCursor: a place in a manifest's tree, between nodes that were read and nodes that needn't be.
//
// Lookup, walk, listing, counting, diff and build-from-changes all stand on it: each decides at every node whether to
// step over it or into it. Asks for nodes through the driver (node-store.ts), so that the logic exists once for
// synchronous and asynchronous stores.
//
// Hazard: a hostile controller answers with nodes of its choice. A node must be what its parent says of it (level, first
// path, number of entries) and stay inside its parent's range, so order holds across nodes, and levels sink, so there
// are no loops.

import { comparePaths, type ByteString } from '../../base/byte-string.ts';
import { PROOF_BYTES } from './limits.ts';
import type { NodeReference } from './entry.ts';
import { type Child, InnerView, openInner } from './inner-node.ts';
import { LeafView } from './leaf-view.ts';
import { type Reading, type WantedNode, wanting } from './node-store.ts';
import { damaged } from './wire.ts';

/** How many of the following nodes a reader announces. */
const AHEAD = 16;

/** A node that was stepped into. `end`: where its range ends; undefined for the end of the manifest. */
type Frame =
  | { readonly view: LeafView; readonly end: ByteString | undefined; index: number; readonly isLeaf: true }
  | { readonly view: InnerView; readonly end: ByteString | undefined; index: number; readonly isLeaf: false };

/** What stands under the cursor: a node not read yet, or an entry of a leaf. */
export type Head =
  | { readonly kind: 'node'; readonly path: ByteString; readonly level: number; readonly child: Child }
  | { readonly kind: 'entry'; readonly path: ByteString; readonly leaf: LeafView; readonly index: number };

export class TreeCursor {
  readonly #frames: Frame[] = [];
  readonly #until: ByteString | undefined;
  readonly #announce: boolean;

  private constructor(until: ByteString | undefined, announce: boolean) {
    this.#until = until;
    this.#announce = announce;
  }

  /**
   * A cursor at the first child or entry of the root. `until`: the reader will stop there, so nodes from there on are not
   * announced; `announce` false: none are (a reader that jumps). Throws DAMAGED.
   */
  static *open(root: NodeReference, announce = false, until?: ByteString): Reading<TreeCursor> {
    const cursor = new TreeCursor(until, announce);
    const wanted: WantedNode = { id: root.id, proof: root.proof, parent: undefined, index: 0 };
    const view = yield* load(wanted, []);
    const first = view instanceof LeafView ? (view.count > 0 ? view.path(0) : '') : view.firstPaths[0];
    if (first !== '') throw damaged('a manifest that does not begin with its root directory');
    cursor.#enter(view, undefined);
    return cursor;
  }

  /** What stands under the cursor; undefined at the end. */
  get head(): Head | undefined {
    const top = this.#frames.at(-1);
    if (top === undefined) return undefined;
    const { index } = top;
    if (top.isLeaf) return { kind: 'entry', path: top.view.path(index), leaf: top.view, index };
    const child = top.view.child(index);
    return { kind: 'node', path: child.firstPath, level: top.view.level - 1, child };
  }

  /** Where the range under the cursor ends, exclusive: the path that the next node of its level begins with. */
  get headEnd(): ByteString | undefined {
    const top = this.#frames.at(-1);
    if (top === undefined || top.isLeaf) return undefined;
    return top.view.firstPaths[top.index + 1] ?? top.end;
  }

  /** Steps over what is under the cursor: an entry, or a node with all below it. */
  skip(): void {
    let top = this.#frames.at(-1);
    while (top !== undefined) {
      top.index++;
      if (top.index < top.view.count) return;
      this.#frames.pop();
      top = this.#frames.at(-1);
    }
  }

  /** Steps into the node under the cursor. Throws DAMAGED. */
  *expand(): Reading<void> {
    const top = this.#frames.at(-1);
    if (top === undefined || top.isLeaf) throw new RangeError('there is no node under the cursor');
    const child = top.view.child(top.index);
    const end = this.headEnd;
    const view = yield* load(wantedChild(top.view, top.index), this.#ahead(top.view, top.index + 1));
    check(view, top.view.level - 1, child, end);
    this.#enter(view, end);
  }

  /** Goes on to the first entry at or after `path` (never back), reading only the nodes on the way. */
  *seek(path: ByteString): Reading<void> {
    let top = this.#frames.at(-1);
    while (top !== undefined) {
      if (top.end !== undefined && comparePaths(path, top.end) >= 0) {
        this.#frames.pop();
        this.skip();
      } else if (top.isLeaf) {
        top.index = Math.max(top.index, top.view.lowerBound(path));
        if (top.index < top.view.count) return;
        this.#frames.pop();
        this.skip();
      } else {
        top.index = Math.max(top.index, top.view.childHolding(path));
        yield* this.expand();
      }
      top = this.#frames.at(-1);
    }
  }

  #enter(view: LeafView | InnerView, end: ByteString | undefined): void {
    if (view instanceof InnerView) this.#frames.push({ view, end, index: 0, isLeaf: false });
    else if (view.count > 0) this.#frames.push({ view, end, index: 0, isLeaf: true });
  }

  #ahead(view: InnerView, from: number): WantedNode[] {
    const next: WantedNode[] = [];
    if (!this.#announce) return next;
    for (let i = from; i < view.count && next.length < AHEAD; i++) {
      if (this.#until !== undefined && comparePaths(view.firstPaths[i]!, this.#until) >= 0) break;
      next.push(wantedChild(view, i));
    }
    return next;
  }
}

function wantedChild(parent: InnerView, index: number): WantedNode {
  const { id, proof } = parent.child(index);
  return { id, proof, parent: parent.id, index };
}

function* load(wanted: WantedNode, next: readonly WantedNode[]): Reading<LeafView | InnerView> {
  const { references, payload } = yield* wanting(wanted, next);
  const proof = wanted.proof.length === 0 ? Buffer.alloc(PROOF_BYTES) : wanted.proof;
  return openInner(wanted.id, references, payload) ?? LeafView.open(wanted.id, proof, references, payload);
}

/** Whether a node is what its parent says. */
function check(view: LeafView | InnerView, level: number, child: Child, end: ByteString | undefined): void {
  const isLeaf = view instanceof LeafView;
  if ((isLeaf ? 0 : view.level) !== level) throw damaged('a node of another level than its parent says');
  const paths = isLeaf ? view.paths : view.firstPaths;
  if (paths[0] !== child.firstPath) throw damaged('a node that does not begin where its parent says');
  const last = paths.at(-1) ?? '';
  if (end !== undefined && comparePaths(last, end) >= 0) throw damaged('a node that goes into the next one');
  if (view.entries !== child.entries) throw damaged('a node with another number of entries than its parent says');
}
