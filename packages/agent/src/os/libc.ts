// The C library's calls that Node lacks, bound once per thread.
//
// Hazard: a wrong argument width or a string converted as UTF-8 corrupts names or memory without a sound. So every
// binding is written down here alone, buffers are passed as they are, names are bytes (see c-name.ts), and nothing but
// this folder calls these functions.
//
// A call costs about 0.2 µs more than in C. Variadic functions (openat, ioctl) are declared with fixed arguments: on
// x86-64 and arm64 Linux both conventions pass integers and pointers alike. The symbols come from the running process,
// so it is the same C library that Node uses, whichever that is.

import koffi, { type KoffiFunc } from 'koffi';

const library = koffi.load(null);

type Pointer = Buffer | null;

const openat: (dirFd: number, name: Buffer, flags: number, mode: number) => number = library.func('openat', 'int', [
  'int',
  'void *',
  'int',
  'uint32_t',
]);
const close: (fd: number) => number = library.func('close', 'int', ['int']);
const statx: (dirFd: number, name: Buffer, flags: number, mask: number, result: Buffer) => number = library.func(
  'statx',
  'int',
  ['int', 'void *', 'int', 'uint32_t', 'void *'],
);
const fstatfs: (fd: number, result: Buffer) => number = library.func('fstatfs', 'int', ['int', 'void *']);
/** Used for getdents64 alone, which glibc before 2.30 does not export. */
const syscall: (number: number, fd: number, buffer: Buffer, length: number) => number = library.func(
  'syscall',
  'int64_t',
  ['int64_t', 'int64_t', 'void *', 'int64_t'],
);
const pread: (fd: number, buffer: Buffer, length: number, position: number) => number = library.func(
  'pread64',
  'int64_t',
  ['int', 'void *', 'uint64_t', 'int64_t'],
);
const pwrite: (fd: number, buffer: Buffer, length: number, position: number) => number = library.func(
  'pwrite64',
  'int64_t',
  ['int', 'void *', 'uint64_t', 'int64_t'],
);
const lseek: (fd: number, offset: number, whence: number) => number = library.func('lseek64', 'int64_t', [
  'int',
  'int64_t',
  'int',
]);
const ftruncate: (fd: number, length: number) => number = library.func('ftruncate64', 'int', ['int', 'int64_t']);
const fallocate: (fd: number, mode: number, offset: number, length: number) => number = library.func(
  'fallocate64',
  'int',
  ['int', 'int', 'int64_t', 'int64_t'],
);
const fsync: (fd: number) => number = library.func('fsync', 'int', ['int']);
const syncfs: KoffiFunc<(fd: number) => number> = library.func('syncfs', 'int', ['int']);
const ioctl: (fd: number, request: number, argument: Buffer) => number = library.func('ioctl', 'int', [
  'int',
  'uint64_t',
  'void *',
]);

const readlinkat: (dirFd: number, name: Buffer, result: Buffer, length: number) => number = library.func(
  'readlinkat',
  'int64_t',
  ['int', 'void *', 'void *', 'uint64_t'],
);
const mkdirat: (dirFd: number, name: Buffer, mode: number) => number = library.func('mkdirat', 'int', [
  'int',
  'void *',
  'uint32_t',
]);
const mknodat: (dirFd: number, name: Buffer, mode: number, device: number) => number = library.func('mknodat', 'int', [
  'int',
  'void *',
  'uint32_t',
  'uint64_t',
]);
const symlinkat: (target: Buffer, dirFd: number, name: Buffer) => number = library.func('symlinkat', 'int', [
  'void *',
  'int',
  'void *',
]);
const linkat: (fromFd: number, from: Buffer, toFd: number, to: Buffer, flags: number) => number = library.func(
  'linkat',
  'int',
  ['int', 'void *', 'int', 'void *', 'int'],
);
const unlinkat: (dirFd: number, name: Buffer, flags: number) => number = library.func('unlinkat', 'int', [
  'int',
  'void *',
  'int',
]);
const renameat: (fromFd: number, from: Buffer, toFd: number, to: Buffer) => number = library.func('renameat', 'int', [
  'int',
  'void *',
  'int',
  'void *',
]);
const fchownat: (dirFd: number, name: Buffer, uid: number, gid: number, flags: number) => number = library.func(
  'fchownat',
  'int',
  ['int', 'void *', 'uint32_t', 'uint32_t', 'int'],
);
const fchown: (fd: number, uid: number, gid: number) => number = library.func('fchown', 'int', [
  'int',
  'uint32_t',
  'uint32_t',
]);
const fchmod: (fd: number, mode: number) => number = library.func('fchmod', 'int', ['int', 'uint32_t']);
const chmod: (path: Buffer, mode: number) => number = library.func('chmod', 'int', ['void *', 'uint32_t']);
const futimens: (fd: number, times: Buffer) => number = library.func('futimens', 'int', ['int', 'void *']);
const utimensat: (dirFd: number, name: Buffer, times: Buffer, flags: number) => number = library.func(
  'utimensat',
  'int',
  ['int', 'void *', 'void *', 'int'],
);

const flistxattr: (fd: number, list: Pointer, size: number) => number = library.func('flistxattr', 'int64_t', [
  'int',
  'void *',
  'uint64_t',
]);
const llistxattr: (path: Buffer, list: Pointer, size: number) => number = library.func('llistxattr', 'int64_t', [
  'void *',
  'void *',
  'uint64_t',
]);
const fgetxattr: (fd: number, name: Buffer, value: Pointer, size: number) => number = library.func(
  'fgetxattr',
  'int64_t',
  ['int', 'void *', 'void *', 'uint64_t'],
);
const lgetxattr: (path: Buffer, name: Buffer, value: Pointer, size: number) => number = library.func(
  'lgetxattr',
  'int64_t',
  ['void *', 'void *', 'void *', 'uint64_t'],
);
const fsetxattr: (fd: number, name: Buffer, value: Buffer, size: number, flags: number) => number = library.func(
  'fsetxattr',
  'int',
  ['int', 'void *', 'void *', 'uint64_t', 'int'],
);
const setxattr: (path: Buffer, name: Buffer, value: Buffer, size: number, flags: number) => number = library.func(
  'setxattr',
  'int',
  ['void *', 'void *', 'void *', 'uint64_t', 'int'],
);
const fremovexattr: (fd: number, name: Buffer) => number = library.func('fremovexattr', 'int', ['int', 'void *']);
const removexattr: (path: Buffer, name: Buffer) => number = library.func('removexattr', 'int', ['void *', 'void *']);

const getpwuid: (id: number, entry: Buffer, text: Buffer, size: number, found: Buffer) => number = library.func(
  'getpwuid_r',
  'int',
  ['uint32_t', 'void *', 'void *', 'uint64_t', 'void *'],
);
const getgrgid: (id: number, entry: Buffer, text: Buffer, size: number, found: Buffer) => number = library.func(
  'getgrgid_r',
  'int',
  ['uint32_t', 'void *', 'void *', 'uint64_t', 'void *'],
);
const getpwnam: (name: Buffer, entry: Buffer, text: Buffer, size: number, found: Buffer) => number = library.func(
  'getpwnam_r',
  'int',
  ['void *', 'void *', 'void *', 'uint64_t', 'void *'],
);
const getgrnam: (name: Buffer, entry: Buffer, text: Buffer, size: number, found: Buffer) => number = library.func(
  'getgrnam_r',
  'int',
  ['void *', 'void *', 'void *', 'uint64_t', 'void *'],
);

/** As in C: −1 means failure and `answer` turns it into −errno. */
export const libc = {
  openat,
  close,
  statx,
  fstatfs,
  syscall,
  pread,
  pwrite,
  lseek,
  ftruncate,
  fallocate,
  fsync,
  syncfs,
  ioctl,
  readlinkat,
  mkdirat,
  mknodat,
  symlinkat,
  linkat,
  unlinkat,
  renameat,
  fchownat,
  fchown,
  fchmod,
  chmod,
  futimens,
  utimensat,
  flistxattr,
  llistxattr,
  fgetxattr,
  lgetxattr,
  fsetxattr,
  setxattr,
  fremovexattr,
  removexattr,
  getpwuid,
  getgrgid,
  getpwnam,
  getgrnam,
};

/**
 * Turns a C result into the kernel's convention: what is negative is −errno. To be applied to the result before anything
 * else runs, because errno belongs to the thread's last call.
 */
export function answer(result: number): number {
  return result === -1 ? -koffi.errno() : result;
}

/** Address of a buffer's first byte, for pointers that the C library leaves in a struct. */
export function addressOf(buffer: Buffer): bigint {
  return koffi.address(buffer);
}
