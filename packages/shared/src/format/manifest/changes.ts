// Build from changes: the base manifest and a list of changes give the new manifest.
//
// Only leaves that a change falls into, those behind them until the boundaries meet again (mostly none), and their
// ancestors are read and written; everything else is reused unread.
//
// Invariants (changes.property.test.ts): the result is byte-identical with what a walk of the same entries builds; what
// is read and written grows with the changes, not with the tree.

import { comparePaths, type ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import { type BuilderPorts, ManifestBuilder, type ManifestRoot } from './builder.ts';
import type { Entry, NodeReference } from './entry.ts';
import { NODE_BOUNDS } from './limits.ts';
import type { Reading } from './node-store.ts';
import { checkPath, endOfSubtree, isWithin, parentPath, shortPath } from './paths.ts';
import { lookup } from './reader.ts';
import { S_IFDIR, S_IFMT, STAT_BYTES, statMode } from './stat-record.ts';
import { type Head, TreeCursor } from './tree-cursor.ts';

export type Change =
  /** Adds or replaces. What is no directory any more loses everything that was below it. */
  | { readonly kind: 'put'; readonly entry: Entry }
  /** Removes the entry and everything below it; no error when there is none. */
  | { readonly kind: 'remove'; readonly path: ByteString };

/**
 * `changes` in manifest order, at most one for a path. Throws INVALID_ARGUMENT when they are not, or when an entry is
 * put below something that is no directory in the result. `bounds`: those of the base, the format's but in tests.
 */
export function* buildFromChanges<S extends NodeReference>(
  base: NodeReference,
  changes: Iterable<Change>,
  ports: BuilderPorts<S>,
  bounds = NODE_BOUNDS,
): Reading<ManifestRoot> {
  const builder = new ManifestBuilder(ports, bounds);
  const cursor = yield* TreeCursor.open(base);
  const queue = new ChangeQueue(changes);
  for (;;) {
    const { head } = cursor;
    const { next } = queue;
    if (next !== undefined && (head === undefined || comparePaths(next.path, head.path) <= 0)) {
      yield* apply(base, cursor, builder, queue, next);
    } else if (head === undefined) {
      return builder.finish();
    } else if (queue.dropped(head.path) !== undefined) {
      yield* drop(cursor, queue.dropped(head.path));
    } else if (head.kind === 'entry') {
      builder.keep(head.leaf, head.index);
      cursor.skip();
    } else {
      yield* reuseOrEnter(cursor, builder, head, next?.path);
    }
  }
}

/** Goes past all that stands below a path where no directory is any more. */
function* drop(cursor: TreeCursor, top: ByteString | undefined): Reading<void> {
  const end = top === undefined ? undefined : endOfSubtree(top);
  if (end !== undefined) yield* cursor.seek(end);
  else while (cursor.head !== undefined) cursor.skip();
}

/** One change, next in order: the cursor stands at its path or behind it. */
function* apply<S extends NodeReference>(
  base: NodeReference,
  cursor: TreeCursor,
  builder: ManifestBuilder<S>,
  queue: ChangeQueue,
  { change, path }: PlacedChange,
): Reading<void> {
  if (cursor.head?.path === path) yield* cursor.seek(path);
  const { head } = cursor;
  const replaced = head?.kind === 'entry' && head.path === path ? head : undefined;
  if (change.kind === 'put') {
    const parent = parentPath(path);
    if (parent !== undefined && !(queue.isDirectory(parent) ?? (yield* isDirectoryIn(base, parent)))) {
      throw refused(path, 'is put below something that is no directory');
    }
    queue.knowDirectory(parent);
    builder.add(change.entry, replaced?.leaf.knownInside(replaced.index) ?? false);
  }
  if (replaced !== undefined) cursor.skip();
  queue.take();
}

/** Steps over a node that no change falls into, if the builder stands at a boundary of its level; else into it. */
function* reuseOrEnter<S extends NodeReference>(
  cursor: TreeCursor,
  builder: ManifestBuilder<S>,
  head: Head & { readonly kind: 'node' },
  nextChange: ByteString | undefined,
): Reading<void> {
  const end = cursor.headEnd;
  const untouched = nextChange === undefined || (end !== undefined && comparePaths(nextChange, end) >= 0);
  if (!untouched || !builder.canReuse(head.level)) {
    yield* cursor.expand();
    return;
  }
  // The last node of its level may have closed by the end of the manifest only. Then it is reused at the end only: it
  // counts as untouched when no change is left, and nothing follows it.
  builder.reuseNode(head.level, head.child);
  cursor.skip();
}

function* isDirectoryIn(base: NodeReference, path: ByteString): Reading<boolean> {
  const found = yield* lookup(base, path);
  return found !== undefined && (statMode(found.leaf.stats, found.index * STAT_BYTES) & S_IFMT) === S_IFDIR;
}

interface PlacedChange {
  readonly change: Change;
  readonly path: ByteString;
}

/** The changes in order, and what those that came say about what is below them. */
class ChangeQueue {
  readonly #changes: Iterator<Change>;
  next: PlacedChange | undefined;
  /** Changes that came, of the last one's path and those above it: whether a directory stands there now. */
  #above: { readonly path: ByteString; readonly directory: boolean }[] = [];
  #knownDirectory: ByteString | undefined;

  constructor(changes: Iterable<Change>) {
    this.#changes = changes[Symbol.iterator]();
    this.#pull(undefined);
  }

  /** The change at the head has been dealt with. */
  take(): void {
    const taken = this.next;
    if (taken === undefined) return;
    const { change, path } = taken;
    const directory = change.kind === 'put' && (statMode(change.entry.stat) & S_IFMT) === S_IFDIR;
    this.#above = [...this.#above.filter((above) => isWithin(path, above.path)), { path, directory }];
    this.#pull(path);
  }

  /** The path above `path` where no directory is any more, so that what the base has at `path` is gone. */
  dropped(path: ByteString): ByteString | undefined {
    return this.#above.find((above) => !above.directory && isWithin(path, above.path))?.path;
  }

  /** Whether the changes make `path` a directory (true) or not (false); undefined when they say nothing about it. */
  isDirectory(path: ByteString): boolean | undefined {
    const nearest = this.#above.findLast((above) => isWithin(path, above.path));
    if (nearest?.path === path || nearest?.directory === false) return nearest.directory;
    return path === this.#knownDirectory ? true : undefined;
  }

  knowDirectory(path: ByteString | undefined): void {
    this.#knownDirectory = path;
  }

  #pull(last: ByteString | undefined): void {
    const step = this.#changes.next();
    if (step.done === true) {
      this.next = undefined;
      return;
    }
    const change = step.value;
    const path = change.kind === 'put' ? change.entry.path : change.path;
    checkPath(path);
    if (last !== undefined && comparePaths(last, path) >= 0) throw refused(path, 'is out of order among the changes');
    this.next = { change, path };
  }
}

function refused(path: ByteString, why: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', `entry "${shortPath(path)}" ${why}`);
}
