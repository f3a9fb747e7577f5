// The paths a walk is limited to, as a tree of names: those to be walked whole, and the directories that lead to them.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { displayPath } from '@holdfast/shared/base/byte-string';

export interface SelectedPaths {
  /** undefined: everything beneath this is walked. */
  readonly children: ReadonlyMap<ByteString, SelectedPaths> | undefined;
}

export const EVERYTHING: SelectedPaths = { children: undefined };

interface Growing {
  children: Map<ByteString, Growing> | undefined;
}

/** Paths relative to the root. Throws INVALID_ARGUMENT for one that no manifest can hold. */
export function selectPaths(paths: readonly ByteString[]): SelectedPaths {
  const root: Growing = { children: new Map() };
  for (const path of paths) {
    let at = root;
    for (const name of path === '' ? [] : path.split('/')) {
      if (name === '' || name === '.' || name === '..') {
        throw new HoldfastError('INVALID_ARGUMENT', `${displayPath(path)} is not a path relative to the root`);
      }
      if (at.children === undefined) break;
      let child = at.children.get(name);
      if (child === undefined) at.children.set(name, (child = { children: new Map() }));
      at = child;
    }
    at.children = undefined;
  }
  return root;
}

/**
 * Root and limits for the absolute paths of a source: one path is the root of the snapshot; several keep their full
 * paths in it, without the leading slash.
 */
export function rootOf(paths: readonly ByteString[]): {
  readonly root: ByteString;
  readonly only?: readonly ByteString[];
} {
  const clean = paths.map(withoutRoot);
  const [single, ...others] = clean;
  if (single === undefined) throw new HoldfastError('INVALID_ARGUMENT', 'a source has no path');
  if (others.length === 0) return { root: `/${single}` };
  return { root: '/', only: clean };
}

/** An absolute path as a manifest of several roots has it: no slash at its ends, none twice. Throws INVALID_ARGUMENT. */
export function withoutRoot(path: ByteString): ByteString {
  if (!path.startsWith('/') || path.includes('\0')) {
    throw new HoldfastError('INVALID_ARGUMENT', `the path ${displayPath(path)} of a source is not absolute`);
  }
  return path
    .split('/')
    .filter((name) => name !== '' && name !== '.')
    .join('/');
}
