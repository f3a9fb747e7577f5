// Names as the C library takes them: bytes, ended by a NUL.
//
// Hazard: a NUL inside a name would cut it short, and the call would act on another file. Such a name never gets here
// from a directory listing; one from a manifest is refused when its path is checked, and again here.
//
// A CName is a buffer that is filled anew for every call, so it costs one short copy and no allocation.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

/** PATH_MAX: the kernel takes no longer name, NUL included, in one call. */
const LONGEST = 4096;

export class CName {
  readonly buffer: Buffer = Buffer.alloc(LONGEST + 1);

  /** The buffer with the name in it, valid until the next call. A name beyond PATH_MAX is left to the kernel to refuse. */
  of(name: ByteString): Buffer {
    if (name.includes('\0')) throw new HoldfastError('PATH_ESCAPES', 'a name contains a NUL byte');
    const length = this.buffer.write(name, 0, LONGEST, 'latin1');
    this.buffer[length] = 0;
    return this.buffer;
  }
}

/** The name of nothing: with AT_EMPTY_PATH it means the descriptor itself. */
export const EMPTY_NAME: Buffer = Buffer.alloc(1);
