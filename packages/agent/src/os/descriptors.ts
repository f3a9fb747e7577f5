// Calls on open descriptors: bytes at offsets, sizes, holes, durability. Each answers as the kernel does: < 0 is −errno.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { CName } from './c-name.ts';
import { EINTR } from './errno.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, O_CLOEXEC } from './flags.ts';
import { answer, libc } from './libc.ts';

const cName = new CName();

/** A descriptor, or −errno. O_CLOEXEC is always added. `mode` counts only with O_CREAT. */
export function openAt(dirFd: number, name: ByteString, flags: number, mode = 0): number {
  const buffer = cName.of(name);
  for (;;) {
    const fd = answer(libc.openat(dirFd, buffer, flags | O_CLOEXEC, mode));
    if (fd !== -EINTR) return fd;
  }
}

/** Never fails: Linux frees the descriptor whatever it answers, and what could have gone wrong shows in syncfs. */
export function closeFd(fd: number): void {
  libc.close(fd);
}

/**
 * Bytes read into `buffer` from `offset` on; less than `length` only at the end of the file. −errno when nothing was read.
 * The buffer may be a view of a larger one.
 */
export function readAt(fd: number, buffer: Buffer, offset: number, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const part = answer(libc.pread(fd, view(buffer, offset + done, offset + length), length - done, position + done));
    if (part === -EINTR) continue;
    if (part < 0) return done > 0 ? done : part;
    if (part === 0) break;
    done += part;
  }
  return done;
}

/** Writes all of it. 0, or −errno; then a part may have been written. */
export function writeAt(fd: number, buffer: Buffer, offset: number, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const part = answer(libc.pwrite(fd, view(buffer, offset + done, offset + length), length - done, position + done));
    if (part === -EINTR) continue;
    if (part < 0) return part;
    done += part;
  }
  return 0;
}

/** The bounds are checked here, because the C library checks nothing. */
function view(buffer: Buffer, from: number, to: number): Buffer {
  if (from < 0 || to > buffer.length) throw new RangeError(`bytes ${from} to ${to} of a buffer of ${buffer.length}`);
  return from === 0 ? buffer : buffer.subarray(from, to);
}

export function setSize(fd: number, size: number): number {
  return answer(libc.ftruncate(fd, size));
}

/** Offset of the first byte of data (SEEK_DATA) or hole (SEEK_HOLE) at or after `offset`; −ENXIO when there is none. */
export function seek(fd: number, offset: number, whence: number): number {
  return answer(libc.lseek(fd, offset, whence));
}

/** Allocates, reads as zeros; the file grows where needed. What is written there already stays. */
export function allocate(fd: number, offset: number, length: number): number {
  return answer(libc.fallocate(fd, 0, offset, length));
}

/** Makes the range read as zeros, allocated. */
export function zeroRange(fd: number, offset: number, length: number): number {
  return answer(libc.fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, length));
}

/** Frees the range; the size stays. */
export function punchHole(fd: number, offset: number, length: number): number {
  return answer(libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
}

export function sync(fd: number): number {
  return answer(libc.fsync(fd));
}

/** All of the descriptor's file system. Since Linux 5.8 it also answers an error of an earlier write-back. */
export function syncFileSystem(fd: number): number {
  return answer(libc.syncfs(fd));
}

/** The same in another thread, so that this one goes on. Resolves when it is done; how it went is not said. */
export function syncFileSystemLater(fd: number): Promise<void> {
  return new Promise((resolve) => libc.syncfs.async(fd, () => resolve()));
}

/** Runs `use` with a descriptor that is closed afterwards, whatever happens. */
export function withDescriptor<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    closeFd(fd);
  }
}
