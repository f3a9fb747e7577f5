// Build from changes: the base manifest and a list of changes give the new manifest; only affected leaves and their
// ancestors are read and written. The result is byte-identical with what a walk of the same entries builds.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { BuilderPorts, ManifestRoot } from './builder.ts';
import type { Entry, NodeReference } from './entry.ts';
import type { Reading } from './node-store.ts';

export type Change =
  /** Adds or replaces. What is no directory any more loses everything that was below it. */
  | { readonly kind: 'put'; readonly entry: Entry }
  /** Removes the entry and everything below it; no error when there is none. */
  | { readonly kind: 'remove'; readonly path: ByteString };

/**
 * `changes` in manifest order, at most one for a path. Throws INVALID_ARGUMENT when they are not, or when an entry is
 * put below something that is no directory in the result.
 */
export function buildFromChanges<S extends NodeReference>(
  _base: NodeReference,
  _changes: Iterable<Change>,
  _ports: BuilderPorts<S>,
): Reading<ManifestRoot> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}
