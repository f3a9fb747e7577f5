// What a job has to say about single paths: the first ones in full, the rest as a count.
//
// Hazard: a tree of a million files on a full disk has a million warnings. Memory and the message to the controller stay
// bounded; nothing is dropped from the count.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { WARNINGS_KEPT, type JobWarning } from './job.ts';

export class Warnings<Code extends string = string> {
  readonly kept: JobWarning[] = [];
  #total = 0;
  readonly #byCode = new Map<Code, number>();

  add(code: Code, path: ByteString, message: string): void {
    this.#total++;
    this.#byCode.set(code, this.count(code) + 1);
    if (this.kept.length < WARNINGS_KEPT) this.kept.push({ code, path, message });
  }

  get total(): number {
    return this.#total;
  }

  count(code: Code): number {
    return this.#byCode.get(code) ?? 0;
  }
}
