// The main thread's part of a restore: walks the manifest, decides what to fetch, and hands it to the threads.
//
// Hazards: a manifest that lies (every entry is held against TreeValidator, in order, before anything of its leaf reaches
// a thread); memory that grows with the snapshot (units wait for room in a byte window, links and names for a barrier).
//
// Order: units of entries in any order and on any thread (parents are created as needed); hard links after the unit of
// their first name; deletions after all writing; directories' metadata, deepest first, at the very end.
//
// Invariants (restore.test.ts, restore-hostile.test.ts):
//   R1 an entry that the validator refuses ends the restore, and nothing of its leaf is written;
//   R2 no more than WINDOW_BYTES of chunks are on their way or in the threads' hands.

import { comparePaths, displayPath, type ByteString } from '@holdfast/shared/base/byte-string';
import { crc32cOf } from '@holdfast/shared/format/crc32c';
import { newEntry, type DataSegment, type PlacedChunk, type PlacedEntry } from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { encodeStat, S_IFDIR, statNlink, statSize, statType } from '@holdfast/shared/format/manifest/stat-record';
import { TreeValidator } from '@holdfast/shared/format/manifest/tree-validator';
import type { WantedChunk } from './chunk-fetcher.ts';
import { HardLinks, linkKey } from './hard-links.ts';
import { LargeFileRun } from './large-file-run.ts';
import { walkLeaves, type WalkStep } from './manifest-walk.ts';
import { PrunePlan } from './prune-plan.ts';
import type { PostedDirectory, RestoreAnswer, RestoreTask } from './restore-task.ts';
import { UNIT_COST_BYTES, type LeafContext, type RunDeps } from './run-context.ts';
import { parentsOf } from './selection.ts';
import { UNIT_BYTES, UnitPlanner, type PlannedChunk, type PlannedUnit } from './unit-plan.ts';

export const WINDOW_BYTES = 16 * 1024 * 1024;
/** The thread that keeps directories for the end. */
export const DIRECTORY_THREAD = 0;
const DIRECTORIES_AT_ONCE = 512;
const BARRIER_LINKS = 20_000;
const BARRIER_NAMES = 100_000;

export class RestoreRun {
  readonly #deps: RunDeps;
  readonly #validator = new TreeValidator();
  readonly #links = new HardLinks();
  readonly #prune = new PrunePlan();
  readonly #large: LargeFileRun;
  readonly #found = new Set<ByteString>();
  readonly #writes: boolean;
  #directories: PostedDirectory[] = [];
  #gapFrom: ByteString | undefined;

  constructor(deps: RunDeps) {
    this.#deps = deps;
    this.#writes = deps.mode === 'write' || deps.mode === 'delta';
    this.#large = new LargeFileRun(deps, (leaf, answer) => this.#answered(leaf, answer));
  }

  /** Throws the first error that ends the restore; otherwise everything but the directories' metadata is in place. */
  async run(): Promise<void> {
    const { nodes, snapshot, selection, work } = this.#deps;
    for await (const step of walkLeaves(nodes, snapshot.root, selection)) {
      work.check();
      if (step.kind === 'gap') this.#gap(step);
      else await this.#leaf(step.leaf);
      if (this.#links.waiting >= BARRIER_LINKS || this.#prune.waitingNames >= BARRIER_NAMES) await this.#barrier();
    }
    this.#prune.end();
    await this.#barrier();
    this.#flushDirectories();
    await work.drain();
    this.#reportNotFound();
  }

  #gap(gap: Extract<WalkStep, { kind: 'gap' }>): void {
    const { tally } = this.#deps;
    const count = gap.entries > 0 ? `${gap.entries} entries from here on are` : 'everything from here on is';
    tally.warn('damaged', gap.from, `${count} lost: ${gap.error.message}`);
    this.#prune.gap();
    this.#gapFrom ??= gap.from;
  }

  async #leaf(view: LeafView): Promise<void> {
    const { nodes, selection, kept } = this.#deps;
    const leaf: LeafContext = {
      view,
      posted: { id: view.id, references: view.references, payload: view.payload },
      handle: nodes.handleOf(view.id),
      leaders: new Map(),
      directories: new Map(),
    };
    // All of it is checked before any of it is acted upon.
    const entries: { readonly index: number; readonly entry: PlacedEntry }[] = [];
    for (let index = 0; index < view.count; index++) {
      const selected = selection.of(view.path(index));
      if (selected === undefined) continue;
      const entry = view.entry(index);
      this.#validate(entry);
      this.#found.add(selection.everything ? '' : entry.path);
      const isDirectory = statType(entry.stat) === 'directory';
      const isKept = kept.covers(entry.path);
      if (this.#deps.deleteExtra) this.#prune.add(entry.path, isDirectory, selected === 'inside' && !isKept);
      if (isKept) continue;
      if (selected === 'inside' || isDirectory) entries.push({ index, entry });
    }
    await this.#plan(leaf, entries);
  }

  async #plan(
    leaf: LeafContext,
    entries: readonly { readonly index: number; readonly entry: PlacedEntry }[],
  ): Promise<void> {
    const planner = new UnitPlanner();
    for (const { index, entry } of entries) {
      const type = statType(entry.stat);
      if (this.#writes && type !== 'directory' && this.#isLaterName(leaf, index, entry)) continue;
      if (type === 'directory' && this.#writes) this.#directory(leaf, index, entry);
      if (type === 'file' && isLarge(entry)) {
        await this.#submit(leaf, planner.finish());
        await this.#large.begin(leaf, index, entry);
      } else {
        await this.#submit(leaf, planner.add(index, dataOf(entry)));
      }
    }
    await this.#submit(leaf, planner.finish());
  }

  #validate(entry: PlacedEntry): void {
    // After a gap an entry's parents may be among what was lost. They are taken for plain directories.
    if (this.#gapFrom !== undefined) {
      for (const parent of parentsOf(entry.path)) {
        if (parent === entry.path || comparePaths(parent, this.#gapFrom) < 0) continue;
        this.#validator.next(newEntry(parent, LOST_DIRECTORY));
      }
      this.#gapFrom = undefined;
    }
    this.#validator.next(entry);
  }

  #isLaterName(leaf: LeafContext, index: number, entry: PlacedEntry): boolean {
    const key = linkKey(entry);
    if (key === undefined) return false;
    const { group, first } = this.#links.add(key, entry.path, statNlink(entry.stat));
    if (first) leaf.leaders.set(index, group);
    return !first;
  }

  #directory(leaf: LeafContext, index: number, entry: PlacedEntry): void {
    if (entry.xattrs.kind === 'chunk') leaf.directories.set(index, entry);
    else this.#deferDirectory(entry, entry.xattrs.list);
  }

  #deferDirectory(entry: PlacedEntry, xattrs: PostedDirectory['xattrs']): void {
    const { path, stat, user, group, inodeFlags } = entry;
    if (path === '' && this.#deps.keepRoot) return;
    this.#directories.push({ path, stat, user, group, xattrs, inodeFlags });
    if (this.#directories.length >= DIRECTORIES_AT_ONCE) this.#flushDirectories();
  }

  #flushDirectories(): void {
    const { pool, work } = this.#deps;
    if (this.#directories.length === 0) return;
    const directories = this.#directories;
    this.#directories = [];
    work.begin(pool.run(DIRECTORY_THREAD, { kind: 'directories', directories }, 0).then(() => undefined));
  }

  async #submit(leaf: LeafContext, unit: PlannedUnit | undefined): Promise<void> {
    const { window, work } = this.#deps;
    if (unit === undefined) return;
    const cost = unit.chunkBytes + UNIT_COST_BYTES;
    await window.take(cost);
    work.begin(this.#unit(leaf, unit).finally(() => window.release(cost)));
  }

  async #unit(leaf: LeafContext, unit: PlannedUnit): Promise<void> {
    const { pool, chunks, mode, tally } = this.#deps;
    const entries = Uint32Array.from(unit.entries);
    let wanted = unit.chunks;
    let looks: Uint8Array | undefined;
    let thread: number | undefined;
    if (mode === 'delta' || mode === 'dry-run') {
      thread = pool.leastBusy();
      const examined = await pool.run(thread, { kind: 'examine', leaf: leaf.posted, entries }, unit.chunkBytes);
      looks = examined.looks;
      const marks = new Set(examined.marks);
      wanted = wanted.filter(({ chunk }) => marks.has(chunk.index));
      this.#examined(leaf, unit, examined, wanted);
      if (mode === 'dry-run') return;
    }
    const fetched = await chunks.fetch(leaf.handle, wanted.map(wantedOf));
    const weight = unit.chunkBytes + unit.entries.length * ENTRY_WEIGHT_BYTES;
    const task: RestoreTask = { kind: 'entries', leaf: leaf.posted, entries, chunks: fetched.chunks, looks };
    const answer = await pool.run(thread ?? pool.leastBusy(), task, weight, fetched.transfer);
    tally.currentPath = leaf.view.path(unit.entries.at(-1)!);
    this.#checked(leaf, answer);
    this.#answered(leaf, answer);
  }

  #checked({ view }: LeafContext, { checksums }: RestoreAnswer): void {
    for (const [index, register] of checksums) {
      const size = statSize(view.stat(index));
      this.#deps.content?.file(view.path(index), size, crc32cOf(register, size));
    }
  }

  #examined(leaf: LeafContext, unit: PlannedUnit, examined: RestoreAnswer, wanted: readonly PlannedChunk[]): void {
    const { tally, mode } = this.#deps;
    unit.entries.forEach((index, at) => tally.plan(leaf.view.path(index), leaf.view.stat(index), examined.looks?.[at]));
    for (const { chunk } of wanted) tally.planned.bytesFetched += chunk.plainLength;
    if (mode === 'dry-run') {
      tally.entries += unit.entries.length;
      this.#answered(leaf, examined);
    }
  }

  #answered(leaf: LeafContext, answer: RestoreAnswer): void {
    for (const [index, inode] of answer.inodes) {
      const group = leaf.leaders.get(index);
      if (group !== undefined) group.inode = inode;
    }
    for (const index of answer.failed) {
      const group = leaf.leaders.get(index);
      if (group !== undefined) group.failed = true;
    }
    for (const [index, list] of answer.xattrs) {
      const entry = leaf.directories.get(index);
      if (entry !== undefined) this.#deferDirectory(entry, list);
    }
    this.#deps.tally.add(answer);
    this.#deps.onAnswer();
  }

  /** Everything begun is done; then what had to wait for it: links, and after them deletions. */
  async #barrier(): Promise<void> {
    const { work, pool, tally, mode, kept } = this.#deps;
    await work.drain();
    const { links, failed } = this.#links.take();
    for (const { path, leader } of failed)
      tally.warn('damaged', path, `it is another name of ${displayPath(leader)}, which could not be restored`);
    for (let at = 0; at < links.length; at += LINKS_AT_ONCE) {
      this.#begin({ kind: 'links', links: links.slice(at, at + LINKS_AT_ONCE) });
    }
    await work.drain();
    if (mode === 'verify') return;
    for (const { directory, names } of this.#prune.take()) {
      await this.#deps.window.take(UNIT_COST_BYTES);
      const task: RestoreTask = { kind: 'prune', directory, names: kept.namesIn(directory, names) };
      const pruned = pool.run(pool.leastBusy(), task, UNIT_COST_BYTES).then((answer) => tally.add(answer));
      work.begin(pruned.finally(() => this.#deps.window.release(UNIT_COST_BYTES)));
    }
    await work.drain();
  }

  #begin(task: RestoreTask): void {
    const { work, pool, tally } = this.#deps;
    work.begin(pool.run(pool.leastBusy(), task, UNIT_COST_BYTES).then((answer) => tally.add(answer)));
  }

  #reportNotFound(): void {
    const { selection, tally } = this.#deps;
    for (const root of selection.roots) {
      if (!this.#found.has(root)) tally.warn('not-in-snapshot', root, 'the snapshot has nothing at this path');
    }
  }
}

const LINKS_AT_ONCE = 2000;
const ENTRY_WEIGHT_BYTES = 16 * 1024;
const LOST_DIRECTORY = encodeStat({
  mode: S_IFDIR | 0o700,
  uid: 0,
  gid: 0,
  nlink: 1,
  size: 0,
  ino: 0n,
  mtimeSeconds: 0,
  mtimeNs: 0,
  ctimeSeconds: 0,
  ctimeNs: 0,
  rdevMajor: 0,
  rdevMinor: 0,
});

/** In a segment tree, or more than one unit holds: restored part by part. */
function isLarge(entry: PlacedEntry): boolean {
  if (entry.content.kind === 'tree') return true;
  return statSize(entry.stat) > 2 * UNIT_BYTES && entry.content.segments.length > 1;
}

function dataOf(entry: PlacedEntry): DataSegment<PlacedChunk>[] {
  const data = entry.xattrs.kind === 'chunk' ? [entry.xattrs.segment] : [];
  if (entry.content.kind === 'segments') {
    for (const segment of entry.content.segments) if (segment.kind === 'data') data.push(segment);
  }
  return data;
}

/** What a unit uses only in part is a bundle that goes on in the next unit, or lies scattered over several. */
function wantedOf({ chunk, usedBytes }: PlannedChunk): WantedChunk {
  return { chunk, shared: usedBytes < chunk.plainLength };
}
