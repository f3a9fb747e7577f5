// Looking at what stands at an entry's path already: for a delta, and for a dry run.
//
// Hazard: an existing file may share its inode with a name outside the target (threat 37), or have the right size and
// mtime and other bytes. So content is judged by its tags alone, read from the file itself, and a file with several names
// is never taken for its own.

import {
  STAT_BYTES,
  statGid,
  statMode,
  statMtimeNs,
  statMtimeSeconds,
  statSize,
  statType,
  statUid,
} from '@holdfast/shared/format/manifest/stat-record';
import type { PlacedChunk, PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { ExistingContent, piecesOf, type TagBytes } from './entry-content.ts';
import type { Piece } from './piece.ts';
import { LOOK_ABSENT, LOOK_CONTENT, LOOK_METADATA, LOOK_SAME, LOOK_TYPE } from './restore-task.ts';
import type { RestoreTarget } from './target/restore-target.ts';

export interface Look {
  readonly look: number;
  /** Chunks without which the entry cannot be brought back. */
  readonly needs: readonly PlacedChunk[];
}

/** What is at the path of an entry whose content, if any, stands in its leaf. */
export function lookAt(target: RestoreTarget | undefined, entry: PlacedEntry, tagOf: TagBytes): Look {
  const there = target?.look(entry.path);
  const xattrChunk = entry.xattrs.kind === 'chunk' ? [entry.xattrs.segment.chunk] : [];
  const type = statType(entry.stat);
  const pieces = type === 'file' ? piecesOf(entry) : [];
  if (target === undefined || there === undefined)
    return { look: LOOK_ABSENT, needs: [...chunksOf(pieces), ...xattrChunk] };
  if (statType(there) !== type) return { look: LOOK_TYPE, needs: [...chunksOf(pieces), ...xattrChunk] };
  const sameMetadata = metadataLooksSame(entry.stat, there);
  if (type === 'file') {
    const missing = missingPieces(target, entry, pieces, tagOf);
    const sameSize = statSize(there) === statSize(entry.stat);
    const look = missing.length > 0 || !sameSize ? LOOK_CONTENT : sameMetadata ? LOOK_SAME : LOOK_METADATA;
    return { look, needs: [...chunksOf(missing), ...xattrChunk] };
  }
  if (type === 'symlink' && statSize(there) !== statSize(entry.stat)) return { look: LOOK_CONTENT, needs: xattrChunk };
  return { look: sameMetadata ? LOOK_SAME : LOOK_METADATA, needs: xattrChunk };
}

function missingPieces(
  target: RestoreTarget,
  entry: PlacedEntry,
  pieces: readonly Piece[],
  tagOf: TagBytes,
): readonly Piece[] {
  const file = target.openForUpdate(entry.path, statSize(entry.stat));
  if (file === undefined) return pieces;
  const existing = new ExistingContent(file, tagOf);
  try {
    return pieces.filter((piece) => !existing.holds(piece));
  } finally {
    file.abandon();
  }
}

/** Type, permissions, owner and mtime; of devices the numbers too. A directory's mtime is set at the end anyway. */
export function metadataLooksSame(wanted: Buffer, there: Buffer): boolean {
  return (
    statMode(wanted) === statMode(there) &&
    statUid(wanted) === statUid(there) &&
    statGid(wanted) === statGid(there) &&
    statMtimeSeconds(wanted) === statMtimeSeconds(there) &&
    statMtimeNs(wanted) === statMtimeNs(there) &&
    wanted.compare(there, RDEV_AT, STAT_BYTES, RDEV_AT, STAT_BYTES) === 0
  );
}

const RDEV_AT = 56;

function chunksOf(pieces: readonly Piece[]): PlacedChunk[] {
  return pieces.flatMap(({ segment }) => (segment.kind === 'data' ? [segment.chunk] : []));
}
