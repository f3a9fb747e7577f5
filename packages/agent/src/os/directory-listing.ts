// The names in a directory, through getdents64.
//
// Hazard: names that are not UTF-8, and directories of a million names. Names are read as byte strings straight out of
// the kernel's buffer; fs.readdirSync takes twice as long and needs a path, which a directory deeper than PATH_MAX has not.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { answer, libc } from './libc.ts';

const GETDENTS64 = process.arch === 'arm64' ? 61 : 217;
const LISTING_BYTES = 256 * 1024;
const NAME_AT = 19;

/** One per thread is enough; it holds the buffer. */
export class DirectoryListing {
  readonly #buffer = Buffer.alloc(LISTING_BYTES);

  /** Appends the names (without . and ..) in the order the file system gives them. 0, or −errno; then `names` may hold some. */
  read(dirFd: number, names: ByteString[]): number {
    for (;;) {
      const length = answer(libc.syscall(GETDENTS64, dirFd, this.#buffer, LISTING_BYTES));
      if (length <= 0) return length;
      this.#parse(length, names);
    }
  }

  #parse(length: number, names: ByteString[]): void {
    const buffer = this.#buffer;
    for (let at = 0; at < length;) {
      const recordLength = buffer[at + 16]! | (buffer[at + 17]! << 8);
      const start = at + NAME_AT;
      at += recordLength;
      // Records are padded to eight bytes, so the name's end is among the last eight.
      let end = Math.max(start, at - 8);
      while (buffer[end] !== 0) end++;
      if (buffer[start] === DOT && (end === start + 1 || (end === start + 2 && buffer[start + 1] === DOT))) continue;
      names.push(buffer.toString('latin1', start, end));
    }
  }
}

const DOT = 0x2e;

/** Sorts by bytes, in place. Most file systems that keep order give it already. */
export function sortNames(names: ByteString[]): void {
  for (let i = 1; i < names.length; i++) {
    if (names[i - 1]! > names[i]!) {
      names.sort();
      return;
    }
  }
}
