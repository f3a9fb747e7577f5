// Extended attributes as bytes: what goes to a chunk when they don't fit into the entry.

import { HoldfastError } from '../../base/errors.ts';
import type { Xattr } from './entry.ts';

/** Sorted by name, each as varint name length, name, varint value length, value. */
export function encodeXattrs(_list: readonly Xattr[]): Buffer {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** Throws DAMAGED. */
export function decodeXattrs(_bytes: Buffer): Xattr[] {
  throw new HoldfastError('INTERNAL', 'not built yet');
}

/** Bytes that count against MAX_INLINE_XATTR_BYTES: names and values. */
export function xattrBytes(_list: readonly Xattr[]): number {
  throw new HoldfastError('INTERNAL', 'not built yet');
}
