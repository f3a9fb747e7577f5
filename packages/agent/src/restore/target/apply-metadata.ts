// Setting an entry's metadata, in the one order that works.
//
// Hazard: a change of owner clears setuid bits and capabilities; an ACL changes the mode's group bits; every change moves
// the times; an immutable file takes no change at all. So: owner, mode, extended attributes (ACLs and capabilities among
// them), times, and inode flags at the very end, by a call of their own (39). What can't be set is a warning, and the rest goes on.
//
// All of it goes through a descriptor of the inode itself. Which one that is was settled when it was opened.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';
import { S_IFLNK, S_IFMT, statGid, statMode, statUid } from '@holdfast/shared/format/manifest/stat-record';
import { describeErrno, ENODATA, EOPNOTSUPP, EPERM } from '../../os/errno.ts';
import {
  FLAGS_THAT_LOCK,
  getInodeFlags,
  RESTORABLE_FLAGS,
  setInodeFlags,
  setMode,
  setModeOfPath,
  setMtime,
  setMtimeOfPath,
  setOwner,
  setOwnerOfPath,
} from '../../os/inode.ts';
import type { OwnerNames } from '../../os/owner-names.ts';
import { Statx } from '../../os/statx.ts';
import { listXattrs, removeXattr, setXattr, setXattrOfPath } from '../../os/xattrs.ts';
import { isForeignXattr, permittedMode, refusedXattr, type Rights } from './metadata-rights.ts';

/** What is set on an entry besides its content. */
export interface EntryMetadata {
  /** Stat record, 64 bytes: type, mode, owner, mtime, device numbers are used. */
  readonly stat: Buffer;
  readonly user: ByteString;
  readonly group: ByteString;
  readonly xattrs: readonly Xattr[];
  readonly inodeFlags: number;
}

/** What is known about an inode before its metadata is set. */
export interface InodeState {
  readonly fd: number;
  /** Opened with O_PATH: a symbolic link, device, fifo or socket. */
  readonly pathOnly: boolean;
  /** Of a new inode whose owner and mode are certain; undefined: set both whatever they are. */
  readonly created?: { readonly uid: number; readonly gid: number; readonly mode: number };
  /** Whether it may have attributes and flags that the snapshot does not have. */
  readonly mayHaveMore: boolean;
}

export type Warn = (path: ByteString, message: string) => void;

const NO_CHANGE = 0xffff_ffff;

const ACL_PREFIX = 'system.posix_acl_';

export class MetadataWriter {
  readonly #rights: Rights;
  /** Set when owners go by name. */
  readonly #names: OwnerNames | undefined;
  readonly #warn: Warn;
  readonly #statx = new Statx();

  constructor(rights: Rights, names: OwnerNames | undefined, warn: Warn) {
    this.#rights = rights;
    this.#names = names;
    this.#warn = warn;
  }

  /** Everything but inode flags. */
  apply(inode: InodeState, path: ByteString, metadata: EntryMetadata): void {
    if (inode.mayHaveMore && !inode.pathOnly) this.#unlock(inode.fd);
    this.#applyOwner(inode, path, metadata);
    if ((statMode(metadata.stat) & S_IFMT) !== S_IFLNK) this.#applyMode(inode, path, metadata);
    if (inode.mayHaveMore && !inode.pathOnly) this.#removeForeignXattrs(inode.fd, metadata.xattrs, path);
    for (const xattr of metadata.xattrs) this.#applyXattr(inode, path, xattr);
    const result = inode.pathOnly ? setMtimeOfPath(inode.fd, metadata.stat) : setMtime(inode.fd, metadata.stat);
    this.#check(result, path, 'its modification time');
  }

  /** Inode flags of a regular file or directory; the last thing that is done to it. */
  applyFlags(fd: number, path: ByteString, inodeFlags: number, mayHaveMore: boolean): void {
    const wanted = inodeFlags & RESTORABLE_FLAGS;
    if (wanted === 0 && !mayHaveMore) return;
    const current = getInodeFlags(fd);
    if (current < 0) {
      if (wanted !== 0) this.#check(current, path, 'its inode flags');
      return;
    }
    const others = (current & ~RESTORABLE_FLAGS) >>> 0;
    if ((current & RESTORABLE_FLAGS) === wanted || setInodeFlags(fd, (others | wanted) >>> 0) === 0) return;
    this.#applyFlagsOneByOne(fd, path, others, wanted);
  }

  /** A file system refuses all flags for one that it does not know. The locking ones come last, or they shut out the rest. */
  #applyFlagsOneByOne(fd: number, path: ByteString, others: number, wanted: number): void {
    let reached = others;
    for (const group of [wanted & ~FLAGS_THAT_LOCK, wanted & FLAGS_THAT_LOCK]) {
      for (let flag = 1; flag > 0 && flag <= group; flag *= 2) {
        if ((group & flag) === 0) continue;
        const result = setInodeFlags(fd, (reached | flag) >>> 0);
        if (result === 0) reached |= flag;
        else this.#warn(path, `its inode flag 0x${flag.toString(16)} could not be set: ${describeErrno(-result)}`);
      }
    }
  }

  #unlock(fd: number): void {
    const flags = getInodeFlags(fd);
    if (flags > 0 && (flags & FLAGS_THAT_LOCK) !== 0) setInodeFlags(fd, (flags & ~FLAGS_THAT_LOCK) >>> 0);
  }

  #applyOwner(inode: InodeState, path: ByteString, { stat, user, group }: EntryMetadata): void {
    const uid = this.#names?.userId(user) ?? statUid(stat);
    const gid = this.#names?.groupId(group) ?? statGid(stat);
    if (inode.created?.uid === uid && inode.created.gid === gid) return;
    const set = inode.pathOnly ? setOwnerOfPath : setOwner;
    const result = set(inode.fd, uid, gid);
    // A user may still give a file to another of their groups.
    if (result === -EPERM && set(inode.fd, NO_CHANGE, gid) === 0) {
      if (uid !== process.geteuid?.())
        this.#warn(path, `its owner ${uid} could not be set: only root can give files away`);
      return;
    }
    this.#check(result, path, `its owner ${uid} and group ${gid}`);
  }

  #applyMode(inode: InodeState, path: ByteString, { stat }: EntryMetadata): void {
    const wanted = statMode(stat);
    const mode = permittedMode(wanted, this.#rights);
    if (mode !== (wanted & 0o7777)) this.#warn(path, 'its setuid and setgid bits were left out');
    if (inode.created?.mode === mode) return;
    const result = inode.pathOnly ? setModeOfPath(inode.fd, mode) : setMode(inode.fd, mode);
    if (!this.#check(result, path, `its mode ${mode.toString(8)}`) || this.#rights.isRoot) return;
    // A user outside the group loses setgid on a directory without an error.
    if ((mode & 0o2000) !== 0 && this.#statx.of(inode.fd) === 0 && (this.#statx.mode & 0o2000) === 0) {
      this.#warn(path, 'its setgid bit could not be set: its group is not one of ours');
    }
  }

  #applyXattr(inode: InodeState, path: ByteString, { name, value }: Xattr): void {
    const refused = refusedXattr(name, this.#rights);
    if (refused !== undefined) {
      this.#warn(path, name === 'security.capability' ? refused : `${refused} ${displayPath(name)}`);
      return;
    }
    const result = (inode.pathOnly ? setXattrOfPath : setXattr)(inode.fd, name, value);
    this.#check(
      result,
      path,
      name.startsWith(ACL_PREFIX) ? 'its access control list' : `its attribute ${displayPath(name)}`,
    );
  }

  #removeForeignXattrs(fd: number, wanted: readonly Xattr[], path: ByteString): void {
    const there = listXattrs(fd);
    if (typeof there === 'number') return;
    for (const name of there) {
      if (!isForeignXattr(name) || wanted.some((xattr) => xattr.name === name)) continue;
      const result = removeXattr(fd, name);
      if (result !== -ENODATA && result !== -EOPNOTSUPP)
        this.#check(result, path, `the absence of attribute ${displayPath(name)}`);
    }
  }

  #check(result: number, path: ByteString, what: string): boolean {
    if (result < 0) this.#warn(path, `${what} could not be set: ${describeErrno(-result)}`);
    return result >= 0;
  }
}
