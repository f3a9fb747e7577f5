// Names that files have in a target until they are complete.

import { randomBytes } from 'node:crypto';
import type { ByteString } from '@holdfast/shared/base/byte-string';

const PREFIX = '.holdfast-';

/** 96 random bits: nobody can plant something under the name beforehand, and two threads never meet. */
export function temporaryName(): ByteString {
  return PREFIX + randomBytes(12).toString('hex');
}

/** What an interrupted restore may have left behind. */
export function isTemporaryName(name: ByteString): boolean {
  return name.length === PREFIX.length + 24 && name.startsWith(PREFIX);
}
