// A regular file of the source, open for reading.
//
// Hazard: a file that changes while it is read gives content that never was. So the stat record is taken when the file is
// opened and compared when it has been read (threat 22); what grew meanwhile is not read beyond the size at opening
// unless the caller starts again.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { STAT_BYTES, statSize } from '@holdfast/shared/format/manifest/stat-record';
import { closeFd, readAt } from '../os/descriptors.ts';
import { succeed } from '../os/errno.ts';
import { extentsOf, type Extent } from '../os/extents.ts';
import { Statx, wordsOf } from '../os/statx.ts';

const now = new Statx();
const seen = new Uint32Array(STAT_BYTES / Uint32Array.BYTES_PER_ELEMENT);

export class OpenedFile {
  #fd: number;
  /** The stat record when the file was opened (or when `stillTheSame` last looked): content belongs to it, not to what the walk saw. */
  readonly stat: Buffer;
  readonly #words: Uint32Array;
  readonly #path: ByteString;
  #allocatedBytes: number;

  /** Takes over the descriptor. `statx` holds what was found when it was opened. */
  constructor(fd: number, statx: Statx, path: ByteString) {
    this.#fd = fd;
    // From Buffer's pool, where a view of words costs no memory of its own.
    this.stat = Buffer.allocUnsafe(STAT_BYTES);
    this.#words = wordsOf(this.stat);
    statx.writeRecord(this.#words);
    this.#allocatedBytes = statx.allocatedBytes;
    this.#path = path;
  }

  get fd(): number {
    return this.#fd;
  }

  get size(): number {
    return statSize(this.stat);
  }

  /** st_blocks × 512, when `stat` was taken. */
  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  /** Bytes read into `buffer` from `offset`; less than `length` only at the end of the file. Throws SYSTEM_CALL_FAILED. */
  read(buffer: Buffer, offset: number, length: number, position: number): number {
    return succeed(readAt(this.#fd, buffer, offset, length, position), 'pread', 'read', this.#path);
  }

  /** The whole file as extents, in order, adjoining, adding up to `size`. */
  extents(): Extent[] {
    return extentsOf(this.#fd, this.size, this.#allocatedBytes);
  }

  /** Whether size, mtime and ctime are what they were. `stat` is brought up to date, so that a second reading can start from it. */
  stillTheSame(): boolean {
    succeed(now.of(this.#fd), 'statx', 'look at', this.#path);
    now.writeRecord(seen);
    const same = CONTENT_WORDS.every((word) => seen[word] === this.#words[word]);
    this.#words.set(seen);
    this.#allocatedBytes = now.allocatedBytes;
    return same;
  }

  close(): void {
    if (this.#fd < 0) return;
    closeFd(this.#fd);
    this.#fd = -1;
  }
}

/** Words of the record: size, mtime and ctime in seconds, and their nanoseconds. */
const CONTENT_WORDS = [4, 5, 8, 9, 10, 11, 12, 13];
