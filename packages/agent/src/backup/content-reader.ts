// Reading a file's content: small files whole into a bundle, larger ones cut into chunks, holes and zeros not at all.
//
// Hazard: a file changes while it is read, and the snapshot holds a state that never was, without saying so (threat 22). So a
// file is compared with itself after it was read, read again up to three times, and then named.
//
// Invariants (content-reader.test.ts):
//   R1 the segments add up to exactly the size that the entry states, whatever the file did meanwhile;
//   R2 a file that still changed in the third reading is kept and named `changed-while-read`;
//   R3 content that the same path had before is neither compressed nor sent again;
//   R4 a file whose reading fails leaves nothing behind in the next one.

import { BUNDLE_FILE_LIMIT_BYTES } from '@holdfast/shared/format/bundle';
import { CHUNK_MAX_BYTES } from '@holdfast/shared/format/chunker';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import type { Content, PlacedChunk, PlacedNode } from '@holdfast/shared/format/manifest/entry';
import type { SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { statSize } from '@holdfast/shared/format/manifest/stat-record';
import type { Extent } from '../os/extents.ts';
import type { OpenedFile } from '../scan/opened-file.ts';
import type { ChunkSlot, OpenFile } from './assembler.ts';
import { Bundler } from './bundler.ts';
import { ChunkCutter } from './chunk-cutter.ts';
import type { DeadBytes } from './dead-bytes.ts';
import { PreviousSegments } from './previous-segments.ts';
import type { SealingLane } from './sealing-lane.ts';
import type { Slabs } from './slabs.ts';

const READINGS = 3;
/** Bytes asked from the file system at once. */
const READ_BYTES = 4 * 1024 * 1024;
/** Below this a file is asked for holes only when nothing is allocated for it: it has one block. */
const SPARSE_FROM_BYTES = 4096;

/** What the same path held in the previous snapshot. */
export interface PreviousContent {
  readonly content: Content<PlacedChunk, PlacedNode>;
  readonly size: number;
}

export interface ContentReaderDeps {
  readonly keys: DomainKeys;
  readonly lane: SealingLane;
  readonly bundles: Slabs;
  readonly chunks: Slabs;
  readonly dead: DeadBytes;
  readonly nodes: SyncNodeStore;
}

export interface ContentRead {
  /** Bytes of the content as it was taken; the entry must state this size. */
  readonly size: number;
  /** It changed in every reading. */
  readonly fuzzy: boolean;
  /** The bytes are where the previous snapshot has them. */
  readonly kept: boolean;
}

export class ContentReader {
  readonly #deps: ContentReaderDeps;
  readonly #cutter: ChunkCutter;
  readonly #bundler: Bundler;
  #bytesRead = 0;

  constructor(deps: ContentReaderDeps) {
    this.#deps = deps;
    this.#cutter = new ChunkCutter(deps);
    this.#bundler = new Bundler(deps);
  }

  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** Reads `file` and gives its segments to `into`. Throws SYSTEM_CALL_FAILED when it can't be read. */
  read(file: OpenedFile, into: OpenFile, previous: PreviousContent | undefined): ContentRead {
    for (let reading = 1; ; reading++) {
      const size = statSize(file.stat);
      const oneBlock = size === 0 || (size < SPARSE_FROM_BYTES && file.allocatedBytes > 0);
      const extents = oneBlock ? undefined : file.extents();
      const dense = extents === undefined || (extents.length === 1 && extents[0]!.kind === 'data');
      const small = size < BUNDLE_FILE_LIMIT_BYTES && dense;
      const room = small ? this.#bundler.room(size) : undefined;
      const length =
        room === undefined ? this.#readLarge(file, extents!, into, previous) : this.#readSmall(file, room, size);
      const same = file.stillTheSame() && length === size;
      const again = !same && reading < READINGS && (small || into.restart());
      if (again) continue;
      const bytes = room?.subarray(0, length);
      const kept = bytes !== undefined && length > 0 && !this.#bundler.take(bytes, into, previous?.content);
      return { size: length, fuzzy: !same, kept };
    }
  }

  /** A chunk of its own for bytes that are no file's content (extended attributes too large for an entry). */
  sealBytes(bytes: Buffer): ChunkSlot {
    const { chunks, lane } = this.#deps;
    bytes.copy(chunks.room(bytes.length));
    chunks.filled(bytes.length);
    return lane.submit(chunks, chunks.lend(bytes.length));
  }

  /** Gives the open bundle to be sealed, whatever its length. */
  closeBundle(): void {
    this.#bundler.close();
  }

  get bundleOpen(): boolean {
    return this.#bundler.open;
  }

  #readSmall(file: OpenedFile, room: Buffer, size: number): number {
    const length = readFully(file, room, size, 0);
    this.#bytesRead += length;
    return length;
  }

  #readLarge(
    file: OpenedFile,
    extents: readonly Extent[],
    into: OpenFile,
    previous: PreviousContent | undefined,
  ): number {
    const before =
      previous === undefined ? undefined : new PreviousSegments(this.#deps.nodes, previous.content, previous.size);
    let end = 0;
    try {
      for (const extent of extents) {
        if (extent.kind !== 'data') {
          into.add({ kind: extent.kind, length: extent.length });
          end += extent.length;
          continue;
        }
        const length = this.#readExtent(file, extent, into, before);
        end += length;
        // The file was cut short meanwhile: what follows is not there any more.
        if (length < extent.length) break;
      }
    } finally {
      // A reading that fails half-way leaves bytes here, and the next file would begin with them.
      this.#deps.chunks.skipAll();
    }
    return end;
  }

  /** Bytes found, at most the extent's length. */
  #readExtent(file: OpenedFile, extent: Extent, into: OpenFile, before: PreviousSegments | undefined): number {
    const { chunks, lane } = this.#deps;
    let position = extent.offset;
    let end = extent.offset + extent.length;
    let cutAt = extent.offset;
    this.#cutter.reset();
    while (cutAt < end) {
      if (position < end && chunks.pending < CHUNK_MAX_BYTES) {
        const wanted = Math.min(READ_BYTES, end - position);
        const got = readFully(file, chunks.room(wanted), wanted, position);
        chunks.filled(got);
        position += got;
        this.#bytesRead += got;
        if (got < wanted) end = position;
        lane.throwIfCancelled();
      }
      if (chunks.pending === 0) break;
      const segment = this.#cutter.cut(position >= end, cutAt, before);
      if (segment === undefined) continue;
      into.add(segment);
      cutAt += segment.length;
    }
    return cutAt - extent.offset;
  }
}

function readFully(file: OpenedFile, buffer: Buffer, length: number, position: number): number {
  let got = 0;
  while (got < length) {
    const more = file.read(buffer, got, length - got, position + got);
    if (more === 0) break;
    got += more;
  }
  return got;
}
