// A part of a file on its way into it.

import type { PlacedChunk, Segment } from '@holdfast/shared/format/manifest/entry';

/** A segment and where it belongs in its file. */
export interface Piece {
  readonly position: number;
  readonly segment: Segment<PlacedChunk>;
}
