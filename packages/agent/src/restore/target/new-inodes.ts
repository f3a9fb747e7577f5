// New inodes without content (links, fifos, sockets, devices), and what is known about any inode that was just made.
//
// Hazard: between making a symlink or device and setting its owner by name, somebody may put a hard link to a foreign file
// under that name, and the owner of that file would change (threat 37). So the name is opened once (O_PATH, not followed), what
// was opened is checked to be the new inode (type, our owner, a single name), and the rest goes by that descriptor.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { S_IFLNK, S_IFMT } from '@holdfast/shared/format/manifest/stat-record';
import { closeFd, openAt } from '../../os/descriptors.ts';
import { succeed } from '../../os/errno.ts';
import { O_NOFOLLOW, O_PATH } from '../../os/flags.ts';
import { Statx } from '../../os/statx.ts';
import { removeXattrOfPath } from '../../os/xattrs.ts';
import type { EntryMetadata, InodeState, MetadataWriter } from './apply-metadata.ts';
import type { Placed, Placement } from './placement.ts';
import type { TargetDirectories, TargetDirectory } from './target-directories.ts';
import { splitTargetPath } from './target-path.ts';

/** What files and directories are made with; nobody else gets in before their metadata is set. */
export const FILE_MODE = 0o600;

export class NewInodes {
  readonly #directories: TargetDirectories;
  readonly #placement: Placement;
  readonly #metadata: MetadataWriter;
  readonly #statx = new Statx();
  /** What new inodes get in a clean directory, looked at once: on some mounts it is not our own user and group. */
  #owner: { readonly uid: number; readonly gid: number } | undefined;

  constructor(directories: TargetDirectories, placement: Placement, metadata: MetadataWriter) {
    this.#directories = directories;
    this.#placement = placement;
    this.#metadata = metadata;
  }

  /** Of a regular file that was just made in `directory` with FILE_MODE. */
  stateOfFile(fd: number, directory: TargetDirectory): InodeState {
    if (!directory.clean) return { fd, pathOnly: false, mayHaveMore: true };
    if (this.#owner === undefined && this.#statx.of(fd) === 0 && (this.#statx.mode & 0o7777) === FILE_MODE) {
      this.#owner = { uid: this.#statx.uid, gid: this.#statx.gid };
    }
    if (this.#owner === undefined) return { fd, pathOnly: false, mayHaveMore: true };
    return { fd, pathOnly: false, mayHaveMore: false, created: { ...this.#owner, mode: FILE_MODE } };
  }

  /** Makes it with `make`, which is given a name and answers ≥ 0 or −errno, sets its metadata and gives it its name. */
  create(
    path: ByteString,
    type: number,
    syscall: string,
    metadata: EntryMetadata,
    make: (dirFd: number, name: ByteString) => number,
  ): void {
    const { parent, name } = splitTargetPath(path);
    const directory = this.#directories.forWriting(parent);
    const { placed } = this.#placement.create(directory, name, path, type, syscall, (under) =>
      make(directory.fd, under),
    );
    try {
      const fd = this.#openOwn(placed, type);
      try {
        if (directory.defaultAcl && type !== S_IFLNK) removeXattrOfPath(fd, 'system.posix_acl_access');
        this.#metadata.apply({ fd, pathOnly: true, mayHaveMore: false }, path, metadata);
      } finally {
        closeFd(fd);
      }
    } catch (error) {
      this.#placement.remove(placed);
      throw error;
    }
    this.#placement.finish(placed, type);
  }

  #openOwn(placed: Placed, type: number): number {
    const { directory, path } = placed;
    const name = placed.temporary ?? placed.name;
    const fd = succeed(openAt(directory.fd, name, O_PATH | O_NOFOLLOW), 'openat', 'open', path);
    const statx = this.#statx;
    const looked = statx.of(fd);
    const isOurs =
      looked === 0 &&
      (statx.mode & S_IFMT) === type &&
      statx.nlink === 1 &&
      statx.device === directory.device &&
      // Links have no mode of their own; what was made here is still closed to others.
      (type === S_IFLNK || (statx.mode & 0o7177) === 0);
    if (isOurs) return fd;
    closeFd(fd);
    throw new HoldfastError(
      'PATH_ESCAPES',
      `${displayPath(path)} was replaced by another process while it was restored`,
      {
        details: { path: displayPath(path) },
      },
    );
  }
}
