// A regular file being restored.
//
// Not built yet: the signatures.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { EntryMetadata } from './restore-target.ts';

/** Open until `finish` or `abandon`. What is never written stays a hole (in a new file). */
export class TargetFile {
  readonly fd: number = -1;
  readonly inode: bigint = 0n;

  /** Throws STORAGE_FULL, SYSTEM_CALL_FAILED. */
  write(_buffer: Buffer, _offset: number, _length: number, _position: number): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** For delta: what is there now. Bytes read; less than `length` only at the end of the file. */
  read(_buffer: Buffer, _offset: number, _length: number, _position: number): number {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** A *zeros* segment: allocated, reads as zeros. */
  writeZeros(_position: number, _length: number): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** A *hole* segment: frees what is there; nothing to do in a new file. */
  makeHole(_position: number, _length: number): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Sets the size and the metadata, gives the file its name, closes it. */
  finish(_metadata: EntryMetadata): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Closes it; a new file is removed again. */
  abandon(): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }
}
