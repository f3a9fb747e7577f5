// The directories of a restore's target: from a path of the manifest to an open directory beneath the root.
//
// Hazard: a path is looked up while somebody swaps its directories for symbolic links (threat 37). So no path is ever given to the
// kernel: each directory is opened by its one name from its open parent, without following, and what was opened is used by
// its descriptor from then on. A directory that somebody moves away stays the same directory; a link in its place is refused.
//
// Invariants (swap-race.test.ts, restore-target.test.ts):
//   D1 every descriptor here was reached from the root's by names of real directories alone;
//   D2 at most OPEN_DIRECTORIES descriptors stay open besides those in use, whatever the depth (25);
//   D3 a directory that is made is 0700 and inherits nothing (ACLs, group, flags) that the snapshot does not ask for.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { displayPath } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { closeFd, openAt } from '../../os/descriptors.ts';
import { makeDirectoryAt } from '../../os/directory-entries.ts';
import { EEXIST, ELOOP, ENOENT, ENOTDIR, succeed, systemCallError } from '../../os/errno.ts';
import { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } from '../../os/flags.ts';
import { FLAGS_THAT_LOCK, getInodeFlags, RESTORABLE_FLAGS, setInodeFlags } from '../../os/inode.ts';
import { Statx } from '../../os/statx.ts';
import { hasXattr, removeXattr } from '../../os/xattrs.ts';
import { checkName } from './target-path.ts';

export const OPEN_DIRECTORIES = 64;

const DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
const S_ISGID = 0o2000;
const ACL_ACCESS = 'system.posix_acl_access';
const ACL_DEFAULT = 'system.posix_acl_default';

export interface TargetDirectory {
  readonly fd: number;
  readonly path: ByteString;
  readonly device: number;
  /** What is made here gets nothing from it but our own owner and group. */
  readonly clean: boolean;
  /** What is made here inherits ACL entries. */
  readonly defaultAcl: boolean;
  /** Open files that still need it. */
  users: number;
}

export class TargetDirectories {
  readonly #root: TargetDirectory;
  readonly #merging: boolean;
  /** In order of use, the latest last. */
  readonly #open = new Map<ByteString, TargetDirectory>();
  #latest: TargetDirectory;
  /** By device, beside the root's: other file systems mounted within the target. */
  readonly #otherFileSystems = new Map<number, number>();
  readonly #statx = new Statx();

  /** Takes over the descriptor of the root. */
  constructor(rootFd: number, merging: boolean) {
    this.#merging = merging;
    this.#root = this.#describe(rootFd, '', undefined);
    this.#latest = this.#root;
  }

  get root(): TargetDirectory {
    return this.#root;
  }

  /** The directory at `path`; missing ones are made. Throws PATH_ESCAPES where a link or a file stands in the way. */
  forWriting(path: ByteString): TargetDirectory {
    return this.#resolve(path, true)!;
  }

  /** The directory at `path`, or undefined when there is none. */
  find(path: ByteString): TargetDirectory | undefined {
    return this.#resolve(path, false);
  }

  /** Forgets what is at or beneath `path`: it was removed. */
  forget(path: ByteString): void {
    for (const [known, directory] of this.#open) {
      if (known !== path && !known.startsWith(`${path}/`)) continue;
      this.#open.delete(known);
      if (this.#latest === directory) this.#latest = this.#root;
      closeFd(directory.fd);
    }
  }

  /** Opens a directory that was just made. */
  adoptNew(parent: TargetDirectory, name: ByteString, path: ByteString): void {
    const fd = openAt(parent.fd, name, DIRECTORY);
    if (fd === -ELOOP || fd === -ENOTDIR) throw notADirectory(path);
    this.#adopt(succeed(fd, 'openat', 'open the directory', path), path, parent);
  }

  /** A descriptor on each file system that was met. */
  fileSystems(): number[] {
    return [this.#root.fd, ...this.#otherFileSystems.values()];
  }

  closeAll(): void {
    for (const directory of this.#open.values()) closeFd(directory.fd);
    for (const fd of this.#otherFileSystems.values()) closeFd(fd);
    this.#open.clear();
    this.#otherFileSystems.clear();
    closeFd(this.#root.fd);
  }

  #resolve(path: ByteString, make: boolean): TargetDirectory | undefined {
    if (this.#latest.path === path) return this.#latest;
    // All names before the first call, so that a refused path leaves nothing behind.
    if (path !== '' && !this.#open.has(path)) for (const name of path.split('/')) checkName(name, path);
    // From the nearest directory above that is open, name by name.
    let end = path.length;
    let directory = this.#known(path);
    while (directory === undefined) {
      end = Math.max(0, path.lastIndexOf('/', end - 1));
      directory = this.#known(path.slice(0, end));
    }
    while (directory.path.length < path.length) {
      const start: number = directory.path === '' ? 0 : directory.path.length + 1;
      const slash = path.indexOf('/', start);
      const next = this.#openChild(
        directory,
        path.slice(start, slash < 0 ? undefined : slash),
        slash < 0 ? path : path.slice(0, slash),
        make,
      );
      if (next === undefined) return undefined;
      directory = next;
    }
    this.#latest = directory;
    return directory;
  }

  #known(path: ByteString): TargetDirectory | undefined {
    if (path === '') return this.#root;
    const directory = this.#open.get(path);
    if (directory === undefined) return undefined;
    this.#open.delete(path);
    this.#open.set(path, directory);
    return directory;
  }

  #openChild(parent: TargetDirectory, name: ByteString, path: ByteString, make: boolean): TargetDirectory | undefined {
    let made = false;
    let fd = openAt(parent.fd, name, DIRECTORY);
    if (fd === -ENOENT) {
      if (!make) return undefined;
      const result = makeDirectoryAt(parent.fd, name, 0o700);
      made = result === 0;
      if (result !== -EEXIST) succeed(result, 'mkdirat', 'create the directory', path);
      fd = openAt(parent.fd, name, DIRECTORY);
    }
    if (fd === -ELOOP || fd === -ENOTDIR) {
      if (make) throw notADirectory(path);
      return undefined;
    }
    succeed(fd, 'openat', 'open the directory', path);
    return this.#adopt(fd, path, made ? parent : undefined);
  }

  #adopt(fd: number, path: ByteString, madeIn: TargetDirectory | undefined): TargetDirectory {
    const directory = this.#describe(fd, path, madeIn);
    this.#open.set(path, directory);
    this.#evict();
    return directory;
  }

  /** `madeIn`: the directory that it was just made in; undefined when it was there. */
  #describe(fd: number, path: ByteString, madeIn: TargetDirectory | undefined): TargetDirectory {
    if (madeIn?.clean === true) return { fd, path, device: madeIn.device, clean: true, defaultAcl: false, users: 0 };
    if (madeIn?.defaultAcl === true) {
      removeXattr(fd, ACL_DEFAULT);
      removeXattr(fd, ACL_ACCESS);
    }
    const result = this.#statx.of(fd);
    if (result < 0) {
      closeFd(fd);
      throw systemCallError(result, 'statx', 'look at', path);
    }
    const { device, mode } = this.#statx;
    const flags = Math.max(0, getInodeFlags(fd));
    if (this.#merging && (flags & FLAGS_THAT_LOCK) !== 0) setInodeFlags(fd, flags & ~FLAGS_THAT_LOCK);
    const defaultAcl = hasXattr(fd, ACL_DEFAULT);
    const sameFileSystem = path === '' || device === this.#root.device;
    if (!sameFileSystem && !this.#otherFileSystems.has(device)) {
      this.#otherFileSystems.set(device, succeed(openAt(fd, '.', DIRECTORY), 'openat', 'open the directory', path));
    }
    const clean =
      sameFileSystem && !defaultAcl && (mode & S_ISGID) === 0 && (flags & RESTORABLE_FLAGS & ~FLAGS_THAT_LOCK) === 0;
    return { fd, path, device, clean, defaultAcl, users: 0 };
  }

  /** The oldest that nobody uses; the newest two always stay, because a call may need both. */
  #evict(): void {
    let excess = this.#open.size - OPEN_DIRECTORIES;
    if (excess <= 0) return;
    let kept = this.#open.size - 2;
    for (const [path, directory] of this.#open) {
      if (excess === 0 || kept-- <= 0) return;
      if (directory.users > 0 || directory === this.#latest) continue;
      this.#open.delete(path);
      closeFd(directory.fd);
      excess--;
    }
  }
}

function notADirectory(path: ByteString): HoldfastError {
  return new HoldfastError(
    'PATH_ESCAPES',
    `${displayPath(path)} is not a directory in the target; nothing was written beneath it`,
    {
      hint: 'A symbolic link or a file stands where the snapshot has a directory. Remove it, or restore into an empty directory.',
      details: { path: displayPath(path) },
    },
  );
}
