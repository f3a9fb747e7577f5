// Bundles: small files packed whole, in walk order, into one chunk.
//
// Hazard: a boundary that depends on anything but content (a counter, a clock, a path) makes every bundle after the first
// difference new, on every host and in every backup.
//
// Invariants (bundle.property.test.ts):
//   B1 a boundary depends on the bundle's length and on the last file's tag alone;
//   B2 after a difference, boundaries fall back into step within a few bundles;
//   B3 no bundle is over BUNDLE_MAX_BYTES.

import { HoldfastError } from '../base/errors.ts';
import { TAG_BYTES } from './tag.ts';

/** A file under this goes whole into a bundle; a larger one is cut by the chunker. */
export const BUNDLE_FILE_LIMIT_BYTES = 256 * 1024;
/** A bundle does not close under this, but for the last of a backup. */
export const BUNDLE_MIN_BYTES = 64 * 1024;
/** The chance to close after a file is length / this. */
export const BUNDLE_SCALE_BYTES = 4 * 1024 * 1024;
/** A bundle of this length closes whatever its last tag. */
export const BUNDLE_MAX_BYTES = 2 * 1024 * 1024;

/**
 * Whether a bundle closes after a file was added. `lengthSoFar`: plain bytes in the bundle, that file included;
 * `fileTag`: that file's 16-byte tag. The rule: length ≥ 64 KiB and uint32le(tag) < 2^32 × length / 4 MiB, or
 * length ≥ 2 MiB.
 */
export function bundleCloses(lengthSoFar: number, fileTag: Uint8Array): boolean {
  if (fileTag.length !== TAG_BYTES)
    throw new HoldfastError('INVALID_ARGUMENT', `a tag has 16 bytes, not ${fileTag.length}`);
  if (lengthSoFar < BUNDLE_MIN_BYTES) return false;
  if (lengthSoFar >= BUNDLE_MAX_BYTES) return true;
  const tag = (fileTag[0]! | (fileTag[1]! << 8) | (fileTag[2]! << 16) | (fileTag[3]! << 24)) >>> 0;
  // Both products stay below 2^53, so this is exact.
  return tag * BUNDLE_SCALE_BYTES < 2 ** 32 * lengthSoFar;
}
