// What can be set on an inode: owner, mode, times, chattr's flags – through a descriptor, so that it is certain which inode.
//
// A descriptor opened with O_PATH (the only kind there is for symbolic links, devices and sockets) refuses most calls;
// for those the same inode is named by /proc/self/fd/N, which leads to it without another look at any path.
//
// Each answers as the kernel does: < 0 is −errno.

import { AT_EMPTY_PATH, AT_FDCWD, UTIME_OMIT } from './flags.ts';
import { CName, EMPTY_NAME } from './c-name.ts';
import { answer, libc } from './libc.ts';

const path = new CName();
const times = Buffer.alloc(32);
times.writeBigInt64LE(BigInt(UTIME_OMIT), 8);
const flagWord = Buffer.alloc(8);

const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;

export const FLAG_SYNC = 0x8;
export const FLAG_IMMUTABLE = 0x10;
export const FLAG_APPEND = 0x20;
export const FLAG_NODUMP = 0x40;
export const FLAG_NOATIME = 0x80;
export const FLAG_NOCOW = 0x0080_0000;
const FLAG_COMPRESS = 0x4;

/**
 * chattr's flags that a user can set and a file system keeps: s u c S i a d A j t D T C P. Not among them: what the file
 * system sets itself (extents, inline data, verity, encryption) and casefold, which only an empty directory takes.
 */
export const RESTORABLE_FLAGS =
  0x1 |
  0x2 |
  FLAG_COMPRESS |
  FLAG_SYNC |
  FLAG_IMMUTABLE |
  FLAG_APPEND |
  FLAG_NODUMP |
  FLAG_NOATIME |
  0x4000 |
  0x8000 |
  0x1_0000 |
  0x2_0000 |
  FLAG_NOCOW |
  0x2000_0000;

/** These must be set before content is written, or they have no effect on it. */
export const FLAGS_BEFORE_CONTENT = FLAG_COMPRESS | FLAG_NOCOW;
/** These forbid every later change, renames and further hard links included. */
export const FLAGS_THAT_LOCK = FLAG_IMMUTABLE | FLAG_APPEND;

/** The path of a descriptor's inode, in a buffer that is valid until the next call of this module. */
function procPath(fd: number): Buffer {
  return path.of(`/proc/self/fd/${fd}`);
}

/** uid or gid 2^32 − 1 leaves that one as it is. */
export function setOwner(fd: number, uid: number, gid: number): number {
  return answer(libc.fchown(fd, uid, gid));
}

export function setOwnerOfPath(pathFd: number, uid: number, gid: number): number {
  return answer(libc.fchownat(pathFd, EMPTY_NAME, uid, gid, AT_EMPTY_PATH));
}

export function setMode(fd: number, mode: number): number {
  return answer(libc.fchmod(fd, mode));
}

export function setModeOfPath(pathFd: number, mode: number): number {
  return answer(libc.chmod(procPath(pathFd), mode));
}

/** mtime as it stands in a stat record: eight bytes of seconds at 32, nanoseconds at 48. The atime stays. */
export function setMtime(fd: number, stat: Buffer): number {
  fillTimes(stat);
  return answer(libc.futimens(fd, times));
}

export function setMtimeOfPath(pathFd: number, stat: Buffer): number {
  fillTimes(stat);
  return answer(libc.utimensat(AT_FDCWD, procPath(pathFd), times, 0));
}

/** struct timespec is two 64-bit words on both machines. Seconds are copied as bytes: any i64, exactly. */
function fillTimes(stat: Buffer): void {
  stat.copy(times, 16, 32, 40);
  times.writeUInt32LE(stat.readUInt32LE(48), 24);
}

/** All inode flags, −ENOTTY or −EOPNOTSUPP where the file system has none. */
export function getInodeFlags(fd: number): number {
  flagWord.fill(0);
  const result = answer(libc.ioctl(fd, FS_IOC_GETFLAGS, flagWord));
  return result < 0 ? result : flagWord.readUInt32LE(0);
}

export function setInodeFlags(fd: number, flags: number): number {
  flagWord.fill(0);
  flagWord.writeUInt32LE(flags, 0);
  return answer(libc.ioctl(fd, FS_IOC_SETFLAGS, flagWord));
}
