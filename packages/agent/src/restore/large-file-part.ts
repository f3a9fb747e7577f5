// One part of a large file in a restore thread, by the descriptors that another thread lends.
//
// Invariants (restore.test.ts): what is not supplied is taken from the existing file alone, and only where its tag is still the same.

import type { OpenedChunks } from './opened-chunks.ts';
import { ExistingContent, writePieces, type TagBytes } from './entry-content.ts';
import { unpackPieces } from './packed-pieces.ts';
import type { RestoreTask } from './restore-task.ts';
import { FileContent } from './target/file-content.ts';
import { HoldfastError } from '@holdfast/shared/base/errors';

type Task<K extends RestoreTask['kind']> = Extract<RestoreTask, { kind: K }>;

/** 1 for each piece that the existing file has. */
export function comparePart({ existing, path, pieces }: Task<'file-compare'>, tagOf: TagBytes): Uint32Array {
  const content = new ExistingContent(new FileContent(existing, path), tagOf);
  return Uint32Array.from(unpackPieces(pieces), (piece) => (content.holds(piece) ? 1 : 0));
}

/** Throws DAMAGED, FAILED_PRECONDITION, STORAGE_FULL, SYSTEM_CALL_FAILED. */
export function writePart(
  { into, existing, path, pieces }: Task<'file-part'>,
  chunks: OpenedChunks,
  tagOf: TagBytes,
): void {
  if (into === undefined) throw new HoldfastError('INTERNAL', 'a part of a file that was not opened');
  const content = existing === undefined ? undefined : new ExistingContent(new FileContent(existing, path), tagOf);
  writePieces(new FileContent(into, path), unpackPieces(pieces), chunks, content);
}
