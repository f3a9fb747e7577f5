// Opening a directory whose path may be longer than the kernel takes in one call.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { closeFd, openAt } from './descriptors.ts';
import { AT_FDCWD, O_DIRECTORY, O_PATH } from './flags.ts';

/** Room is left for the kernel's own limit of 4,096. */
const LONGEST_PART = 3_500;

/**
 * A descriptor of the absolute directory `path`, good for calls relative to it (O_PATH: it needs the right to search, not
 * to list), or −errno. Symbolic links on the way are followed: the path is the operator's word.
 */
export function openDirectoryPath(path: ByteString): number {
  let fd = openAt(AT_FDCWD, '/', O_PATH | O_DIRECTORY);
  for (const part of partsOf(path)) {
    if (fd < 0) return fd;
    const next = openAt(fd, part, O_PATH | O_DIRECTORY);
    closeFd(fd);
    fd = next;
  }
  return fd;
}

function partsOf(path: ByteString): ByteString[] {
  const parts: ByteString[] = [];
  let part = '';
  for (const name of path.split('/')) {
    if (name === '') continue;
    if (part !== '' && part.length + name.length > LONGEST_PART) {
      parts.push(part);
      part = '';
    }
    part = part === '' ? name : `${part}/${name}`;
  }
  if (part !== '') parts.push(part);
  return parts;
}

/** Parent and last name of an absolute path; of '/' they are '/' and '.'. */
export function splitPath(path: ByteString): { readonly parent: ByteString; readonly name: ByteString } {
  const bare = path.replace(/\/+$/, '');
  const slash = bare.lastIndexOf('/');
  if (slash < 0) return { parent: '/', name: '.' };
  return { parent: slash === 0 ? '/' : bare.slice(0, slash), name: bare.slice(slash + 1) };
}
