// The main thread's part of one large file: its segments in order, cut into parts, fetched and handed to one thread.
//
// Hazard: a file of terabytes has millions of segments, in a tree of nodes that may be damaged anywhere. Segments are
// read as they are needed, and the first part that fails ends the file: it is abandoned and named, and the rest goes on.
//
// Invariants (restore.test.ts): F1 'new' is sent only after every part was written; F2 a delta fetches only the pieces
// that the existing file does not have.

import type { TransferListItem } from 'node:worker_threads';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { PlacedChunk, PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { crc32cAfterZeros, crc32cOf } from '@holdfast/shared/format/crc32c';
import { streamAsync } from '@holdfast/shared/format/manifest/node-store';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree';
import { statSize } from '@holdfast/shared/format/manifest/stat-record';
import { postedPiece, type Piece } from './entry-content.ts';
import { endsWhole, warningCodeOf } from './error-reach.ts';
import { type Part, partsOf, WINDOW_PIECES } from './large-file-parts.ts';
import { keyOf } from './opened-chunks.ts';
import {
  EMPTY_ANSWER,
  LOOK_ABSENT,
  LOOK_CONTENT,
  LOOK_METADATA,
  LOOK_SAME,
  type RestoreAnswer,
  type RestoreTask,
} from './restore-task.ts';
import { UNIT_COST_BYTES, type LeafContext, type RunDeps } from './run-context.ts';
import { UNIT_BYTES } from './unit-plan.ts';
import { WorkInFlight } from './work-in-flight.ts';

interface LargeFile {
  readonly id: number;
  readonly thread: number;
  readonly leaf: LeafContext;
  readonly index: number;
  readonly entry: PlacedEntry;
  /** Parts on their way; its first error is the file's. */
  readonly parts: WorkInFlight;
  /** verify: of the parts so far, each moved on by what follows it. */
  checksum: number;
}

/** What is to become of the path. `same`: for each part, 1 for each piece that is there already. */
interface Plan {
  readonly keep: 'new' | 'existing' | 'none';
  readonly same: readonly Uint32Array[];
}

export class LargeFileRun {
  readonly #deps: RunDeps;
  readonly #answered: (leaf: LeafContext, answer: RestoreAnswer) => void;
  #nextId = 1;

  constructor(deps: RunDeps, answered: (leaf: LeafContext, answer: RestoreAnswer) => void) {
    this.#deps = deps;
    this.#answered = answered;
  }

  /** Resolves once all of the file's parts were begun; its end is among the work in flight. */
  async begin(leaf: LeafContext, index: number, entry: PlacedEntry): Promise<void> {
    const file: LargeFile = {
      id: this.#nextId++,
      thread: this.#deps.pool.leastBusy(),
      leaf,
      index,
      entry,
      parts: new WorkInFlight(() => undefined),
      checksum: 0,
    };
    let keep: Plan['keep'] = 'none';
    try {
      const plan = await this.#plan(file);
      keep = plan.keep;
      if (keep === 'new') await this.#write(file, plan);
    } catch (thrown) {
      file.parts.fail(toHoldfastError(thrown));
    }
    this.#deps.work.begin(this.#end(file, keep));
  }

  async #plan(file: LargeFile): Promise<Plan> {
    const { mode, tally } = this.#deps;
    if (mode === 'write' || mode === 'verify') return { keep: 'new', same: [] };
    const { leaf, index, entry } = file;
    const examined = await this.#run(file, { kind: 'file-examine', file: file.id, leaf: leaf.posted, index });
    let look = examined.looks?.[0] ?? LOOK_ABSENT;
    const same: Uint32Array[] = [];
    for await (const part of this.#parts(file)) {
      const pieces = part.pieces.map(postedPiece);
      const compared = await this.#run(file, { kind: 'file-compare', file: file.id, pieces });
      const marks = compared.marks ?? new Uint32Array(pieces.length);
      same.push(marks);
      if (marks.includes(0) && (look === LOOK_SAME || look === LOOK_METADATA)) look = LOOK_CONTENT;
      for (const chunk of chunksOf(part, marks)) tally.planned.bytesFetched += chunk.plainLength;
    }
    tally.plan(entry.path, entry.stat, look);
    if (mode === 'dry-run') return { keep: 'none', same };
    return { keep: look === LOOK_SAME || look === LOOK_METADATA ? 'existing' : 'new', same };
  }

  async #write(file: LargeFile, plan: Plan): Promise<void> {
    const { mode, window } = this.#deps;
    const { leaf, index } = file;
    if (mode !== 'verify') await this.#run(file, { kind: 'file-create', file: file.id, leaf: leaf.posted, index });
    let at = 0;
    for await (const part of this.#parts(file)) {
      const chunks = chunksOf(part, plan.same[at++]);
      const cost = chunks.reduce((sum, chunk) => sum + chunk.plainLength, 0) + UNIT_COST_BYTES;
      await window.take(cost);
      file.parts.begin(this.#part(file, part, chunks).finally(() => window.release(cost)));
      file.parts.check();
    }
  }

  async #part(file: LargeFile, part: Part, wanted: readonly PlacedChunk[]): Promise<void> {
    const { chunks, nodes, tally, onAnswer } = this.#deps;
    const node = wanted[0]?.node;
    const fetched =
      node === undefined
        ? { chunks: [], transfer: [] }
        : await chunks.fetch(
            nodes.handleOf(node),
            wanted.map((chunk) => ({ chunk, shared: usedOf(chunk, part) < chunk.plainLength })),
          );
    const { checksums } = await this.#run(
      file,
      {
        kind: 'file-part',
        file: file.id,
        path: file.entry.path,
        pieces: part.pieces.map(postedPiece),
        chunks: fetched.chunks,
      },
      fetched.transfer,
    );
    tally.bytes += part.pieces.reduce((sum, piece) => sum + piece.segment.length, 0);
    for (const [, register] of checksums) file.checksum ^= crc32cAfterZeros(register, bytesBehind(file, part));
    tally.currentPath = file.entry.path;
    onAnswer();
  }

  /** Waits for the parts; then the file is finished, or given up and named. */
  async #end(file: LargeFile, planned: Plan['keep']): Promise<void> {
    const { mode, tally } = this.#deps;
    let keep = planned;
    try {
      await file.parts.drain();
      if (mode === 'verify' || mode === 'dry-run') {
        tally.files++;
        tally.entries++;
        const size = statSize(file.entry.stat);
        this.#deps.content?.file(file.entry.path, size, crc32cOf(file.checksum, size));
      }
      const xattrs = file.entry.xattrs.kind === 'chunk' && keep !== 'none' ? [file.entry.xattrs.segment.chunk] : [];
      const fetched = await this.#deps.chunks.fetch(
        file.leaf.handle,
        xattrs.map((chunk) => ({ chunk, shared: true })),
      );
      const task: RestoreTask = { kind: 'file-end', file: file.id, keep, chunks: fetched.chunks };
      this.#answered(file.leaf, await this.#run(file, task));
    } catch (thrown) {
      keep = 'none';
      await file.parts.settle();
      const error = toHoldfastError(thrown);
      if (endsWhole(error)) throw error;
      await this.#run(file, { kind: 'file-end', file: file.id, keep, chunks: [] });
      this.#answered(file.leaf, { ...EMPTY_ANSWER, failed: [file.index] });
      tally.warn(warningCodeOf(error), file.entry.path, error.message);
    }
  }

  #run(file: LargeFile, task: RestoreTask, transfer: readonly TransferListItem[] = []): Promise<RestoreAnswer> {
    const { pool, mode } = this.#deps;
    // A verification keeps nothing of the file in a thread.
    const thread = mode === 'verify' ? pool.leastBusy() : file.thread;
    return pool.run(thread, task, UNIT_BYTES, transfer);
  }

  /** The file's pieces, in parts that a thread takes at once; all chunks of a part are references of one node. */
  async *#parts(file: LargeFile): AsyncGenerator<Part, void, undefined> {
    const { nodes } = this.#deps;
    const segments = streamAsync(nodes, readSegments(file.entry.content, statSize(file.entry.stat)));
    let window: Piece[] = [];
    let position = 0;
    for await (const segment of segments) {
      window.push({ position, segment });
      position += segment.length;
      if (window.length < WINDOW_PIECES) continue;
      yield* partsOf(window);
      window = [];
    }
    yield* partsOf(window);
  }
}

function bytesBehind({ entry }: LargeFile, { pieces }: Part): number {
  const { position, segment } = pieces.at(-1)!;
  return statSize(entry.stat) - position - segment.length;
}

/** Distinct chunks of the pieces that are not there already. */
function chunksOf({ pieces, chunks }: Part, same: Uint32Array | undefined): PlacedChunk[] {
  const wanted = new Map<string, PlacedChunk>();
  pieces.forEach(({ segment }, at) => {
    if (segment.kind !== 'data' || same?.[at] === 1) return;
    const key = keyOf(segment.chunk.id);
    wanted.set(key, chunks.get(key) ?? segment.chunk);
  });
  return [...wanted.values()];
}

/** A chunk that is used here only in part has pages of another file, or of a later window, too. */
function usedOf({ id }: PlacedChunk, { pieces }: Part): number {
  let bytes = 0;
  for (const { segment } of pieces) if (segment.kind === 'data' && segment.chunk.id.equals(id)) bytes += segment.length;
  return bytes;
}
