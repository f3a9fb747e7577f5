// errno: numbers by name, names by number, and what each means as a HoldfastError.

import { constants } from 'node:os';
import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError, type ErrorCode } from '@holdfast/shared/base/errors';

export const {
  E2BIG,
  EACCES,
  EAGAIN,
  EBUSY,
  EDQUOT,
  EEXIST,
  EINTR,
  EINVAL,
  EIO,
  EISDIR,
  ELOOP,
  EMFILE,
  ENAMETOOLONG,
  ENODATA,
  ENFILE,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENOSYS,
  ENOTDIR,
  ENOTEMPTY,
  ENOTTY,
  ENXIO,
  EOPNOTSUPP,
  EPERM,
  ERANGE,
  EROFS,
  ESTALE,
  EXDEV,
} = constants.errno;

const names = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** 'ENOENT' for 2; 'errno 999' for what this system does not name. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

const codes: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [ENOSPC, 'STORAGE_FULL'],
  [EDQUOT, 'STORAGE_FULL'],
  [ENOENT, 'NOT_FOUND'],
  [EEXIST, 'ALREADY_EXISTS'],
  [EACCES, 'NOT_ALLOWED'],
  [EPERM, 'NOT_ALLOWED'],
]);

const words: ReadonlyMap<number, string> = new Map([
  [E2BIG, 'it is more than a snapshot holds'],
  [EACCES, 'permission denied'],
  [EBUSY, 'it is in use'],
  [EDQUOT, 'the disk quota is used up'],
  [EEXIST, 'it is there already'],
  [EIO, 'the disk reported an error'],
  [EISDIR, 'it is a directory'],
  [ELOOP, 'a symbolic link stands in the way'],
  [ENAMETOOLONG, 'the name is too long for this file system'],
  [ENOENT, 'it is not there'],
  [ENOSPC, 'no space is left on the device'],
  [ENOTDIR, 'something that is not a directory stands in the way'],
  [EOPNOTSUPP, 'the file system does not support it'],
  [EPERM, 'the system does not allow it'],
  [EROFS, 'the file system is read-only'],
]);

/** For people: 'no space is left on the device (ENOSPC)'. */
export function describeErrno(errno: number): string {
  const text = words.get(errno);
  return text === undefined ? errnoName(errno) : `${text} (${errnoName(errno)})`;
}

/**
 * The error for a call that answered `result` < 0. `doing` completes "cannot …": 'create the file'. Codes: STORAGE_FULL,
 * NOT_FOUND, ALREADY_EXISTS, NOT_ALLOWED, else SYSTEM_CALL_FAILED; details hold syscall, errno and the path.
 */
export function systemCallError(result: number, syscall: string, doing: string, path: ByteString): HoldfastError {
  const errno = -result;
  const shown = displayPath(path);
  return new HoldfastError(
    codes.get(errno) ?? 'SYSTEM_CALL_FAILED',
    `cannot ${doing} ${shown}: ${describeErrno(errno)}`,
    {
      details: { syscall, errno: errnoName(errno), path: shown },
    },
  );
}

/** Returns `result` when it is not negative, and throws `systemCallError` otherwise. */
export function succeed(result: number, syscall: string, doing: string, path: ByteString): number {
  if (result < 0) throw systemCallError(result, syscall, doing, path);
  return result;
}
