// The previous manifest as the scan sees it: one entry at a time, in manifest order.
//
// PreviousManifest of the format goes over all of it; SelectedPrevious over the paths that a watcher saw changing, and reads
// only the nodes that hold them.

import { type ByteString, comparePaths } from '@holdfast/shared/base/byte-string';
import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { readSync, streamSync, type SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { type Found, lookup, walk } from '@holdfast/shared/format/manifest/reader';

export interface PreviousCursor {
  /** Whether there is an entry under the cursor; the rest may be read only then. */
  readonly valid: boolean;
  readonly path: ByteString;
  readonly leaf: LeafView;
  readonly index: number;
  /** Whether the path is known to close no leaf. */
  readonly knownInside: boolean;
  advance(): void;
}

export class SelectedPrevious implements PreviousCursor {
  readonly #entries: Iterator<Found>;
  #current: Found | undefined;
  readonly knownInside = false;

  /** `paths`: none beneath another; each stands for itself and all beneath it, and for the directories above it. */
  constructor(store: SyncNodeStore, root: NodeReference, paths: readonly ByteString[]) {
    this.#entries = selected(store, root, paths.toSorted(comparePaths));
    this.advance();
  }

  get valid(): boolean {
    return this.#current !== undefined;
  }

  get path(): ByteString {
    return this.#current!.path;
  }

  get leaf(): LeafView {
    return this.#current!.leaf;
  }

  get index(): number {
    return this.#current!.index;
  }

  advance(): void {
    const step = this.#entries.next();
    this.#current = step.done === true ? undefined : step.value;
  }
}

function* selected(store: SyncNodeStore, root: NodeReference, paths: readonly ByteString[]): Generator<Found> {
  let given: ReadonlySet<ByteString> = new Set();
  for (const path of paths) {
    const above = directoriesAbove(path);
    for (const directory of above) {
      if (given.has(directory)) continue;
      const found = readSync(store, lookup(root, directory));
      if (found !== undefined) yield found;
    }
    given = new Set(above);
    yield* streamSync(store, walk(root, path));
  }
}

/** From the root down; none for the root itself. */
function directoriesAbove(path: ByteString): ByteString[] {
  if (path === '') return [];
  const above: ByteString[] = [''];
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) above.push(path.slice(0, at));
  return above;
}
