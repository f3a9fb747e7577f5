// Where a walk begins: an open parent directory and the name of the root in it.

import { realpathSync } from 'node:fs';
import { fromBytes, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { displayPath } from '@holdfast/shared/base/byte-string';
import { succeed } from '../os/errno.ts';
import { openDirectoryPath, splitPath } from '../os/long-path.ts';

/** A symbolic link at the root path is followed: it is the operator's word. Throws NOT_FOUND, NOT_ALLOWED, INVALID_ARGUMENT. */
export function openRoot(root: ByteString): { readonly parentFd: number; readonly name: ByteString } {
  if (!root.startsWith('/') || root.includes('\0')) {
    throw new HoldfastError('INVALID_ARGUMENT', `the root ${displayPath(root)} is not an absolute path`);
  }
  const { parent, name } = splitPath(resolveLinks(root));
  return { parentFd: succeed(openDirectoryPath(parent), 'openat', 'open', parent), name };
}

function resolveLinks(path: ByteString): ByteString {
  try {
    return fromBytes(realpathSync.native(toBytes(path), 'buffer'));
  } catch {
    // Missing, or longer than PATH_MAX: the next call says which.
    return path;
  }
}
