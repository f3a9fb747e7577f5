// What has to wait for the end of a restore: directories' metadata (everything written into a directory changes its mtime,
// and its mode may forbid writing), and the inode flags that forbid further hard links.
//
// Memory: a path and a stat record for each directory of the snapshot.

import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';
import { type HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import { closeFd, openAt } from '../../os/descriptors.ts';
import { ENOENT, succeed, systemCallError } from '../../os/errno.ts';
import { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } from '../../os/flags.ts';
import type { EntryMetadata, MetadataWriter } from './apply-metadata.ts';
import type { TargetDirectories } from './target-directories.ts';
import { splitTargetPath } from './target-path.ts';

export class DeferredMetadata {
  readonly #directories: { readonly path: ByteString; readonly metadata: EntryMetadata }[] = [];
  readonly #flags: { readonly path: ByteString; readonly inodeFlags: number }[] = [];

  addDirectory(path: ByteString, metadata: EntryMetadata): void {
    const { user, group, xattrs, inodeFlags } = metadata;
    this.#directories.push({ path, metadata: { stat: Buffer.from(metadata.stat), user, group, xattrs, inodeFlags } });
  }

  addFlags(path: ByteString, inodeFlags: number): void {
    this.#flags.push({ path, inodeFlags });
  }

  /** Flags first, then directories from the deepest up: a parent's mode or flags may shut out what is beneath it. */
  apply(
    directories: TargetDirectories,
    writer: MetadataWriter,
    onError: (path: ByteString, error: HoldfastError) => void,
  ): void {
    for (const { path, inodeFlags } of this.#flags.splice(0)) {
      attempt(path, onError, () => applyFlags(directories, writer, path, inodeFlags));
    }
    const deepestFirst = this.#directories.splice(0).toSorted((a, b) => comparePaths(b.path, a.path));
    for (const { path, metadata } of deepestFirst) {
      attempt(path, onError, () => {
        const directory = directories.find(path);
        if (directory === undefined) throw systemCallError(-ENOENT, 'openat', 'set the metadata of', path);
        writer.apply({ fd: directory.fd, pathOnly: false, mayHaveMore: true }, path, metadata);
        writer.applyFlags(directory.fd, path, metadata.inodeFlags, true);
      });
    }
  }
}

function applyFlags(
  directories: TargetDirectories,
  writer: MetadataWriter,
  path: ByteString,
  inodeFlags: number,
): void {
  const { parent, name } = splitTargetPath(path);
  const parentFd = directories.forWriting(parent).fd;
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  const fd = succeed(openAt(parentFd, name, flags), 'openat', 'set the inode flags of', path);
  try {
    writer.applyFlags(fd, path, inodeFlags, true);
  } finally {
    closeFd(fd);
  }
}

function attempt(path: ByteString, onError: (path: ByteString, error: HoldfastError) => void, act: () => void): void {
  try {
    act();
  } catch (error) {
    onError(path, toHoldfastError(error));
  }
}
