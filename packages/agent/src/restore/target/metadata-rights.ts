// What of an entry's metadata a restore may set. Pure.
//
// Invariants (metadata-rights.test.ts): M1 without root and `setuid`, no file comes out with setuid, setgid or capabilities (39).

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { S_IFDIR, S_IFMT } from '@holdfast/shared/format/manifest/stat-record';

export interface Rights {
  readonly isRoot: boolean;
  /** Asked for, and root. */
  readonly setuid: boolean;
}

const S_ISUID = 0o4000;
const S_ISGID = 0o2000;

/**
 * The permission bits to set. Setgid on a directory only says which group new files get, so it stays; everywhere else
 * the two bits give rights to whoever runs the file.
 */
export function permittedMode(mode: number, rights: Rights): number {
  const bits = mode & 0o7777;
  if (rights.setuid || (mode & S_IFMT) === S_IFDIR) return bits;
  return bits & ~(S_ISUID | S_ISGID);
}

/** Why an attribute is left out, or undefined when it is to be set. */
export function refusedXattr(name: ByteString, rights: Rights): string | undefined {
  if (name === 'security.capability' && !rights.setuid) return 'its capabilities were left out';
  if (!rights.isRoot && (name.startsWith('trusted.') || name.startsWith('security.'))) {
    return `only root can set its attribute`;
  }
  return undefined;
}

/** Attributes that don't belong to the snapshot and are not the kernel's or the security module's own. */
export function isForeignXattr(name: ByteString): boolean {
  return (
    name.startsWith('user.') ||
    name.startsWith('trusted.') ||
    name === 'security.capability' ||
    name === 'system.posix_acl_access' ||
    name === 'system.posix_acl_default'
  );
}
