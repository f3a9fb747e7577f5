// Bringing back one entry of a leaf: the file with its content and metadata, the link, the device; a directory without
// its metadata, which comes last.
//
// Hazard: a file that lacks a part must not be left looking whole. So a file is finished (named, and given its metadata)
// only after its last byte was written, and abandoned when anything fails before.
//
// Invariants (restore.test.ts):
//   W1 after an error nothing new stands at the entry's path;
//   W2 what was written is compared with the entry before it counts as restored.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { statMtimeNs, statMtimeSeconds, statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { ExistingContent, metadataOf, piecesOf, writePieces, type TagBytes } from './entry-content.ts';
import type { OpenedChunks } from './opened-chunks.ts';
import { LOOK_METADATA, LOOK_SAME } from './restore-task.ts';
import type { TaskResult } from './task-result.ts';
import type { EntryMetadata, RestoreTarget } from './target/restore-target.ts';
import type { TargetFile } from './target/target-file.ts';

export interface WriterDeps {
  readonly target: RestoreTarget;
  readonly chunks: OpenedChunks;
  readonly tagOf: TagBytes;
  /** Warnings that the target gave so far, for all paths. */
  readonly targetWarnings: () => number;
  /** Whether a directory may give way to something else. */
  readonly replaceDirectories: boolean;
}

/** Brings back entry `index`. `look`: what was found at its path, in a delta. Throws HoldfastError; then nothing of it is there. */
export function writeEntry(
  deps: WriterDeps,
  entry: PlacedEntry,
  index: number,
  look: number | undefined,
  result: TaskResult,
): void {
  const { target, chunks } = deps;
  const type = statType(entry.stat);
  if (type === 'directory') {
    target.createDirectory(entry.path);
    if (entry.xattrs.kind === 'chunk') result.directoryXattrs(index, metadataOf(entry, chunks).xattrs);
    result.entries++;
    return;
  }
  const warningsBefore = deps.targetWarnings();
  const metadata = metadataOf(entry, chunks);
  if (type === 'file') {
    const inode = writeFile(deps, entry, metadata, look, result);
    if (inode !== undefined) result.inode(index, inode);
  } else if (type === 'symlink') {
    target.createSymlink(entry.path, entry.linkTarget, metadata);
  } else if (look !== LOOK_SAME && target.createSpecial(entry.path, metadata) === 'skipped') {
    return;
  }
  if (deps.targetWarnings() === warningsBefore) compareWritten(target, entry, result);
  result.entries++;
}

function writeFile(
  deps: WriterDeps,
  entry: PlacedEntry,
  metadata: EntryMetadata,
  look: number | undefined,
  result: TaskResult,
): bigint | undefined {
  const { target, chunks, tagOf } = deps;
  const size = statSize(entry.stat);
  const existing = look === undefined ? undefined : target.openForUpdate(entry.path, size);
  result.files++;
  result.bytes += size;
  if (existing !== undefined && (look === LOOK_SAME || look === LOOK_METADATA)) {
    const inode = inodeOf(entry, existing);
    finishOrAbandon(existing, metadata);
    return inode;
  }
  try {
    const file = target.createFile(entry.path, size, entry.inodeFlags);
    try {
      const content = existing === undefined ? undefined : new ExistingContent(existing, tagOf);
      writePieces(file, piecesOf(entry), chunks, content);
    } catch (error) {
      file.abandon();
      throw error;
    }
    const inode = inodeOf(entry, file);
    finishOrAbandon(file, metadata);
    result.filesWritten++;
    return inode;
  } finally {
    existing?.abandon();
  }
}

/** Of a file that has other names; looking costs a system call. */
export function inodeOf(entry: PlacedEntry, file: TargetFile): bigint | undefined {
  return entry.hardLinkGroup > 0 ? file.inode : undefined;
}

export function finishOrAbandon(file: TargetFile, metadata: EntryMetadata): void {
  try {
    file.finish(metadata);
  } catch (error) {
    file.abandon();
    throw error;
  }
}

/** Looks at what stands at the path now; what is not as the snapshot says is a warning with the difference named. */
export function compareWritten(target: RestoreTarget, entry: PlacedEntry, result: TaskResult): void {
  const there = target.look(entry.path);
  const type = statType(entry.stat);
  if (there === undefined)
    throw new HoldfastError('FAILED_PRECONDITION', 'it was removed again by somebody else during the restore');
  const differs: string[] = [];
  if (statType(there) !== type) differs.push(`it is a ${statType(there)}, not a ${type}`);
  else if (type === 'file' || type === 'symlink') {
    if (statSize(there) !== statSize(entry.stat))
      differs.push(`it has ${statSize(there)} bytes, not ${statSize(entry.stat)}`);
  }
  if (statMtimeSeconds(there) !== statMtimeSeconds(entry.stat) || statMtimeNs(there) !== statMtimeNs(entry.stat)) {
    differs.push('its modification time is another');
  }
  if (differs.length > 0) result.warn('differs', entry.path, differs.join('; '));
}
