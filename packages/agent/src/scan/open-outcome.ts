// Opening what the walk saw, when it may have become something else since.
//
// Hazard: a file swapped for a fifo blocks the open for ever; swapped for a symlink, it leads out of the source. So an open
// never follows and never blocks, and what was opened is looked at again before a byte is read (threat 22). What a swap
// to a device node does by being opened can't be undone; planting one takes root.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { HoldfastError } from '@holdfast/shared/base/errors';
import { S_IFMT, S_IFREG, statMode } from '@holdfast/shared/format/manifest/stat-record';
import { closeFd, openAt } from '../os/descriptors.ts';
import { ELOOP, ENOENT, ENOTDIR, ENXIO, EPERM, ESTALE, systemCallError } from '../os/errno.ts';
import { O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } from '../os/flags.ts';
import { Statx } from '../os/statx.ts';
import { OpenedFile } from './opened-file.ts';

export type OpenOutcome =
  /** A regular file. When another one took its place, `file.stat` shows it: content belongs to that record. */
  | { readonly kind: 'opened'; readonly file: OpenedFile }
  | { readonly kind: 'vanished' }
  /** No longer a regular file, or on another file system. */
  | { readonly kind: 'replaced' }
  | { readonly kind: 'unreadable'; readonly error: HoldfastError };

const VANISHED: OpenOutcome = { kind: 'vanished' };
const REPLACED: OpenOutcome = { kind: 'replaced' };

const statx = new Statx();

/**
 * Opens the regular file `name` of a directory. `expected` is the stat record that the walk saw, `device` its file system
 * (as Statx gives it), `path` is for errors. Whoever gets a file closes it.
 */
export function openForReading(
  dirFd: number,
  name: ByteString,
  expected: Buffer,
  device: number,
  path: ByteString,
): OpenOutcome {
  if ((statMode(expected) & S_IFMT) !== S_IFREG) return REPLACED;
  const fd = openQuietly(dirFd, name, O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) {
    if (fd === -ENOENT || fd === -ESTALE) return VANISHED;
    // ENXIO: a socket, or a device without a driver.
    if (fd === -ELOOP || fd === -ENOTDIR || fd === -ENXIO) return REPLACED;
    return { kind: 'unreadable', error: systemCallError(fd, 'openat', 'read', path) };
  }
  const result = statx.of(fd);
  if (result === 0 && (statx.mode & S_IFMT) === S_IFREG && statx.device === device) {
    return { kind: 'opened', file: new OpenedFile(fd, statx, path) };
  }
  closeFd(fd);
  return result < 0 ? { kind: 'unreadable', error: systemCallError(result, 'statx', 'look at', path) } : REPLACED;
}

/** Opens for reading without leaving a trace in the atime where the system allows that (the owner and root). */
export function openQuietly(dirFd: number, name: ByteString, flags: number): number {
  const fd = openAt(dirFd, name, O_RDONLY | O_NOATIME | flags);
  return fd === -EPERM ? openAt(dirFd, name, O_RDONLY | flags) : fd;
}
