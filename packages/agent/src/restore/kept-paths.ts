// What a restore leaves alone although the snapshot has it, or has it not. Pure.
//
// Invariants (kept-paths.test.ts): KP1 what is kept, and what is beneath, is covered; KP2 no deletion takes a name that leads to what is kept.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { isWithin, nameOf, parentOf } from './selection.ts';

export class KeptPaths {
  readonly #paths: readonly ByteString[];

  /** @param paths of the manifest */
  constructor(paths: readonly ByteString[]) {
    this.#paths = paths;
  }

  covers(path: ByteString): boolean {
    return this.#paths.some((kept) => isWithin(path, kept));
  }

  /** `names`, and those in `directory` that are kept or lead to what is. */
  namesIn(directory: ByteString, names: ReadonlySet<ByteString>): ReadonlySet<ByteString> {
    const more = this.#paths.flatMap((kept) => {
      let at = kept;
      while (at !== '' && parentOf(at) !== directory) at = parentOf(at);
      return at === '' ? [] : [nameOf(at)];
    });
    return more.length === 0 ? names : new Set([...names, ...more]);
  }
}
