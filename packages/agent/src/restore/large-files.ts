// Files that are too large for one unit of work: opened once, written part by part in any order, finished at the end.
//
// Hazard: parts come as the vault serves them. A file is finished only when the main thread says that every part was
// written; an error in any part, or the end of the job, abandons it.
//
// Invariants (restore.test.ts): L1 nothing stands at the path before `end('new')`; L2 `closeAll` leaves no temporary file.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { checkPieces, ExistingContent, metadataOf, pieceOf, writePieces } from './entry-content.ts';
import { compareWritten, finishOrAbandon, inodeOf, type WriterDeps } from './entry-writer.ts';
import { metadataLooksSame } from './existing-look.ts';
import { LOOK_ABSENT, LOOK_CONTENT, LOOK_METADATA, LOOK_SAME, LOOK_TYPE, type PostedPiece } from './restore-task.ts';
import type { TaskResult } from './task-result.ts';
import type { RestoreTarget } from './target/restore-target.ts';
import type { TargetFile } from './target/target-file.ts';

interface LargeFile {
  readonly entry: PlacedEntry;
  readonly index: number;
  existing: TargetFile | undefined;
  created: TargetFile | undefined;
}

export class LargeFiles {
  readonly #open = new Map<number, LargeFile>();

  /**
   * Opens what is there for `compare`. The look tells as much as can be told without reading: LOOK_SAME and LOOK_METADATA
   * hold only if every piece compares equal.
   */
  examine(target: RestoreTarget | undefined, file: number, entry: PlacedEntry, index: number): number {
    const there = target?.look(entry.path);
    if (target === undefined || there === undefined) return LOOK_ABSENT;
    if (statType(there) !== 'file') return LOOK_TYPE;
    const existing = target.openForUpdate(entry.path, statSize(entry.stat));
    if (existing === undefined) return LOOK_CONTENT;
    this.#open.set(file, { entry, index, existing, created: undefined });
    if (statSize(there) !== statSize(entry.stat)) return LOOK_CONTENT;
    return metadataLooksSame(entry.stat, there) ? LOOK_SAME : LOOK_METADATA;
  }

  /** 1 for each piece that the existing file has. */
  compare(file: number, pieces: readonly PostedPiece[], deps: Pick<WriterDeps, 'tagOf'>): Uint32Array {
    const existing = this.#open.get(file)?.existing;
    if (existing === undefined) return new Uint32Array(pieces.length);
    const content = new ExistingContent(existing, deps.tagOf);
    return Uint32Array.from(pieces, (piece) => (content.holds(pieceOf(piece)) ? 1 : 0));
  }

  create(target: RestoreTarget, file: number, entry: PlacedEntry, index: number): void {
    const created = target.createFile(entry.path, statSize(entry.stat), entry.inodeFlags);
    const known = this.#open.get(file);
    if (known === undefined) this.#open.set(file, { entry, index, existing: undefined, created });
    else known.created = created;
  }

  write(file: number, pieces: readonly PostedPiece[], deps: WriterDeps): void {
    const large = this.#known(file);
    if (large.created === undefined) throw new HoldfastError('INTERNAL', 'a part of a file that was not created');
    const content = large.existing === undefined ? undefined : new ExistingContent(large.existing, deps.tagOf);
    writePieces(large.created, pieces.map(pieceOf), deps.chunks, content);
  }

  check(pieces: readonly PostedPiece[], deps: Pick<WriterDeps, 'chunks' | 'tagOf'>): void {
    checkPieces(pieces.map(pieceOf), deps.chunks, deps.tagOf);
  }

  end(file: number, keep: 'new' | 'existing' | 'none', deps: WriterDeps, result: TaskResult): void {
    const large = this.#open.get(file);
    this.#open.delete(file);
    if (large === undefined) return;
    const kept = keep === 'new' ? large.created : keep === 'existing' ? large.existing : undefined;
    try {
      if (kept === undefined) return;
      const warningsBefore = deps.targetWarnings();
      const inode = inodeOf(large.entry, kept);
      finishOrAbandon(kept, metadataOf(large.entry, deps.chunks));
      if (inode !== undefined) result.inode(large.index, inode);
      if (deps.targetWarnings() === warningsBefore) compareWritten(deps.target, large.entry, result);
      result.entries++;
      result.files++;
      if (keep === 'new') result.filesWritten++;
    } finally {
      if (kept !== large.created) large.created?.abandon();
      if (kept !== large.existing) large.existing?.abandon();
    }
  }

  closeAll(): void {
    for (const large of this.#open.values()) {
      large.created?.abandon();
      large.existing?.abandon();
    }
    this.#open.clear();
  }

  #known(file: number): LargeFile {
    const large = this.#open.get(file);
    if (large === undefined) throw new HoldfastError('INTERNAL', 'a part of a file that is not open');
    return large;
  }
}
