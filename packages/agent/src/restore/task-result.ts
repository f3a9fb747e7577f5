// What one task of a restore thread has to say, gathered while it runs.

import { displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import type { HoldfastError } from '@holdfast/shared/base/errors';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';
import { warningCodeOf } from './error-reach.ts';
import type { RestoreAnswer } from './restore-task.ts';
import { Warnings } from '../jobs/warnings.ts';
import type { LentFile } from './target/file-content.ts';
import type { WarningCode } from './warnings.ts';

const REMOVED_KEPT = 100;

export class TaskResult {
  entries = 0;
  files = 0;
  filesWritten = 0;
  bytes = 0;
  looks: Uint8Array | undefined;
  marks: Uint32Array | undefined;
  lent: LentFile | undefined;
  readonly #failed: number[] = [];
  readonly #inodes: (readonly [number, bigint])[] = [];
  readonly #xattrs: (readonly [number, readonly Xattr[]])[] = [];
  readonly #checksums: (readonly [number, number])[] = [];
  readonly #removed: ByteString[] = [];
  #removedTotal = 0;
  readonly #warnings = new Warnings<WarningCode>();

  warn(code: WarningCode, path: ByteString, message: string): void {
    this.#warnings.add(code, path, message);
  }

  get warningsTotal(): number {
    return this.#warnings.total;
  }

  /** An entry that could not be restored; the others go on. */
  fail(index: number, path: ByteString, error: HoldfastError): void {
    this.#failed.push(index);
    this.warn(warningCodeOf(error), path, error.message);
  }

  inode(index: number, inode: bigint): void {
    this.#inodes.push([index, inode]);
  }

  checksum(index: number, register: number): void {
    this.#checksums.push([index, register]);
  }

  directoryXattrs(index: number, list: readonly Xattr[]): void {
    this.#xattrs.push([index, list]);
  }

  removed(path: ByteString): void {
    this.#removedTotal++;
    if (this.#removed.length < REMOVED_KEPT) this.#removed.push(path);
  }

  answer(): RestoreAnswer {
    return {
      entries: this.entries,
      files: this.files,
      filesWritten: this.filesWritten,
      bytes: this.bytes,
      failed: this.#failed,
      inodes: this.#inodes,
      xattrs: this.#xattrs,
      looks: this.looks,
      marks: this.marks,
      lent: this.lent,
      checksums: this.#checksums,
      removed: this.#removed,
      removedTotal: this.#removedTotal,
      warnings: this.#warnings.kept,
      warningsTotal: this.#warnings.total,
    };
  }
}

export function inSentence(path: ByteString): string {
  return path === '' ? 'the root of the snapshot' : displayPath(path);
}
