// Which paths a source leaves out: rules in gitignore syntax.
//
// Not built yet: the signatures.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

/** `within`: left out itself, but something beneath it may be brought back by an include. */
export type Decision = 'keep' | 'leave-out' | 'within';

export class ExcludeRules {
  /** Patterns as text (UTF-8), relative to the root. An include brings back what it matches and everything beneath that. */
  constructor(_excludes: readonly string[], _includes: readonly string[] = []) {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  decide(_path: ByteString, _isDirectory: boolean): Decision {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }
}
