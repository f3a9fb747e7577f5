// The main thread's part of one large file: its segments in order, cut into parts, fetched and handed to the threads.
//
// Hazard: a file of terabytes has millions of segments, in a tree of nodes that may be damaged anywhere. Segments are
// read as they are needed, and the first part that fails ends the file: it is abandoned and named, and the rest goes on.
//
// Hazard: the parts are written by any thread, through the descriptor of the one that has the file open. So `file-end` is sent only
// when every task that names the descriptor was answered, whatever happened.
//
// Invariants (restore.test.ts): F1 'written' is sent only after every part was written; F2 a delta fetches only the pieces
// that the existing file does not have; F3 in place, nothing but those pieces is written.

import type { TransferListItem } from 'node:worker_threads';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { PlacedChunk, PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import { crc32cAfterZeros, crc32cOf } from '@holdfast/shared/format/crc32c';
import { streamAsync } from '@holdfast/shared/format/manifest/node-store';
import { readSegments } from '@holdfast/shared/format/manifest/segment-tree';
import { statSize } from '@holdfast/shared/format/manifest/stat-record';
import type { Piece } from './piece.ts';
import { endsWhole, warningCodeOf } from './error-reach.ts';
import { type Part, partsOf, WINDOW_PIECES } from './large-file-parts.ts';
import { keyOf } from './opened-chunks.ts';
import { packPieces } from './packed-pieces.ts';
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
import type { LentFile } from './target/file-content.ts';
import { UNIT_BYTES } from './unit-plan.ts';
import { WorkInFlight } from './work-in-flight.ts';

interface LargeFile {
  readonly id: number;
  /** The one that opens and ends it. */
  readonly thread: number;
  readonly leaf: LeafContext;
  readonly index: number;
  readonly entry: PlacedEntry;
  /** Tasks on their way; the first error is the file's. */
  readonly parts: WorkInFlight;
  /** verify: of the parts so far, each moved on by what follows it. */
  checksum: number;
}

type Keep = 'written' | 'existing' | 'none';

interface Plan {
  /** What is to become of the path. */
  readonly keep: Keep;
  /** For each part, 1 for each piece that is there already. */
  readonly same: readonly Uint32Array[];
  readonly existing: LentFile | undefined;
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
    let keep: Keep = 'none';
    try {
      const plan = await this.#plan(file);
      keep = plan.keep;
      if (keep === 'written') await this.#write(file, plan);
    } catch (thrown) {
      file.parts.fail(toHoldfastError(thrown));
    }
    this.#deps.work.begin(this.#end(file, keep));
  }

  async #plan(file: LargeFile): Promise<Plan> {
    const { mode, tally, pool } = this.#deps;
    if (mode === 'write' || mode === 'verify') return { keep: 'written', same: [], existing: undefined };
    const { leaf, index, entry, thread } = file;
    const task: RestoreTask = { kind: 'file-examine', file: file.id, leaf: leaf.posted, index };
    const examined = await pool.run(thread, task, UNIT_COST_BYTES);
    const existing = examined.lent;
    const same = await this.#compare(file, existing);
    let look = examined.looks?.[0] ?? LOOK_ABSENT;
    const differs = same.some((marks) => marks.includes(0));
    if (differs && (look === LOOK_SAME || look === LOOK_METADATA)) look = LOOK_CONTENT;
    tally.plan(entry.path, entry.stat, look);
    if (mode === 'dry-run') return { keep: 'none', same, existing };
    if (look !== LOOK_SAME && look !== LOOK_METADATA) return { keep: 'written', same, existing };
    tally.bytes += statSize(entry.stat);
    return { keep: 'existing', same, existing };
  }

  /** Which pieces are there, part by part: several parts at a time, on all threads. */
  async #compare(file: LargeFile, existing: LentFile | undefined): Promise<readonly Uint32Array[]> {
    const { window } = this.#deps;
    const same: Uint32Array[] = [];
    for await (const part of this.#parts(file)) {
      const at = same.push(new Uint32Array(part.pieces.length)) - 1;
      await window.take(UNIT_COST_BYTES);
      const compared = this.#comparePart(file, part, existing, (marks) => (same[at] = marks));
      file.parts.begin(compared.finally(() => window.release(UNIT_COST_BYTES)));
      file.parts.check();
    }
    await file.parts.drain();
    return same;
  }

  async #comparePart(
    { entry }: LargeFile,
    part: Part,
    existing: LentFile | undefined,
    found: (marks: Uint32Array) => void,
  ): Promise<void> {
    let marks: Uint32Array | undefined;
    if (existing !== undefined) {
      const pieces = packPieces(part.pieces);
      const task: RestoreTask = { kind: 'file-compare', path: entry.path, existing, pieces };
      ({ marks } = await this.#anywhere(task, [pieces.columns]));
    }
    if (marks !== undefined) found(marks);
    for (const chunk of chunksOf(part, marks)) this.#deps.tally.planned.bytesFetched += chunk.plainLength;
  }

  async #write(file: LargeFile, plan: Plan): Promise<void> {
    const { mode, window, pool, inPlace, tally } = this.#deps;
    const { leaf, index, thread } = file;
    let into: LentFile | undefined;
    if (mode !== 'verify') {
      const task: RestoreTask = { kind: 'file-open', file: file.id, leaf: leaf.posted, index, inPlace };
      into = (await pool.run(thread, task, UNIT_COST_BYTES)).lent;
    }
    const stays = into !== undefined && into.fd === plan.existing?.fd;
    let at = 0;
    for await (const whole of this.#parts(file)) {
      const same = plan.same[at++];
      // What is in its place already need not be written there.
      const part = stays ? { ...whole, pieces: whole.pieces.filter((_, piece) => same?.[piece] !== 1) } : whole;
      if (stays) tally.bytes += lengthOf(whole) - lengthOf(part);
      if (part.pieces.length === 0) continue;
      const chunks = stays ? chunksOf(part, undefined) : chunksOf(part, same);
      const cost = chunks.reduce((sum, chunk) => sum + chunk.plainLength, 0) + UNIT_COST_BYTES;
      await window.take(cost);
      const written = this.#part(file, part, chunks, { into, existing: stays ? undefined : plan.existing });
      file.parts.begin(written.finally(() => window.release(cost)));
      file.parts.check();
    }
  }

  async #part(
    file: LargeFile,
    part: Part,
    wanted: readonly PlacedChunk[],
    lent: { readonly into: LentFile | undefined; readonly existing: LentFile | undefined },
  ): Promise<void> {
    const { chunks, nodes, tally, onAnswer } = this.#deps;
    const node = wanted[0]?.node;
    const fetched =
      node === undefined
        ? { chunks: [], transfer: [] }
        : await chunks.fetch(
            nodes.handleOf(node),
            wanted.map((chunk) => ({ chunk, shared: usedOf(chunk, part) < chunk.plainLength })),
          );
    const pieces = packPieces(part.pieces);
    const { path } = file.entry;
    const task: RestoreTask = { kind: 'file-part', path, ...lent, pieces, chunks: fetched.chunks };
    const { checksums } = await this.#anywhere(task, [pieces.columns, ...fetched.transfer]);
    tally.bytes += lengthOf(part);
    for (const [, register] of checksums) file.checksum ^= crc32cAfterZeros(register, bytesBehind(file, part));
    tally.currentPath = path;
    onAnswer();
  }

  /** Waits for the parts; then the file is finished, or given up and named. */
  async #end(file: LargeFile, planned: Keep): Promise<void> {
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
      this.#answered(file.leaf, await this.#deps.pool.run(file.thread, task, UNIT_COST_BYTES));
    } catch (thrown) {
      keep = 'none';
      await file.parts.settle();
      const error = toHoldfastError(thrown);
      if (endsWhole(error)) throw error;
      const task: RestoreTask = { kind: 'file-end', file: file.id, keep, chunks: [] };
      await this.#deps.pool.run(file.thread, task, UNIT_COST_BYTES);
      this.#answered(file.leaf, { ...EMPTY_ANSWER, failed: [file.index] });
      tally.warn(warningCodeOf(error), file.entry.path, error.message);
    }
  }

  #anywhere(task: RestoreTask, transfer: readonly TransferListItem[]): Promise<RestoreAnswer> {
    const { pool } = this.#deps;
    return pool.run(pool.leastBusy(), task, UNIT_BYTES, transfer);
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

function lengthOf({ pieces }: Pick<Part, 'pieces'>): number {
  return pieces.reduce((sum, { segment }) => sum + segment.length, 0);
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
