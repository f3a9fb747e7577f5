// statx into a buffer that is used again and again, and from there into a manifest's 64-byte stat record.
//
// Layout of struct statx (the same on every machine): linux/stat.h. A record is copied word by word, so an entry costs
// one system call and sixteen moves.

import { libc, answer } from './libc.ts';
import { EMPTY_NAME } from './c-name.ts';
import { AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW } from './flags.ts';

const BASIC_STATS = 0x7ff;
const ATTRIBUTE_MOUNT_ROOT = 0x2000;

export class Statx {
  readonly #buffer = Buffer.alloc(256);
  readonly #words = new Uint32Array(this.#buffer.buffer, this.#buffer.byteOffset, 64);

  /** The entry `name` (NUL-terminated, see CName) of a directory, never followed. 0, or −errno. */
  at(dirFd: number, name: Buffer): number {
    return answer(libc.statx(dirFd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, BASIC_STATS, this.#buffer));
  }

  /** What a descriptor refers to. 0, or −errno. */
  of(fd: number): number {
    return answer(libc.statx(fd, EMPTY_NAME, AT_EMPTY_PATH, BASIC_STATS, this.#buffer));
  }

  get mode(): number {
    return this.#words[7]! & 0xffff;
  }

  get nlink(): number {
    return this.#words[4]!;
  }

  get uid(): number {
    return this.#words[5]!;
  }

  get gid(): number {
    return this.#words[6]!;
  }

  /** Inode number; exact up to 2^53, and beyond still good for telling most apart. Records hold all 64 bits. */
  get inode(): number {
    return this.#words[9]! * 2 ** 32 + this.#words[8]!;
  }

  get inode64(): bigint {
    return this.#buffer.readBigUInt64LE(32);
  }

  get size(): number {
    return this.#words[11]! * 2 ** 32 + this.#words[10]!;
  }

  /** Bytes that are allocated on disk. */
  get allocatedBytes(): number {
    return (this.#words[13]! * 2 ** 32 + this.#words[12]!) * 512;
  }

  /** The file system as one number: major × 2^32 + minor. */
  get device(): number {
    return this.#words[34]! * 2 ** 32 + this.#words[35]!;
  }

  /** Whether this is the root of a mount; undefined where the kernel (before 5.8) does not say. */
  get isMountRoot(): boolean | undefined {
    if ((this.#words[14]! & ATTRIBUTE_MOUNT_ROOT) === 0) return undefined;
    return (this.#words[2]! & ATTRIBUTE_MOUNT_ROOT) !== 0;
  }

  /** Writes the stat record (format/manifest/stat-record.ts) as 16 words. */
  writeRecord(record: Uint32Array): void {
    const words = this.#words;
    record[0] = words[7]! & 0xffff;
    record[1] = words[5]!;
    record[2] = words[6]!;
    record[3] = words[4]!;
    record[4] = words[10]!;
    record[5] = words[11]!;
    record[6] = words[8]!;
    record[7] = words[9]!;
    record[8] = words[28]!;
    record[9] = words[29]!;
    record[10] = words[24]!;
    record[11] = words[25]!;
    record[12] = words[30]!;
    record[13] = words[26]!;
    record[14] = words[32]!;
    record[15] = words[33]!;
  }
}

/** The words of a stat record's buffer. Throws RangeError when it is not aligned to four bytes. */
export function wordsOf(record: Buffer): Uint32Array {
  return new Uint32Array(record.buffer, record.byteOffset, 16);
}
