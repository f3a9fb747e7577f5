// Extended attributes: all of an inode's, as the raw bytes the kernel holds. ACLs and file capabilities are among them.
//
// Two ways to an inode: a descriptor, or a path that leads to it for certain (/proc/self/fd/N/name for an entry of an open
// directory, /proc/self/fd/N for an O_PATH descriptor). Results < 0 are −errno.

import { type ByteString, fromBytes } from '@holdfast/shared/base/byte-string';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';
import { MAX_XATTRS } from '@holdfast/shared/format/manifest/limits';
import { CName } from './c-name.ts';
import { E2BIG, ENODATA, ERANGE } from './errno.ts';
import { answer, libc } from './libc.ts';

/** The kernel's limit for a value, and for the list of names. */
const XATTR_SIZE_MAX = 65_536;

/**
 * What is read of one inode, names and values; a name costs as much again as its two lengths may take when written. Some file
 * systems let any user set a gigabyte on one file, which must neither fill memory nor end a backup.
 */
const MOST_XATTR_BYTES = 8 * 1024 * 1024;
const LENGTHS_BYTES = 8;

const path = new CName();
const attribute = new CName();
const list = Buffer.alloc(XATTR_SIZE_MAX);
const value = Buffer.alloc(XATTR_SIZE_MAX);

/** Where an inode's attributes are read. */
interface Place {
  list(buffer: Buffer): number;
  get(name: Buffer, buffer: Buffer): number;
}

export interface XattrsRead {
  /** Sorted by name. */
  readonly xattrs: Xattr[];
  /** Names whose value could not be read, with the error. */
  readonly failed: readonly { readonly name: ByteString; readonly result: number }[];
}

const NOTHING: XattrsRead = { xattrs: [], failed: [] };

/** Of an open file or directory. */
export function readXattrs(fd: number): XattrsRead | number {
  const length = answer(libc.flistxattr(fd, list, list.length));
  if (length <= 0) return length === 0 ? NOTHING : length;
  return readAll(length, {
    list: (buffer) => libc.flistxattr(fd, buffer, buffer.length),
    get: (name, buffer) => libc.fgetxattr(fd, name, buffer, buffer.length),
  });
}

/** Of the entry `name` of an open directory, never followed. */
export function readXattrsAt(dirFd: number, name: ByteString): XattrsRead | number {
  const at = path.of(`/proc/self/fd/${dirFd}/${name}`);
  const length = answer(libc.llistxattr(at, list, list.length));
  if (length <= 0) return length === 0 ? NOTHING : length;
  return readAll(length, {
    list: (buffer) => libc.llistxattr(at, buffer, buffer.length),
    get: (attributeName, buffer) => libc.lgetxattr(at, attributeName, buffer, buffer.length),
  });
}

function readAll(listLength: number, place: Place): XattrsRead {
  const names = fromBytes(list.subarray(0, listLength)).split('\0');
  const xattrs: Xattr[] = [];
  const failed: { name: ByteString; result: number }[] = [];
  let bytes = 0;
  for (const name of names.toSorted()) {
    if (name === '') continue;
    const got = answer(place.get(attribute.of(name), value));
    const cost = LENGTHS_BYTES + name.length + Math.max(0, got);
    const fits = bytes + cost <= MOST_XATTR_BYTES && xattrs.length < MAX_XATTRS;
    const length = got >= 0 && !fits ? -E2BIG : got;
    if (length >= 0) bytes += cost;
    if (length >= 0) xattrs.push({ name, value: Buffer.from(value.subarray(0, length)) });
    // Removed since the list was read: it is not there, and nothing is wrong.
    else if (length !== -ENODATA) failed.push({ name, result: length });
  }
  return { xattrs, failed };
}

/** Whether an open directory or file has the attribute. */
export function hasXattr(fd: number, name: ByteString): boolean {
  const length = answer(libc.fgetxattr(fd, attribute.of(name), value, value.length));
  return length >= 0 || length === -ERANGE;
}

export function setXattr(fd: number, name: ByteString, bytes: Buffer): number {
  return answer(libc.fsetxattr(fd, attribute.of(name), bytes, bytes.length, 0));
}

/** Of the inode an O_PATH descriptor refers to. */
export function setXattrOfPath(pathFd: number, name: ByteString, bytes: Buffer): number {
  return answer(libc.setxattr(path.of(`/proc/self/fd/${pathFd}`), attribute.of(name), bytes, bytes.length, 0));
}

export function removeXattr(fd: number, name: ByteString): number {
  return answer(libc.fremovexattr(fd, attribute.of(name)));
}

/** Of the inode an O_PATH descriptor refers to. */
export function removeXattrOfPath(pathFd: number, name: ByteString): number {
  return answer(libc.removexattr(path.of(`/proc/self/fd/${pathFd}`), attribute.of(name)));
}

/** The names alone. */
export function listXattrs(fd: number): ByteString[] | number {
  const length = answer(libc.flistxattr(fd, list, list.length));
  if (length <= 0) return length === 0 ? [] : length;
  return fromBytes(list.subarray(0, length))
    .split('\0')
    .filter((name) => name !== '');
}
