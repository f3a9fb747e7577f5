// Calls that create, name and remove entries of an open directory. Each answers as the kernel does: < 0 is −errno.
// None of them follows a symbolic link in the last component.

import { type ByteString, fromBytes } from '@holdfast/shared/base/byte-string';
import { CName } from './c-name.ts';
import { AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW } from './flags.ts';
import { answer, libc } from './libc.ts';

// A call takes up to two names.
const first = new CName();
const second = new CName();
const text = Buffer.alloc(4096);

/** The target of a symbolic link, or −errno. */
export function readLinkAt(dirFd: number, name: ByteString): ByteString | number {
  const length = answer(libc.readlinkat(dirFd, first.of(name), text, text.length));
  return length < 0 ? length : fromBytes(text.subarray(0, length));
}

export function makeDirectoryAt(dirFd: number, name: ByteString, mode: number): number {
  return answer(libc.mkdirat(dirFd, first.of(name), mode));
}

/** A fifo, socket or device by the type in `mode`. Device numbers up to 4095:1048575. */
export function makeNodeAt(dirFd: number, name: ByteString, mode: number, major: number, minor: number): number {
  return answer(libc.mknodat(dirFd, first.of(name), mode, deviceNumber(major, minor)));
}

/** The C library's dev_t (gnu_dev_makedev), as far as 2^53 reaches; the kernel knows 12 bits of major and 20 of minor. */
function deviceNumber(major: number, minor: number): number {
  return (((major & 0xfff) << 8) >>> 0) + (minor & 0xff) + (minor >>> 8) * 2 ** 20;
}

export function makeSymlinkAt(target: ByteString, dirFd: number, name: ByteString): number {
  return answer(libc.symlinkat(first.of(target), dirFd, second.of(name)));
}

/** A further name for `from`; when that is a symbolic link, for the link itself. */
export function linkAt(fromFd: number, from: ByteString, toFd: number, to: ByteString): number {
  return answer(libc.linkat(fromFd, first.of(from), toFd, second.of(to), 0));
}

export function unlinkAt(dirFd: number, name: ByteString): number {
  return answer(libc.unlinkat(dirFd, first.of(name), 0));
}

export function removeDirectoryAt(dirFd: number, name: ByteString): number {
  return answer(libc.unlinkat(dirFd, first.of(name), AT_REMOVEDIR));
}

export function renameAt(fromFd: number, from: ByteString, toFd: number, to: ByteString): number {
  return answer(libc.renameat(fromFd, first.of(from), toFd, second.of(to)));
}

/** Owner of the entry itself. */
export function chownAt(dirFd: number, name: ByteString, uid: number, gid: number): number {
  return answer(libc.fchownat(dirFd, first.of(name), uid, gid, AT_SYMLINK_NOFOLLOW));
}
