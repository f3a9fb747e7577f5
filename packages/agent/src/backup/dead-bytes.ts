// How much of each old bundle is no longer needed by the newest snapshot, so that a bundle of which less than half is still in
// use has its remaining files packed anew.
//
// Hazard: a file that never changes keeps its bundle alive; after years of small changes a restore would read a hundred
// bundles for the content of one.
//
// Only bundles with something dead are listed, so the table is as large as what changed, not as the source. It is a hint: a
// wrong count costs some repacking, never content.

import type { ChunkReference, Content, PlacedChunk, PlacedNode } from '@holdfast/shared/format/manifest/entry';

export interface DeadBytesRow {
  /** Hex. */
  readonly chunk: string;
  readonly plainLength: number;
  readonly dead: number;
}

export class DeadBytes {
  readonly #rows = new Map<string, { plainLength: number; dead: number }>();
  /** Bundles whose files are packed anew by this backup. */
  readonly #repacked = new Set<string>();

  constructor(rows: readonly DeadBytesRow[] = []) {
    for (const { chunk, plainLength, dead } of rows) {
      this.#rows.set(chunk, { plainLength, dead });
      if (dead * 2 > plainLength) this.#repacked.add(chunk);
    }
  }

  get repacksAny(): boolean {
    return this.#repacked.size > 0;
  }

  repacks(chunk: ChunkReference): boolean {
    return this.#repacked.size > 0 && this.#repacked.has(keyOf(chunk));
  }

  /** A file's old content is not in the new snapshot. */
  drop(content: Content<PlacedChunk, PlacedNode>): void {
    if (content.kind !== 'segments') return;
    for (const segment of content.segments) {
      if (segment.kind !== 'data' || segment.length === segment.chunk.plainLength) continue;
      const key = keyOf(segment.chunk);
      const row = this.#rows.get(key) ?? { plainLength: segment.chunk.plainLength, dead: 0 };
      row.dead += segment.length;
      this.#rows.set(key, row);
    }
  }

  /** What the next backup begins with: bundles in use of which something is dead; at most a bounded number, the worst first. */
  rows(): DeadBytesRow[] {
    return [...this.#rows]
      .filter(([, { plainLength, dead }]) => dead < plainLength)
      .map(([chunk, row]) => ({ chunk, ...row }))
      .toSorted((a, b) => b.dead / b.plainLength - a.dead / a.plainLength)
      .slice(0, ROWS_KEPT);
  }
}

const ROWS_KEPT = 100_000;

function keyOf(chunk: ChunkReference): string {
  return chunk.id.toString('hex');
}
