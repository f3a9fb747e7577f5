// Cutting a large file into parts: pieces that a thread writes at once, with the chunks that they need.
//
// Hazard: a page file that changed a little every day lies scattered: each MiB of it needs a few pages of every backup's chunk.
// Taken in the order of the file, a chunk of 1 MiB would be fetched and opened for each few pages: fifty times the file's
// size, measured. So the pieces of a window are put together by chunk; a file may be written in any order.
//
// Invariants (large-file-parts.property.test.ts):
//   P1 every piece of the window is in exactly one part;
//   P2 no chunk is needed by two parts of a window;
//   P3 a part holds at most UNIT_BYTES of chunks unless one chunk alone is larger, and all are references of one node;
//   P4 pieces that need a chunk each, and come in order, stay in order.
//
// Pure.

import type { PlacedChunk } from '@holdfast/shared/format/manifest/entry';
import type { Piece } from './piece.ts';
import { keyOf } from './opened-chunks.ts';
import { UNIT_BYTES } from './unit-plan.ts';

/** Pieces that are put together: some 4 MiB of memory, and 140 MiB of a file as fragmented as they become. */
export const WINDOW_PIECES = 8_192;
/** A piece costs a message some 200 bytes. A chunk's own pieces stay together whatever their number. */
const PART_PIECES = 512;

export interface Part {
  readonly pieces: readonly Piece[];
  /** What the pieces need, by id, as references of one node: another piece of the same chunk may name it by another node. */
  readonly chunks: ReadonlyMap<string, PlacedChunk>;
}

/** `window`: neighbouring pieces of one file, in order. */
export function partsOf(window: readonly Piece[]): Part[] {
  const parts: Part[] = [];
  let pieces: Piece[] = [];
  let chunks = new Map<string, PlacedChunk>();
  let node: Buffer | undefined;
  let chunkBytes = 0;
  for (const group of groupsOf(window)) {
    const { chunk } = group;
    const more = chunk?.plainLength ?? 0;
    const otherNode = node !== undefined && chunk !== undefined && !node.equals(chunk.node);
    const full = pieces.length + group.pieces.length > PART_PIECES || chunkBytes + more > UNIT_BYTES;
    if (pieces.length > 0 && (otherNode || full)) {
      parts.push({ pieces, chunks });
      pieces = [];
      chunks = new Map();
      node = undefined;
      chunkBytes = 0;
    }
    for (const piece of group.pieces) pieces.push(piece);
    if (chunk === undefined) continue;
    chunks.set(keyOf(chunk.id), chunk);
    node ??= chunk.node;
    chunkBytes += more;
  }
  if (pieces.length > 0) parts.push({ pieces, chunks });
  return parts;
}

/** In order of first use; zeros and holes go with the data before them. */
function groupsOf(
  window: readonly Piece[],
): Iterable<{ readonly chunk: PlacedChunk | undefined; readonly pieces: readonly Piece[] }> {
  const groups = new Map<string, { readonly chunk: PlacedChunk | undefined; readonly pieces: Piece[] }>();
  let last = '';
  for (const piece of window) {
    const chunk = piece.segment.kind === 'data' ? piece.segment.chunk : undefined;
    if (chunk !== undefined) last = keyOf(chunk.id);
    const group = groups.get(last);
    if (group === undefined) groups.set(last, { chunk, pieces: [piece] });
    else group.pieces.push(piece);
  }
  return groups.values();
}
