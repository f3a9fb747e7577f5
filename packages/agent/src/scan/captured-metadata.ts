// What an entry carries besides its stat record.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';

export interface CapturedMetadata {
  /** '' when this host has no name for the number. */
  readonly user: ByteString;
  readonly group: ByteString;
  /** Of a symlink; '' for everything else. */
  readonly linkTarget: ByteString;
  /** All namespaces that could be read, sorted by name. ACLs are `system.posix_acl_access` and `system.posix_acl_default`. */
  readonly xattrs: readonly Xattr[];
  /** chattr's flags, those that can be set again; 0 for what is neither a regular file nor a directory. */
  readonly inodeFlags: number;
  /** What could not be read (one sentence each); empty when everything is there. */
  readonly problems: readonly string[];
}
