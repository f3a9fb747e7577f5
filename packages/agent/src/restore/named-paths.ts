// Whether the snapshot has anything at the paths that were named, before anything is done at the target.
//
// Hazard: a mistyped path that is found out only after the target was made leaves an empty directory that looks restored. And
// looking for ten thousand names, or in a damaged manifest, must not be what fails the restore: after LOOKED_FOR of them,
// or where a node can't be read, the restore begins, and names what it did not find.
//
// Tested in restore.test.ts.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { didYouMean, nearNames } from '@holdfast/shared/base/near-names';
import { readAsync, streamAsync, type AsyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { children, lookup } from '@holdfast/shared/format/manifest/reader';
import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import { nameOf, parentsOf, type Selection } from './selection.ts';

const LOOKED_FOR = 64;
/** Names of a directory that are looked through for near ones. */
const NAMES_MAX = 5_000;

/** Throws NOT_FOUND, with near names in the hint, when the snapshot has none of the selected paths. */
export async function requireNamedPath(
  nodes: AsyncNodeStore,
  root: NodeReference,
  selection: Selection,
): Promise<void> {
  const { roots } = selection;
  if (selection.everything || roots.length > LOOKED_FOR) return;
  let hint: string;
  try {
    for (const path of roots) if (await exists(nodes, root, path)) return;
    hint = didYouMean((await nearPaths(nodes, root, roots[0]!)).map(displayPath));
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'DAMAGED') return;
    throw error;
  }
  const others = roots.length > 1 ? `, nor at the ${roots.length - 1} others` : '';
  throw new HoldfastError('NOT_FOUND', `the snapshot has nothing at ${displayPath(roots[0]!)}${others}`, {
    hint: hint === '' ? 'See what is in it with `holdfast snapshot browse`.' : hint,
  });
}

async function exists(nodes: AsyncNodeStore, root: NodeReference, path: ByteString): Promise<boolean> {
  return (await readAsync(nodes, lookup(root, path))) !== undefined;
}

/** What was meant, perhaps: the end of the path, where somebody began it higher up; else near names where it leaves the tree. */
async function nearPaths(nodes: AsyncNodeStore, root: NodeReference, path: ByteString): Promise<ByteString[]> {
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
    const end = path.slice(slash + 1);
    if (await exists(nodes, root, end)) return [end];
  }
  let directory = '';
  let missing = path;
  for (const parent of [...parentsOf(path).slice(1), path]) {
    missing = parent;
    if (!(await exists(nodes, root, parent))) break;
    directory = parent;
  }
  const names: ByteString[] = [];
  for await (const child of streamAsync(nodes, children(root, directory))) {
    names.push(nameOf(child.path));
    if (names.length >= NAMES_MAX) break;
  }
  const prefix = directory === '' ? '' : `${directory}/`;
  const rest = path.slice(missing.length);
  const near: ByteString[] = [];
  for (const name of nearNames(nameOf(missing), names)) {
    const whole = prefix + name + rest;
    near.push((await exists(nodes, root, whole)) ? whole : prefix + name);
  }
  return near;
}
