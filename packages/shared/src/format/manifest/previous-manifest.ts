// PreviousManifest: a cursor over the previous manifest in manifest order, one leaf in memory, for the incremental scan.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import { LeafView } from './leaf-view.ts';

export class PreviousManifest {
  /** Leaves in order: from the cache file, or `leavesOf(root)` over a store. */
  constructor(_leaves: Iterator<LeafView>) {}

  /** Whether there is an entry under the cursor. The members below may be read only then. */
  get valid(): boolean {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  get path(): ByteString {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** The leaf under the cursor, and the place in it: stat record at `leaf.stats`, byte `index × 64`. */
  get leaf(): LeafView {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  get index(): number {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Whether this path is known to close no leaf by the rule; pass it to `ManifestBuilder.add`. */
  get knownInside(): boolean {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  advance(): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Goes past the entry under the cursor and everything below it. */
  skipSubtree(): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Goes to the first entry at or after `path`. */
  seek(_path: ByteString): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }
}
