// Bytes of an open file of the target, read and written at places.
//
// Hazard: several threads work on one large file, by the descriptor of the thread that opened it. A descriptor that is closed
// meanwhile may be another file's by the next write. So it is lent only from the answer that names it to the task that ends the file,
// and that task is sent when every other one was answered (restore/large-file-run.ts).
//
// Ranges that are never written stay holes in a new file. Nothing is synced here: `RestoreTarget.sync` makes all of it durable.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { allocate, punchHole, readAt, writeAt, zeroRange } from '../../os/descriptors.ts';
import { EINVAL, ENOSYS, EOPNOTSUPP, succeed } from '../../os/errno.ts';

const zeros = Buffer.alloc(1024 * 1024);

const NOT_SUPPORTED: ReadonlySet<number> = new Set([EOPNOTSUPP, ENOSYS, EINVAL]);

/** What another thread must know to work on an open file. */
export interface LentFile {
  readonly fd: number;
  /** Of a file that was there before; undefined for a new one. */
  readonly sizeBefore: number | undefined;
}

export class FileContent implements LentFile {
  readonly fd: number;
  readonly sizeBefore: number | undefined;
  readonly #path: ByteString;

  /** @param path to name in errors */
  constructor({ fd, sizeBefore }: LentFile, path: ByteString) {
    this.fd = fd;
    this.sizeBefore = sizeBefore;
    this.#path = path;
  }

  /** Throws STORAGE_FULL, SYSTEM_CALL_FAILED; so do the others. */
  write(buffer: Buffer, offset: number, length: number, position: number): void {
    this.#check(writeAt(this.fd, buffer, offset, length, position), 'pwrite', 'write');
  }

  /** What is there now: bytes read, less than `length` only at the end of the file. */
  read(buffer: Buffer, offset: number, length: number, position: number): number {
    return this.#check(readAt(this.fd, buffer, offset, length, position), 'pread', 'read');
  }

  /** A *zeros* segment: allocated, reads as zeros. */
  writeZeros(position: number, length: number): void {
    if (length === 0) return;
    const fill = this.sizeBefore === undefined ? allocate : zeroRange;
    const result = fill(this.fd, position, length);
    if (NOT_SUPPORTED.has(-result)) this.#writeZeroBytes(position, length);
    else this.#check(result, 'fallocate', 'write');
  }

  /** A *hole* segment: frees what is there; nothing to do in a new file. */
  makeHole(position: number, length: number): void {
    if (this.sizeBefore === undefined || position >= this.sizeBefore || length === 0) return;
    const result = punchHole(this.fd, position, length);
    if (NOT_SUPPORTED.has(-result)) this.#writeZeroBytes(position, Math.min(length, this.sizeBefore - position));
    else this.#check(result, 'fallocate', 'write');
  }

  #writeZeroBytes(position: number, length: number): void {
    for (let done = 0; done < length; done += zeros.length) {
      this.#check(
        writeAt(this.fd, zeros, 0, Math.min(zeros.length, length - done), position + done),
        'pwrite',
        'write',
      );
    }
  }

  #check(result: number, syscall: string, doing: string): number {
    return succeed(result, syscall, doing, this.#path);
  }
}
