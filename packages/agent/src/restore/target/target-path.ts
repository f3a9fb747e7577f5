// Paths of a manifest, checked before they touch the file system.
//
// Hazard: a hostile controller names '../../etc/passwd', '/etc/passwd', or cuts a name with a NUL (threat 40). What passes
// here is a sequence of plain names; that none of them is a symbolic link is checked by the open, where it can't be raced.
//
// Pure.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

/** Throws PATH_ESCAPES unless `name` is one plain name. `path` is for the message. */
export function checkName(name: ByteString, path: ByteString): void {
  if (name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0')) return;
  throw new HoldfastError('PATH_ESCAPES', `the path ${displayPath(path)} is none that a snapshot may hold`, {
    hint: 'The snapshot was made by something that is not Holdfast, or the controller is not to be trusted. Nothing was written.',
    details: { path: displayPath(path) },
  });
}

/** The directory's path ('' for the root) and the name in it, checked. Throws PATH_ESCAPES, also for the root itself. */
export function splitTargetPath(path: ByteString): { readonly parent: ByteString; readonly name: ByteString } {
  const slash = path.lastIndexOf('/');
  const name = path.slice(slash + 1);
  checkName(name, path);
  // A leading slash would make the parent '', which is the root.
  if (slash === 0) checkName('', path);
  return { parent: slash < 0 ? '' : path.slice(0, slash), name };
}
