// Cache directories that say so themselves (https://bford.info/cachedir/).

import { closeFd, readAt } from '../os/descriptors.ts';
import { S_IFMT, S_IFREG } from '@holdfast/shared/format/manifest/stat-record';
import { O_NOFOLLOW, O_NONBLOCK } from '../os/flags.ts';
import { Statx } from '../os/statx.ts';
import { openQuietly } from './open-outcome.ts';

export const CACHE_TAG = 'CACHEDIR.TAG';
const SIGNATURE = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55');
const found = Buffer.alloc(SIGNATURE.length);
const statx = new Statx();

/** Whether the open directory holds a CACHEDIR.TAG, a regular file with the signature. */
export function isCacheDirectory(dirFd: number): boolean {
  const fd = openQuietly(dirFd, CACHE_TAG, O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return false;
  try {
    if (statx.of(fd) < 0 || (statx.mode & S_IFMT) !== S_IFREG) return false;
    return readAt(fd, found, 0, found.length, 0) === found.length && found.equals(SIGNATURE);
  } finally {
    closeFd(fd);
  }
}
