// A regular file of the source, open for reading.
//
// Not built yet: the signatures.

import { HoldfastError } from '@holdfast/shared/base/errors';

/** `data` is to be read; `zeros` are allocated but never written (preallocation) and read as zeros; a `hole` is neither. */
export interface Extent {
  readonly kind: 'data' | 'zeros' | 'hole';
  readonly offset: number;
  readonly length: number;
}

export class OpenedFile {
  readonly fd: number;
  /** The stat record at the time of opening: content read belongs to this, not to what the walk saw. */
  readonly stat: Buffer;

  constructor(fd: number, stat: Buffer) {
    this.fd = fd;
    this.stat = stat;
  }

  /** Bytes read into `buffer` from `offset`; 0 at the end of the file; less than `length` only there. Throws SYSTEM_CALL_FAILED. */
  read(_buffer: Buffer, _offset: number, _length: number, _position: number): number {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** The whole file as extents, in order, adjoining, adding up to the size at opening. */
  extents(): Extent[] {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Whether size, mtime and ctime are still those at opening. `this.stat` then holds what is there now. */
  stillTheSame(): boolean {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  close(): void {}
}
