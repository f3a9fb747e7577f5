// The root of a restore: made where it is missing, checked, opened.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { closeFd, openAt, withDescriptor } from '../../os/descriptors.ts';
import { makeDirectoryAt } from '../../os/directory-entries.ts';
import { DirectoryListing } from '../../os/directory-listing.ts';
import { EEXIST, ENOENT, ENOTDIR, succeed } from '../../os/errno.ts';
import { O_DIRECTORY, O_RDONLY } from '../../os/flags.ts';
import { openDirectoryPath, splitPath } from '../../os/long-path.ts';

/**
 * Creates the directory if it is missing, and its parents with it, and checks that it is empty unless it need not be.
 * Links on the way are followed: the path is the operator's word. Throws FAILED_PRECONDITION.
 */
export function prepareTarget(path: ByteString, intoNonEmpty: boolean): void {
  checkAbsolute(path);
  makeDirectories(path);
  if (intoNonEmpty) return;
  const names: ByteString[] = [];
  withDescriptor(openTarget(path), (fd) => succeed(new DirectoryListing().read(fd, names), 'getdents64', 'list', path));
  if (names.length === 0) return;
  throw new HoldfastError('FAILED_PRECONDITION', `the target ${displayPath(path)} is not empty`, {
    hint: 'Name a new or empty directory, or add --into-non-empty, or --delta to write only what differs.',
    details: { path: displayPath(path) },
  });
}

/** A descriptor of the directory. */
export function openTarget(path: ByteString): number {
  checkAbsolute(path);
  const found = openDirectoryPath(path);
  if (found === -ENOTDIR) {
    throw new HoldfastError('FAILED_PRECONDITION', `the target ${displayPath(path)} is not a directory`);
  }
  succeed(found, 'openat', 'open the target', path);
  return withDescriptor(found, () =>
    succeed(openAt(found, '.', O_RDONLY | O_DIRECTORY), 'openat', 'open the target', path),
  );
}

/** From the first missing parent down. New ones are 0700 until the restore says otherwise. */
function makeDirectories(path: ByteString): void {
  const missing: ByteString[] = [];
  let at = path;
  let fd = openDirectoryPath(at);
  while (fd === -ENOENT) {
    const { parent, name } = splitPath(at);
    missing.push(name);
    at = parent;
    fd = openDirectoryPath(at);
  }
  succeed(fd, 'openat', 'open', at);
  try {
    for (const name of missing.toReversed()) {
      const made = makeDirectoryAt(fd, name, missing[0] === name ? 0o700 : 0o755);
      if (made !== -EEXIST) succeed(made, 'mkdirat', 'create the directory', path);
      const next = succeed(openAt(fd, name, O_RDONLY | O_DIRECTORY), 'openat', 'open', path);
      closeFd(fd);
      fd = next;
    }
  } finally {
    closeFd(fd);
  }
}

function checkAbsolute(path: ByteString): void {
  if (path.startsWith('/') && !path.includes('\0')) return;
  throw new HoldfastError('INVALID_ARGUMENT', `the target ${displayPath(path)} is not an absolute path`);
}
