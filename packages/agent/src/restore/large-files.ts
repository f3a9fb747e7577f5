// Files that are too large for one unit of work: opened once, written part by part in any order and by any thread (large-file-part.ts),
// finished at the end.
//
// Hazard: parts come as the vault serves them. A file is finished only when the main thread says that every part was
// written; an error in any part, or the end of the job, abandons it.
//
// Invariants (restore.test.ts): L1 nothing new stands at the path before `end('written')`; L2 `closeAll` leaves no temporary file.

import type { PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { metadataOf } from './entry-content.ts';
import { compareWritten, finishOrAbandon, inodeOf, type WriterDeps } from './entry-writer.ts';
import { metadataLooksSame } from './existing-look.ts';
import { LOOK_ABSENT, LOOK_CONTENT, LOOK_METADATA, LOOK_SAME, LOOK_TYPE } from './restore-task.ts';
import type { TaskResult } from './task-result.ts';
import type { RestoreTarget } from './target/restore-target.ts';
import type { TargetFile } from './target/target-file.ts';

interface LargeFile {
  readonly entry: PlacedEntry;
  readonly index: number;
  readonly existing: TargetFile | undefined;
  /** What the parts are written to: a new file, or `existing`. */
  written: TargetFile | undefined;
}

export class LargeFiles {
  readonly #open = new Map<number, LargeFile>();

  /**
   * Opens what is there, and lends it. The look tells as much as can be told without reading: LOOK_SAME and LOOK_METADATA hold
   * only if every piece compares equal.
   */
  examine(
    target: RestoreTarget | undefined,
    file: number,
    entry: PlacedEntry,
    index: number,
    result: TaskResult,
  ): void {
    result.looks = Uint8Array.of(this.#look(target, file, entry, index));
    result.lent = this.#open.get(file)?.existing?.lent;
  }

  /** Lends what the parts are written to: a new file; or, in place, the one that is there, where it can be written to. */
  open(
    target: RestoreTarget,
    file: number,
    entry: PlacedEntry,
    { index, inPlace }: { readonly index: number; readonly inPlace: boolean },
    result: TaskResult,
  ): void {
    const existing = this.#open.get(file)?.existing;
    let written: TargetFile;
    if (inPlace && existing?.writable === true) {
      existing.beginWriting();
      written = existing;
    } else {
      written = target.createFile(entry.path, statSize(entry.stat), entry.inodeFlags);
    }
    this.#open.set(file, { entry, index, existing, written });
    result.lent = written.lent;
  }

  end(file: number, keep: 'written' | 'existing' | 'none', deps: WriterDeps, result: TaskResult): void {
    const large = this.#open.get(file);
    this.#open.delete(file);
    if (large === undefined) return;
    const kept = keep === 'none' ? undefined : large[keep];
    try {
      if (kept === undefined) return;
      const warningsBefore = deps.targetWarnings();
      const inode = inodeOf(large.entry, kept);
      finishOrAbandon(kept, metadataOf(large.entry, deps.chunks));
      if (inode !== undefined) result.inode(large.index, inode);
      if (deps.targetWarnings() === warningsBefore) compareWritten(deps.target, large.entry, result);
      result.entries++;
      result.files++;
      if (keep === 'written') result.filesWritten++;
    } finally {
      abandon(large, kept);
    }
  }

  closeAll(): void {
    for (const large of this.#open.values()) abandon(large, undefined);
    this.#open.clear();
  }

  #look(target: RestoreTarget | undefined, file: number, entry: PlacedEntry, index: number): number {
    const there = target?.look(entry.path);
    if (target === undefined || there === undefined) return LOOK_ABSENT;
    if (statType(there) !== 'file') return LOOK_TYPE;
    const existing = target.openForUpdate(entry.path, statSize(entry.stat));
    if (existing === undefined) return LOOK_CONTENT;
    this.#open.set(file, { entry, index, existing, written: undefined });
    if (statSize(there) !== statSize(entry.stat)) return LOOK_CONTENT;
    return metadataLooksSame(entry.stat, there) ? LOOK_SAME : LOOK_METADATA;
  }
}

function abandon({ existing, written }: LargeFile, kept: TargetFile | undefined): void {
  if (written !== kept) written?.abandon();
  if (existing !== kept && existing !== written) existing?.abandon();
}
