// What an entry carries besides its stat record: link target, owner names, extended attributes, inode flags.
//
// Hazard: metadata read by path may belong to something that was swapped in. Files and directories are read through their
// own descriptor; the rest (a device must not be opened) through the descriptor of the directory they stand in, without
// following. What can't be read is said, and never taken for absent (threat 29).

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';
import { S_IFLNK, S_IFMT, statGid, statMode, statUid } from '@holdfast/shared/format/manifest/stat-record';
import { displayPath } from '@holdfast/shared/base/byte-string';
import { readLinkAt } from '../os/directory-entries.ts';
import { describeErrno, EINVAL, ENOSYS, ENOTTY, EOPNOTSUPP } from '../os/errno.ts';
import { getInodeFlags, RESTORABLE_FLAGS } from '../os/inode.ts';
import type { OwnerNames } from '../os/owner-names.ts';
import { readXattrs, readXattrsAt, type XattrsRead } from '../os/xattrs.ts';

export interface CapturedMetadata {
  /** '' when this host has no name for the number. */
  readonly user: ByteString;
  readonly group: ByteString;
  /** Of a symlink; '' for everything else. */
  readonly linkTarget: ByteString;
  /** All namespaces that could be read, sorted by name. ACLs are `system.posix_acl_access` and `system.posix_acl_default`. */
  readonly xattrs: readonly Xattr[];
  /** chattr's flags, those that can be set again; 0 for what is neither a regular file nor a directory. */
  readonly inodeFlags: number;
  /** −errno when a symlink's target can't be read, else 0: without it there is no entry. */
  readonly targetResult: number;
  /** What could not be read, one sentence each; empty when everything is there. */
  readonly problems: readonly string[];
}

/** Of an open regular file or directory. */
export function captureOpened(fd: number, stat: Buffer, names: OwnerNames): CapturedMetadata {
  const problems: string[] = [];
  const xattrs = xattrsOf(readXattrs(fd), problems);
  let inodeFlags = getInodeFlags(fd);
  if (inodeFlags < 0) {
    if (!NO_FLAGS_HERE.has(-inodeFlags)) problems.push(`its inode flags can't be read: ${describeErrno(-inodeFlags)}`);
    inodeFlags = 0;
  }
  return {
    user: names.user(statUid(stat)),
    group: names.group(statGid(stat)),
    linkTarget: '',
    targetResult: 0,
    xattrs,
    inodeFlags: inodeFlags & RESTORABLE_FLAGS,
    problems,
  };
}

/** Of any entry of an open directory. Inode flags are 0: reading them takes a descriptor of the entry itself. */
export function captureAt(dirFd: number, name: ByteString, stat: Buffer, names: OwnerNames): CapturedMetadata {
  const problems: string[] = [];
  let linkTarget = '';
  let targetResult = 0;
  if ((statMode(stat) & S_IFMT) === S_IFLNK) {
    const target = readLinkAt(dirFd, name);
    if (typeof target === 'string') linkTarget = target;
    else targetResult = target;
  }
  return {
    user: names.user(statUid(stat)),
    group: names.group(statGid(stat)),
    linkTarget,
    targetResult,
    xattrs: xattrsOf(readXattrsAt(dirFd, name), problems),
    inodeFlags: 0,
    problems,
  };
}

const NO_FLAGS_HERE: ReadonlySet<number> = new Set([ENOTTY, EOPNOTSUPP, EINVAL, ENOSYS]);

function xattrsOf(read: XattrsRead | number, problems: string[]): readonly Xattr[] {
  if (typeof read === 'number') {
    if (read !== -EOPNOTSUPP) problems.push(`its extended attributes can't be read: ${describeErrno(-read)}`);
    return [];
  }
  for (const { name, result } of read.failed) {
    problems.push(`its attribute ${displayPath(name)} can't be read: ${describeErrno(-result)}`);
  }
  return read.xattrs;
}
