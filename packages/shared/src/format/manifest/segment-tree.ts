// Content of one file: collects segments, keeps up to eight for the leaf, and builds a segment tree of more.

import { HoldfastError } from '../../base/errors.ts';
import type { BuilderPorts } from './builder.ts';
import type { Content, NodeReference, PlacedChunk, PlacedNode, Segment } from './entry.ts';
import type { ReadingMany } from './node-store.ts';

export class ContentBuilder<S extends NodeReference = NodeReference> {
  constructor(_ports: BuilderPorts<S>) {}

  /** Adds the next segment. Neighbouring zeros, and neighbouring holes, become one. Memory doesn't grow with the file. */
  add(_segment: Segment): void {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Bytes of all segments so far. */
  get length(): number {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }

  /** Seals what is open, returns the content for the entry, and starts anew. */
  finish(): Content {
    throw new HoldfastError('INTERNAL', 'not built yet');
  }
}

/** All segments of a content in order, inline or from its tree, checked to add up to `size`. Throws DAMAGED. */
export function readSegments(
  _content: Content<PlacedChunk, PlacedNode>,
  _size: number,
): ReadingMany<Segment<PlacedChunk>> {
  throw new HoldfastError('INTERNAL', 'not built yet');
}
