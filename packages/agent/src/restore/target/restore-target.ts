// The directory a restore writes into, and nothing beyond it.
//
// Hazard: the snapshot may be a lie, and others may plant links, swap directories and fill the disk while it is written
// (threats 37–40). Every call here goes by an open directory and one plain name, never follows, creates new inodes instead
// of opening old ones, and sets metadata through a descriptor of the very inode that it made.
//
// Invariants (restore-target.test.ts, swap-race.test.ts, worst-tree.test.ts):
//   T1 nothing outside the root is written, created, removed or changed;
//   T2 after an error of one entry nothing new stands at its path, and the next entry can go on;
//   T3 owner, mode, attributes, times, flags: in this order, directories last (apply-metadata.ts, deferred-metadata.ts);
//   T4 what could not be set is said by `onWarning`, with the path.
//
// Directories: target-directories.ts. Names: placement.ts. Files: target-file.ts. What is written is made durable by one
// syncfs at the end (since Linux 5.8 it reports what any write-back before it lost), not by an fsync for each file.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  STAT_BYTES,
  statMode,
  statRdevMajor,
  statRdevMinor,
} from '@holdfast/shared/format/manifest/stat-record';
import { CName } from '../../os/c-name.ts';
import { closeFd, openAt, syncFileSystem } from '../../os/descriptors.ts';
import { linkAt, makeDirectoryAt, makeNodeAt, makeSymlinkAt } from '../../os/directory-entries.ts';
import { DirectoryListing, sortNames } from '../../os/directory-listing.ts';
import { EEXIST, ENOENT, EPERM, describeErrno, errnoName, succeed } from '../../os/errno.ts';
import { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } from '../../os/flags.ts';
import { FLAGS_BEFORE_CONTENT, getInodeFlags, setInodeFlags } from '../../os/inode.ts';
import { OwnerNames } from '../../os/owner-names.ts';
import { Statx, wordsOf } from '../../os/statx.ts';
import { removeXattr } from '../../os/xattrs.ts';
import { MetadataWriter, type EntryMetadata, type Warn } from './apply-metadata.ts';
import { DeferredMetadata } from './deferred-metadata.ts';
import { FILE_MODE, NewInodes } from './new-inodes.ts';
import { openTarget, prepareTarget } from './open-target.ts';
import { otherType, Placement, type Placed } from './placement.ts';
import { removeTree } from './remove-tree.ts';
import { TargetDirectories, type TargetDirectory } from './target-directories.ts';
import { TargetFile, type TargetFileDeps } from './target-file.ts';
import { splitTargetPath } from './target-path.ts';

export type { EntryMetadata } from './apply-metadata.ts';
export { endsRestore } from './ends-restore.ts';

export interface TargetOptions {
  /**
   * `fresh`: everything is created, and what stands at a path already is an error (ALREADY_EXISTS), except a directory.
   * `merge`: files, links and special files are written under a temporary name and renamed over what is there.
   */
  readonly into: 'fresh' | 'merge';
  /** The directory of the manifest that the target stands for; what is above it is left out. Default: the root. */
  readonly root?: ByteString;
  /** merge: whether something of another type may be replaced (a directory with everything beneath it). Otherwise ALREADY_EXISTS. */
  readonly replaceOtherTypes?: boolean;
  /** Restore setuid, setgid (of files) and capabilities; takes root as well. Otherwise they are dropped with a warning. */
  readonly setuid?: boolean;
  /** Owners by name where this host knows the name, else by number. Default: by number. */
  readonly ownersByName?: boolean;
  /** A part of an entry's metadata that could not be set, or was left out. The entry itself is there. */
  readonly onWarning: Warn;
}

/** Paths are those of the manifest; each is checked here again. Errors are HoldfastErrors and name the path. */
export class RestoreTarget {
  readonly #options: TargetOptions;
  readonly #directories: TargetDirectories;
  readonly #placement: Placement;
  readonly #metadata: MetadataWriter;
  readonly #newInodes: NewInodes;
  readonly #deferred = new DeferredMetadata();
  readonly #fileDeps: TargetFileDeps;
  readonly #statx = new Statx();
  readonly #cName = new CName();

  /**
   * Creates the directory if it is missing, and checks that it is empty. Once per restore, before `open`.
   * Throws FAILED_PRECONDITION when it is not empty and `intoNonEmpty` is not set.
   */
  static prepare(path: ByteString, options: { readonly intoNonEmpty: boolean }): void {
    prepareTarget(path, options.intoNonEmpty);
  }

  /** Each thread opens its own; several may write into one directory at the same time, different paths each. */
  static open(path: ByteString, options: TargetOptions): RestoreTarget {
    return new RestoreTarget(openTarget(path), options);
  }

  private constructor(rootFd: number, options: TargetOptions) {
    const merging = options.into === 'merge';
    const isRoot = process.geteuid?.() === 0;
    this.#options = options;
    this.#directories = new TargetDirectories(rootFd, merging);
    this.#placement = new Placement(merging, options.replaceOtherTypes ?? false);
    const names = options.ownersByName === true ? new OwnerNames() : undefined;
    this.#metadata = new MetadataWriter(
      { isRoot, setuid: isRoot && options.setuid === true },
      names,
      options.onWarning,
    );
    this.#newInodes = new NewInodes(this.#directories, this.#placement, this.#metadata);
    this.#fileDeps = {
      placement: this.#placement,
      metadata: this.#metadata,
      deferFlags: (path, inodeFlags) => this.#deferred.addFlags(path, inodeFlags),
    };
  }

  /** Missing parents are created too (0700 until their metadata is set). A directory that is there is kept. */
  createDirectory(inManifest: ByteString): void {
    const path = this.#placeOf(inManifest);
    if (path === undefined || path === '') return;
    const { parent, name } = splitTargetPath(path);
    const directory = this.#directories.forWriting(parent);
    const result = makeDirectoryAt(directory.fd, name, 0o700);
    if (result === 0) {
      this.#directories.adoptNew(directory, name, path);
      return;
    }
    if (result !== -EEXIST) succeed(result, 'mkdirat', 'create the directory', path);
    const existing = this.#typeAt(directory, name, path);
    if (existing === S_IFDIR) return;
    if (this.#options.into === 'fresh' || this.#options.replaceOtherTypes !== true)
      throw otherType(path, existing, S_IFDIR);
    removeTree(directory.fd, name, path, directory.device);
    succeed(makeDirectoryAt(directory.fd, name, 0o700), 'mkdirat', 'create the directory', path);
    this.#directories.adoptNew(directory, name, path);
  }

  /** A new regular file, to be finished or abandoned. `inodeFlags`: those that must be set before content is written. */
  createFile(inManifest: ByteString, size: number, inodeFlags = 0): TargetFile {
    const path = this.#insideOf(inManifest);
    const { parent, name } = splitTargetPath(path);
    const directory = this.#directories.forWriting(parent);
    const flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
    const { placed, result: fd } = this.#placement.create(directory, name, path, S_IFREG, 'openat', (under) =>
      openAt(directory.fd, under, flags, FILE_MODE),
    );
    const early = inodeFlags & FLAGS_BEFORE_CONTENT;
    // Whether it worked is seen at the end, when all flags are set.
    if (early !== 0) setInodeFlags(fd, (Math.max(0, getInodeFlags(fd)) | early) >>> 0);
    if (directory.defaultAcl) removeXattr(fd, 'system.posix_acl_access');
    return new TargetFile(this.#fileDeps, this.#newInodes.stateOfFile(fd, directory), placed, size);
  }

  /**
   * The file that is there, to be read, written in place, or given other metadata (delta). undefined unless it is a regular
   * file with this one name, on its directory's file system. Opening it changes nothing.
   */
  openForUpdate(inManifest: ByteString, size: number): TargetFile | undefined {
    const path = this.#insideOf(inManifest);
    const { parent, name } = splitTargetPath(path);
    const directory = this.#directories.find(parent);
    if (directory === undefined) return undefined;
    const flags = O_NOFOLLOW | O_NONBLOCK;
    let fd = openAt(directory.fd, name, O_RDWR | flags);
    const writable = fd >= 0;
    // Running, read-only or immutable: good enough for reading and for its metadata.
    if (fd < 0 && fd !== -ENOENT) fd = openAt(directory.fd, name, O_RDONLY | flags);
    if (fd < 0) return undefined;
    const statx = this.#statx;
    if (
      statx.of(fd) < 0 ||
      (statx.mode & S_IFMT) !== S_IFREG ||
      statx.nlink !== 1 ||
      statx.device !== directory.device
    ) {
      closeFd(fd);
      return undefined;
    }
    const placed: Placed = { directory, path, name, temporary: undefined };
    return new TargetFile(this.#fileDeps, { fd, pathOnly: false, mayHaveMore: true }, placed, size, {
      size: statx.size,
      writable,
    });
  }

  createSymlink(path: ByteString, linkTarget: ByteString, metadata: EntryMetadata): void {
    this.#newInodes.create(this.#insideOf(path), S_IFLNK, 'symlinkat', metadata, (dirFd, name) =>
      makeSymlinkAt(linkTarget, dirFd, name),
    );
  }

  /** Fifo, socket or device, by the mode in the stat record. `skipped`, with a warning, where the system does not allow it. */
  createSpecial(path: ByteString, metadata: EntryMetadata): 'created' | 'skipped' {
    const type = statMode(metadata.stat) & S_IFMT;
    if (type !== S_IFIFO && type !== S_IFSOCK && type !== S_IFCHR && type !== S_IFBLK) {
      throw new HoldfastError('DAMAGED', `${displayPath(path)} has a type that the snapshot can't hold`);
    }
    const isDevice = type === S_IFCHR || type === S_IFBLK;
    const major = isDevice ? statRdevMajor(metadata.stat) : 0;
    const minor = isDevice ? statRdevMinor(metadata.stat) : 0;
    try {
      this.#newInodes.create(this.#insideOf(path), type, 'mknodat', metadata, (dirFd, name) =>
        makeNodeAt(dirFd, name, type | FILE_MODE, major, minor),
      );
    } catch (error) {
      const notAllowed = error instanceof HoldfastError && error.details['errno'] === errnoName(EPERM);
      if (!notAllowed || error.details['syscall'] !== 'mknodat') throw error;
      this.#options.onWarning(
        path,
        `it was not created: ${isDevice ? 'only root can make devices' : describeErrno(EPERM)}`,
      );
      return 'skipped';
    }
    return 'created';
  }

  /** Another name for what was restored at `existing` (never followed). `inode` is what it must be: `TargetFile.inode`, or from `look`. */
  hardLink(existingInManifest: ByteString, inManifest: ByteString, inode?: bigint): void {
    const existing = this.#insideOf(existingInManifest);
    const path = this.#insideOf(inManifest);
    const to = splitTargetPath(path);
    const directory = this.#directories.forWriting(to.parent);
    const from = splitTargetPath(existing);
    const source = this.#directories.find(from.parent);
    if (source === undefined) {
      throw new HoldfastError('NOT_FOUND', `cannot link ${displayPath(path)}: ${displayPath(existing)} is not there`);
    }
    const type = this.#typeAt(source, from.name, existing);
    const sourceInode = this.#statx.inode64;
    if (this.#options.into === 'merge' && this.#statx.at(directory.fd, this.#cName.of(to.name)) === 0) {
      if (this.#statx.inode64 === sourceInode && this.#statx.device === source.device) return;
    }
    const { placed } = this.#placement.create(directory, to.name, path, type, 'linkat', (under) =>
      linkAt(source.fd, from.name, directory.fd, under),
    );
    this.#checkLinked(placed, inode ?? sourceInode);
    this.#placement.finish(placed, type);
  }

  /** The stat record of what stands at the path now (not followed); undefined when nothing does. */
  look(inManifest: ByteString): Buffer | undefined {
    const path = this.#placeOf(inManifest);
    if (path === undefined) return undefined;
    const result = path === '' ? this.#statx.of(this.#directories.root.fd) : this.#lookBeneath(path);
    if (result === -ENOENT) return undefined;
    succeed(result, 'statx', 'look at', path);
    const stat = Buffer.alloc(STAT_BYTES);
    this.#statx.writeRecord(wordsOf(stat));
    return stat;
  }

  /** Names in the directory, sorted by bytes, for finding what the snapshot does not have. Empty when it is not there. */
  list(inManifest: ByteString): ByteString[] {
    const path = this.#insideOf(inManifest);
    const directory = this.#directories.find(path);
    const names: ByteString[] = [];
    if (directory === undefined) return names;
    const fd = succeed(openAt(directory.fd, '.', O_RDONLY | O_DIRECTORY), 'openat', 'list', path);
    try {
      succeed(new DirectoryListing().read(fd, names), 'getdents64', 'list', path);
    } finally {
      closeFd(fd);
    }
    sortNames(names);
    return names;
  }

  /** Removes what stands at the path, with everything beneath it; nothing there is fine. Never another file system. */
  remove(inManifest: ByteString): void {
    const path = this.#insideOf(inManifest);
    const { parent, name } = splitTargetPath(path);
    const directory = this.#directories.find(parent);
    if (directory === undefined) return;
    this.#directories.forget(path);
    removeTree(directory.fd, name, path, directory.device);
  }

  /** Keeps a directory's metadata until `settle`. The stat record is copied. */
  deferDirectory(inManifest: ByteString, metadata: EntryMetadata): void {
    const path = this.#placeOf(inManifest);
    if (path !== undefined) this.#deferred.addDirectory(path, metadata);
  }

  /**
   * Sets the metadata of the deferred directories, deepest first, and the inode flags that had to wait. A directory that fails is
   * given to `onError` and the rest goes on. Every thread must have written its last before.
   */
  settle(onError: (path: ByteString, error: HoldfastError) => void): void {
    this.#deferred.apply(this.#directories, this.#metadata, onError);
  }

  /** Makes durable what was written to the file systems met here, by any thread, since `open`. Throws what writing any of it back met. */
  sync(): void {
    for (const fd of this.#directories.fileSystems()) succeed(syncFileSystem(fd), 'syncfs', 'make durable', '');
  }

  close(): void {
    this.#directories.closeAll();
  }

  /** Where an entry of the manifest belongs beneath the target; undefined for what is above the directory it stands for. */
  #placeOf(path: ByteString): ByteString | undefined {
    const root = this.#options.root ?? '';
    if (root === '') return path;
    if (path === root) return '';
    return path.startsWith(`${root}/`) ? path.slice(root.length + 1) : undefined;
  }

  #insideOf(path: ByteString): ByteString {
    const place = this.#placeOf(path);
    if (place !== undefined) return place;
    throw new HoldfastError('INVALID_ARGUMENT', `${displayPath(path)} is not beneath what is restored`);
  }

  #lookBeneath(path: ByteString): number {
    const { parent, name } = splitTargetPath(path);
    const directory = this.#directories.find(parent);
    return directory === undefined ? -ENOENT : this.#statx.at(directory.fd, this.#cName.of(name));
  }

  /** S_IFMT bits of what stands at the name; `#statx` then has the rest. */
  #typeAt(directory: TargetDirectory, name: ByteString, path: ByteString): number {
    succeed(this.#statx.at(directory.fd, this.#cName.of(name)), 'statx', 'look at', path);
    return this.#statx.mode & S_IFMT;
  }

  /** What was linked is what was meant, or the new name is taken away again. */
  #checkLinked(placed: Placed, inode: bigint): void {
    const { directory, name, temporary, path } = placed;
    const looked = this.#statx.at(directory.fd, this.#cName.of(temporary ?? name));
    if (looked === 0 && this.#statx.inode64 === inode) return;
    this.#placement.remove(placed);
    throw new HoldfastError(
      'PATH_ESCAPES',
      `${displayPath(path)} was not linked: what it should be a name of was replaced by another process`,
      {
        details: { path: displayPath(path) },
      },
    );
  }
}
