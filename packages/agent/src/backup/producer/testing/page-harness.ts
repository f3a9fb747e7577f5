// Page streams without threads: hundreds of rounds in a second, and files too large to keep.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import {
  newEntry,
  type Content,
  type NodeReference,
  type PlacedChunk,
  type PlacedNode,
  type Segment,
} from '@holdfast/shared/format/manifest/entry';
import { STAT_BYTES } from '@holdfast/shared/format/manifest/stat-record';
import { streamSync } from '@holdfast/shared/format/manifest/node-store';
import { ContentBuilder, readSegments } from '@holdfast/shared/format/manifest/segment-tree';
import { tagOf } from '@holdfast/shared/format/tag';
import { sha256, TEST_NODE_KEY } from '@holdfast/shared/testing/manifest-trees';
import { Assembler, type ChunkSlot } from '../../assembler.ts';
import { NodeCache } from '../../node-cache.ts';
import { type Piece, Slabs } from '../../slabs.ts';
import { PageChunks } from '../pages/page-chunks.ts';
import { PageStream, WINDOW_BYTES } from '../pages/page-stream.ts';
import { PageTagStore, PreviousPages } from '../pages/previous-pages.ts';
import { ProducerProgress } from '../progress.ts';

const SLAB_BYTES = 4 * 1024 * 1024;
const place = { node: Buffer.alloc(32), index: 0 };

export class PageHarness {
  readonly keys = deriveDomainKeys(Buffer.alloc(32, 3), 'domain', 0);
  readonly chunks = new Map<string, Buffer>();
  /** Bytes of chunks so far. */
  written = 0;
  readonly #directory = mkdtempSync(join(tmpdir(), 'holdfast-pages-'));
  readonly #nodes = new NodeCache(join(this.#directory, 'nodes'));
  readonly #keepChunks: boolean;
  readonly #pageBytes: number;
  #content: Content<PlacedChunk, PlacedNode> | undefined;
  #size = 0;

  /** Without `keepChunks` content can't be read back. */
  constructor(pageBytes: number, keepChunks = true) {
    this.#pageBytes = pageBytes;
    this.#keepChunks = keepChunks;
  }

  /** The next version of the file, by what `feed` writes. */
  write(feed: (stream: PageStream) => void): void {
    const memory = [new SharedArrayBuffer(SLAB_BYTES), new SharedArrayBuffer(SLAB_BYTES)];
    const slabs = new Slabs(memory, 0, (ready) => void ready());
    const ports = {
      node: TEST_NODE_KEY,
      sealNode: (references: Buffer, payload: Buffer): NodeReference => {
        const id = sha256(references, payload);
        return { id, proof: id.subarray(0, 16) };
      },
      onNode: (node: { sealed: NodeReference; references: Buffer; payload: Buffer }) =>
        this.#nodes.append(node.sealed.id, node),
    };
    let content: Content = { kind: 'segments', segments: [] };
    const sink = { add: (entry: { content: Content }) => void ({ content } = entry), keep: () => undefined };
    const assembler = new Assembler(sink, new ContentBuilder(ports));
    const lane = {
      submit: (_from: Slabs, piece: Piece, slot: ChunkSlot) => {
        this.#take(Buffer.from(memory[piece.slab]!, piece.offset, piece.length), slot);
        slabs.release(piece.slab);
        return slot;
      },
    };
    const { keys } = this;
    const chunks = new PageChunks({ keys, lane, chunks: slabs, ports, onTagged: () => assembler.drain() });
    const store = new PageTagStore(this.#nodes);
    const previous = this.#content;
    const file = assembler.openFile();
    chunks.begin(this.#pageBytes);
    const stream = new PageStream('file', file, {
      keys,
      pageBytes: this.#pageBytes,
      chunks,
      before:
        previous === undefined
          ? undefined
          : new PreviousPages(this.#nodes, store, { content: previous, size: this.#size }, this.#pageBytes),
      window: Buffer.allocUnsafe(WINDOW_BYTES),
      progress: new ProducerProgress(
        () => undefined,
        () => undefined,
      ),
      throwIfCancelled: () => undefined,
      onEnd: (_metadata, size) => (this.#size = size),
    });
    feed(stream);
    stream.end({ mode: 0, uid: 0, gid: 0, user: '', group: '', mtimeMs: 0 });
    chunks.close();
    file.complete(newEntry('file', Buffer.alloc(STAT_BYTES)), false);
    assembler.drain();
    this.#content = placed(content);
  }

  *segments(): Generator<Segment<PlacedChunk>> {
    yield* streamSync(this.#nodes, readSegments(this.#content!, this.#size));
  }

  /** The file, from its segments; every segment's tag is compared. */
  read(): Buffer {
    const parts: Buffer[] = [];
    for (const segment of this.segments()) {
      if (segment.kind !== 'data') {
        parts.push(Buffer.alloc(segment.length));
        continue;
      }
      const { chunk, offset, length, tag } = segment;
      const bytes = this.chunks.get(chunk.id.toString('hex'))!.subarray(offset, offset + length);
      if (!tagOf(this.keys, bytes).equals(tag)) throw new Error('an extent with another tag');
      parts.push(bytes);
    }
    return Buffer.concat(parts);
  }

  close(): void {
    this.#nodes.close();
    rmSync(this.#directory, { recursive: true });
  }

  #take(bytes: Buffer, slot: ChunkSlot): void {
    const id = sha256(bytes);
    if (this.#keepChunks) this.chunks.set(id.toString('hex'), Buffer.from(bytes));
    this.written += bytes.length;
    slot.reference = { id, proof: id.subarray(0, 16), plainLength: bytes.length };
  }
}

/** As a leaf gives it back. */
function placed(content: Content): Content<PlacedChunk, PlacedNode> {
  if (content.kind === 'tree') return { ...content, root: { ...content.root, ...place } };
  return {
    kind: 'segments',
    segments: content.segments.map((segment) => {
      if (segment.kind !== 'data') return segment;
      const { pageTags, ...chunk } = segment.chunk;
      const tags = pageTags === undefined ? {} : { pageTags: { ...pageTags, node: { ...pageTags.node, ...place } } };
      return { ...segment, chunk: { ...chunk, ...place, ...tags } };
    }),
  };
}
