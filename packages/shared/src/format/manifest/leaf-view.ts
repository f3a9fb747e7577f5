// LeafView: a leaf read in place. Columns are decoded when they are asked for.

import type { ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { Content, PlacedChunk, PlacedEntry, PlacedNode } from './entry.ts';

export class LeafView {
  readonly id: Buffer = Buffer.alloc(0);
  readonly proof: Buffer = Buffer.alloc(0);
  /** 32-byte ids, concatenated. */
  readonly references: Buffer = Buffer.alloc(0);
  readonly payload: Buffer = Buffer.alloc(0);
  readonly count: number = 0;
  /** count × 64 bytes: record i begins at i × 64. */
  readonly stats: Buffer = Buffer.alloc(0);

  /** Checks the structure (not yet every value: `check()` does that). Throws DAMAGED. */
  static open(_id: Buffer, _proof: Buffer, _references: Buffer, _payload: Buffer): LeafView {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Path of entry i. Cheap in ascending order; going back starts again from the first. */
  path(_index: number): ByteString {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** First entry whose path is at or after `path`; `count` when there is none. */
  lowerBound(_path: ByteString): number {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Everything about entry i. Throws DAMAGED. */
  entry(_index: number): PlacedEntry {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Content of entry i alone. */
  content(_index: number): Content<PlacedChunk, PlacedNode> {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** The chunk or node at place `index` of the references. */
  chunk(_index: number): PlacedChunk {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Latest ctime of all entries, in seconds and nanoseconds. */
  get maxCtime(): { readonly seconds: number; readonly ns: number } {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Decodes and checks every entry. Throws DAMAGED or PATH_ESCAPES. */
  check(): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }
}
