// What a job has to say about single paths: the first ones in full, the rest as a count.
//
// Hazard: a tree of a million files on a full disk has a million warnings. Memory and the message to the controller stay
// bounded; nothing is dropped from the count.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { WARNINGS_KEPT, type JobWarning } from './job.ts';

export class Warnings<Code extends string = string> {
  readonly kept: JobWarning[] = [];
  #total = 0;
  readonly #byCode = new Map<string, number>();

  add(code: Code, path: ByteString, message: string): void {
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
  count(code: Code): number {
    return this.#byCode.get(code) ?? 0;
  }
}
