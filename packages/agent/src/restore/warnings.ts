// What a restore has to say about single paths: the first ones in full, the rest as a count.
//
// Hazard: a tree of a million files on a full disk has a million warnings. Memory and the message to the controller stay
// bounded; nothing is dropped from the count.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { WARNINGS_KEPT, type JobWarning } from '../jobs/job.ts';

/** Codes a restore uses. */
export type WarningCode =
  /** Content or a part of the manifest could not be read; the file was not restored. */
  | 'damaged'
  /** The file, directory or link could not be written. */
  | 'not-restored'
  /** It is there, but an owner, mode, attribute or time could not be set. */
  | 'metadata'
  /** What was written does not look like what the snapshot says. */
  | 'differs'
  /** A path that was asked for is not in the snapshot. */
  | 'not-in-snapshot'
  /** Something in the target that the snapshot does not have could not be removed. */
  | 'not-removed';

export class Warnings {
  readonly kept: JobWarning[] = [];
  #total = 0;
  readonly #byCode = new Map<string, number>();

  add(code: WarningCode, path: ByteString, message: string): void {
    this.#total++;
    this.#byCode.set(code, this.count(code) + 1);
    if (this.kept.length < WARNINGS_KEPT) this.kept.push({ code, path, message });
  }

  /** What another collection has kept, and how many it counted in all. */
  merge(kept: readonly JobWarning[], total: number): void {
    for (const warning of kept) {
      this.#byCode.set(warning.code, (this.#byCode.get(warning.code) ?? 0) + 1);
      if (this.kept.length < WARNINGS_KEPT) this.kept.push(warning);
    }
    this.#total += total;
  }

  get total(): number {
    return this.#total;
  }

  /** At least so many: of a collection that was merged only those it had kept are told apart. */
  count(code: WarningCode): number {
    return this.#byCode.get(code) ?? 0;
  }
}
