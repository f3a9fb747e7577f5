// What a verification holds against what it reads, besides what the vault proves: the checksums that a server gave with its files.

import type { ByteString } from '@holdfast/shared/base/byte-string';

export interface ContentCheck {
  /** A regular file that was read whole. @param checksum CRC-32C */
  file(path: ByteString, sizeBytes: number, checksum: number): void;
  /** After all files: what is not as it should be. A file that is damaged in the vault may be among it. */
  end(): Promise<readonly { readonly path: ByteString; readonly message: string }[]>;
}

/** By the type of source that a snapshot is of; undefined: there is nothing to hold against it. */
export type ContentCheckOf = (sourceType: string) => Promise<ContentCheck | undefined>;
