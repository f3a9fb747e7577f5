// Difference of two manifests; visits only nodes that differ.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { NodeReference } from './entry.ts';
import type { ReadingMany } from './node-store.ts';
import type { Found } from './reader.ts';

export type Difference =
  | { readonly kind: 'added'; readonly path: ByteString; readonly after: Found }
  | { readonly kind: 'removed'; readonly path: ByteString; readonly before: Found }
  /** `type`: another file type. `content`: other bytes (or another link target or device). `metadata`: the rest. */
  | {
      readonly kind: 'type' | 'content' | 'metadata';
      readonly path: ByteString;
      readonly before: Found;
      readonly after: Found;
    };

/** Differences from `before` to `after` in manifest order. */
export function diff(_before: NodeReference, _after: NodeReference): ReadingMany<Difference> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}
