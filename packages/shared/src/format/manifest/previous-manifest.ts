// PreviousManifest: a cursor over the previous manifest in manifest order, for the incremental scan to merge with.
//
// Holds one leaf at a time, so memory doesn't grow with the tree. Its members are plain fields, set by `advance`: the scan
// reads them for every file there is.

import { comparePaths, type ByteString } from '../../base/byte-string.ts';
import type { LeafView } from './leaf-view.ts';
import { endOfSubtree } from './paths.ts';
import { damaged } from './wire.ts';

export class PreviousManifest {
  readonly #leaves: Iterator<LeafView>;
  #paths: readonly ByteString[] = [];
  #leaf: LeafView | undefined;
  /** Whether there is an entry under the cursor. The other members may be read only then. */
  valid = false;
  path: ByteString = '';
  /** Place in `leaf`: its stat record is in `leaf.stats` from byte `index × 64` on. */
  index = -1;

  /** Leaves in order: from the agent's cache file, or `streamSync(store, leaves(root))`. Throws what the iterator throws. */
  constructor(leaves: Iterator<LeafView>) {
    this.#leaves = leaves;
    this.advance();
  }

  get leaf(): LeafView {
    if (this.#leaf === undefined) throw new RangeError('there is no entry under the cursor');
    return this.#leaf;
  }

  /** Whether this path is known to close no leaf by the rule; pass it to `ManifestBuilder.add`. */
  get knownInside(): boolean {
    return this.leaf.knownInside(this.index);
  }

  /** Throws DAMAGED or PATH_ESCAPES when the next leaf is no leaf or out of order. */
  advance(): void {
    const next = this.#paths[++this.index];
    if (next === undefined) this.#nextLeaf();
    else this.path = next;
  }

  /** Goes past the entry under the cursor and everything below it. */
  skipSubtree(): void {
    const end = endOfSubtree(this.path);
    if (end !== undefined) this.seek(end);
    else while (this.valid) this.#nextLeaf();
  }

  /** Goes to the first entry at or after `path`, never back. */
  seek(path: ByteString): void {
    while (this.valid) {
      const at = this.leaf.lowerBound(path);
      if (at < this.#paths.length) {
        if (at > this.index) {
          this.index = at;
          this.path = this.#paths[at]!;
        }
        return;
      }
      this.#nextLeaf();
    }
  }

  #nextLeaf(): void {
    const last = this.#paths.at(-1);
    for (;;) {
      const step = this.#leaves.next();
      if (step.done === true) break;
      const first = step.value.paths[0];
      if (first === undefined) continue;
      if (last !== undefined && comparePaths(last, first) >= 0) throw damaged('leaves out of order');
      this.#leaf = step.value;
      this.#paths = step.value.paths;
      this.index = 0;
      this.path = first;
      this.valid = true;
      return;
    }
    this.valid = false;
    this.#leaf = undefined;
    this.#paths = [];
  }
}
