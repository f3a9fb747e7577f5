// Which entries of a snapshot a restore takes: everything, or the subtrees and single entries that were asked for.
//
// A selected path stands for itself and everything beneath it. Its parents are taken as single entries, so that they come
// back with their own owner and mode, without their other children.
//
// Invariants (selection.test.ts):
//   S1 what is selected, parents included, is closed upwards: each selected entry's parent is selected;
//   S2 `touches(from, to)` is true whenever some path p with from ≤ p < to is selected: a pruned walk misses nothing.
//
// Pure.

import { comparePaths, displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

/** `inside`: asked for, or beneath what was; `parent`: an ancestor of it, taken alone. */
export type Selected = 'inside' | 'parent';

export class Selection {
  /** In manifest order, none beneath another. Empty: everything. */
  readonly roots: readonly ByteString[];
  readonly #parents: ReadonlySet<ByteString>;
  /** In manifest order. */
  readonly #points: readonly ByteString[];

  /** @param paths paths of the manifest; slashes at either end are let pass. Throws INVALID_ARGUMENT for one that no manifest can hold. */
  constructor(paths: readonly ByteString[]) {
    const sorted = paths.map(normalise).toSorted(comparePaths);
    if (sorted.includes('')) sorted.length = 0;
    const roots: ByteString[] = [];
    for (const path of sorted) {
      const last = roots.at(-1);
      if (last === undefined || !isWithin(path, last)) roots.push(path);
    }
    const parents = new Set<ByteString>();
    for (const root of roots) for (const parent of parentsOf(root)) parents.add(parent);
    this.roots = roots;
    this.#parents = parents;
    this.#points = [...parents, ...roots].toSorted(comparePaths);
  }

  get everything(): boolean {
    return this.roots.length === 0;
  }

  of(path: ByteString): Selected | undefined {
    if (this.everything) return 'inside';
    if (this.#rootAbove(path) !== undefined) return 'inside';
    return this.#parents.has(path) ? 'parent' : undefined;
  }

  /** Whether a path from `from` (inclusive) to `to` (exclusive; undefined: no end) may be selected. */
  touches(from: ByteString, to: ByteString | undefined): boolean {
    if (this.everything || this.#rootAbove(from) !== undefined) return true;
    const next = this.#points[firstAtLeast(this.#points, from)];
    return next !== undefined && (to === undefined || comparePaths(next, to) < 0);
  }

  #rootAbove(path: ByteString): ByteString | undefined {
    const at = firstAtLeast(this.roots, path);
    if (this.roots[at] === path) return path;
    const before = this.roots[at - 1];
    return before !== undefined && isWithin(path, before) ? before : undefined;
  }
}

/** Whether `path` is `ancestor` or beneath it. */
export function isWithin(path: ByteString, ancestor: ByteString): boolean {
  if (ancestor === '' || path === ancestor) return true;
  return path.length > ancestor.length && path.charCodeAt(ancestor.length) === SLASH && path.startsWith(ancestor);
}

/** '' for an entry of the root, and for the root itself. */
export function parentOf(path: ByteString): ByteString {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

export function nameOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The directories above a path, the root first. */
export function parentsOf(path: ByteString): ByteString[] {
  const parents = [''];
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1))
    parents.push(path.slice(0, slash));
  return parents;
}

function normalise(path: ByteString): ByteString {
  const trimmed = path.replace(/^\/+|\/+$/g, '');
  if (trimmed === '') return '';
  for (const name of trimmed.split('/')) {
    if (name !== '' && name !== '.' && name !== '..' && !name.includes('\0')) continue;
    throw new HoldfastError('INVALID_ARGUMENT', `no snapshot can hold the path ${displayPath(path)}`, {
      hint: 'Name paths as `holdfast snapshot browse` shows them: relative to the root of the source, without . and ..',
    });
  }
  return trimmed;
}

/** Index of the first element of `sorted` that is not before `path`. */
function firstAtLeast(sorted: readonly ByteString[], path: ByteString): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (comparePaths(sorted[middle]!, path) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

const SLASH = 0x2f;
