// Removing what stands in a target's way, with everything beneath it.
//
// Hazard: a removal that follows a link, or enters another file system mounted beneath, destroys what was never ours.
// Directories are opened without following and compared with the device they should be on; links are removed as links.
//
// Invariants (remove-tree.test.ts): R1 nothing outside is touched; R2 the number of open directories is bounded, whatever the
// depth: a directory that is too deep is first moved up to the top of the tree being removed.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { S_IFDIR, S_IFMT } from '@holdfast/shared/format/manifest/stat-record';
import { CName } from '../../os/c-name.ts';
import { closeFd, openAt, withDescriptor } from '../../os/descriptors.ts';
import { removeDirectoryAt, renameAt, unlinkAt } from '../../os/directory-entries.ts';
import { DirectoryListing } from '../../os/directory-listing.ts';
import { EACCES, ENOENT, EPERM, succeed } from '../../os/errno.ts';
import { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } from '../../os/flags.ts';
import { FLAGS_THAT_LOCK, getInodeFlags, setInodeFlags, setMode } from '../../os/inode.ts';
import { Statx } from '../../os/statx.ts';
import { temporaryName } from './temporary-name.ts';

const DEEPEST = 100;

const statx = new Statx();
const cName = new CName();
const listing = new DirectoryListing();

/** Removes the entry `name` of a directory; nothing there is fine. `path` is for errors. Throws HoldfastError. */
export function removeTree(dirFd: number, name: ByteString, path: ByteString, device: number): void {
  removeEntry({ topFd: dirFd, device }, dirFd, name, path, 0);
}

interface Removal {
  /** Where directories that are too deep are moved to. */
  topFd: number;
  readonly device: number;
}

function removeEntry(removal: Removal, dirFd: number, name: ByteString, path: ByteString, depth: number): void {
  const looked = statx.at(dirFd, cName.of(name));
  if (looked === -ENOENT) return;
  succeed(looked, 'statx', 'look at', path);
  if ((statx.mode & S_IFMT) !== S_IFDIR) {
    unlinkEntry(dirFd, name, path);
    return;
  }
  if (statx.device !== removal.device) throw otherFileSystem(path);
  if (depth > DEEPEST) {
    const moved = temporaryName();
    succeed(renameAt(dirFd, name, removal.topFd, moved), 'renameat', 'remove', path);
    return;
  }
  const fd = openAt(dirFd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (fd === -ENOENT) return;
  succeed(fd, 'openat', 'open the directory', path);
  withDescriptor(fd, () => {
    succeed(statx.of(fd), 'statx', 'look at', path);
    if (statx.device !== removal.device) throw otherFileSystem(path);
    unlock(fd);
    emptyDirectory(depth === 0 ? { ...removal, topFd: fd } : removal, fd, path, depth);
  });
  const result = removeDirectoryAt(dirFd, name);
  if (result !== -ENOENT) succeed(result, 'unlinkat', 'remove the directory', path);
}

/** Again until nothing is left: what lay too deep turns up at the top. */
function emptyDirectory(removal: Removal, fd: number, path: ByteString, depth: number): void {
  for (;;) {
    const names: ByteString[] = [];
    // A fresh descriptor lists from the beginning.
    const opened = openAt(fd, '.', O_RDONLY | O_DIRECTORY);
    // Somebody else has removed it.
    if (opened === -ENOENT) return;
    withDescriptor(succeed(opened, 'openat', 'list', path), (again) =>
      succeed(listing.read(again, names), 'getdents64', 'list', path),
    );
    if (names.length === 0) return;
    for (const name of names) removeEntry(removal, fd, name, `${path}/${name}`, depth + 1);
  }
}

function unlinkEntry(dirFd: number, name: ByteString, path: ByteString): void {
  let result = unlinkAt(dirFd, name);
  if (result === -EPERM || result === -EACCES) {
    unlockEntry(dirFd, name);
    result = unlinkAt(dirFd, name);
  }
  if (result !== -ENOENT) succeed(result, 'unlinkat', 'remove', path);
}

/** An immutable or append-only file is neither removed nor renamed over. Does nothing to what is not a regular file. */
export function unlockEntry(dirFd: number, name: ByteString): void {
  if (statx.at(dirFd, cName.of(name)) < 0 || (statx.mode & S_IFMT) !== 0o100000) return;
  const fd = openAt(dirFd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  unlock(fd);
  closeFd(fd);
}

function unlock(fd: number): void {
  const flags = getInodeFlags(fd);
  if (flags > 0 && (flags & FLAGS_THAT_LOCK) !== 0) setInodeFlags(fd, (flags & ~FLAGS_THAT_LOCK) >>> 0);
  // A directory that its owner may not write to (only matters without root).
  if (statx.of(fd) === 0 && (statx.mode & S_IFMT) === S_IFDIR && (statx.mode & 0o700) !== 0o700)
    setMode(fd, statx.mode | 0o700);
}

function otherFileSystem(path: ByteString): HoldfastError {
  return new HoldfastError(
    'FAILED_PRECONDITION',
    `${displayPath(path)} is not removed: another file system is mounted there`,
    {
      hint: 'Unmount it, or restore into another directory.',
    },
  );
}
