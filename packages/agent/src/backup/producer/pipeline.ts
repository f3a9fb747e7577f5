// Everything behind a producer's SnapshotWriter, put together: seal threads' lanes, slabs, cache, manifest.

import { type BuilderPorts, ManifestBuilder } from '@holdfast/shared/format/manifest/builder';
import { streamSync } from '@holdfast/shared/format/manifest/node-store';
import { PreviousManifest } from '@holdfast/shared/format/manifest/previous-manifest';
import { leaves } from '@holdfast/shared/format/manifest/reader';
import { ContentBuilder } from '@holdfast/shared/format/manifest/segment-tree';
import { Warnings } from '../../jobs/warnings.ts';
import { Assembler, type ManifestSink } from '../assembler.ts';
import { Bundler } from '../bundler.ts';
import { compact, worthCompacting } from '../cache-compaction.ts';
import { ChunkCutter } from '../chunk-cutter.ts';
import { DeadBytes } from '../dead-bytes.ts';
import type { ProducerWorkerData, ScanDoneMessage, ScanMessage } from '../messages.ts';
import { NodeCache } from '../node-cache.ts';
import { nodePorts, type SealedNodeReference } from '../node-ports.ts';
import type { Pressure } from '../pressure.ts';
import { SealingLane } from '../sealing-lane.ts';
import { Slabs } from '../slabs.ts';
import type { SnapshotWriter } from '../snapshot-writer.ts';
import { assembleManifest } from './manifest-assembly.ts';
import { PageChunks } from './pages/page-chunks.ts';
import { PageTagStore } from './pages/previous-pages.ts';
import { PreviousEntries } from './previous-entries.ts';
import { collectEvery } from '../../os/memory.ts';
import { ProducerProgress } from './progress.ts';
import { SortedEntries } from './sorted-entries.ts';
import { EntryWriter } from './writer.ts';

/** What a warning says is missing from the snapshot. */
const PARTIAL_CODES = ['unreadable', 'missing', 'replaced'];

/** Of what sockets and pipes gave, dead by then. */
const COLLECT_EVERY_BYTES = 4 * 1024 * 1024;

export class ProducerPipeline {
  readonly progress: ProducerProgress;
  readonly #data: ProducerWorkerData;
  readonly #lane: SealingLane;
  readonly #cache: NodeCache;
  readonly #ports: BuilderPorts<SealedNodeReference>;
  readonly #dead: DeadBytes;
  readonly #warnings = new Warnings();
  readonly #sorted: SortedEntries;
  readonly #writer: EntryWriter;
  #closed = false;

  constructor(
    data: ProducerWorkerData,
    pressure: Pressure,
    post: (message: ScanMessage, transfer?: ArrayBuffer[]) => void,
  ) {
    const { keys } = data;
    this.#data = data;
    this.progress = new ProducerProgress(post, collectEvery(COLLECT_EVERY_BYTES));
    this.#lane = new SealingLane(data.sealPorts, pressure, (lane) => post({ kind: 'lane', lane }));
    this.#cache = new NodeCache(data.cacheFile);
    this.#ports = nodePorts(keys, this.#cache, pressure, this.#lane, post);
    this.#dead = new DeadBytes(data.base?.dead);
    this.#sorted = new SortedEntries(data.directory);
    const sink: ManifestSink = {
      add: (entry) => this.#sorted.add(entry),
      keep: (leaf, index) => this.#sorted.add(leaf.entry(index)),
    };
    // Small files wait for their bundle, large ones for their chunks: neither waits for the other.
    const small = new Assembler(sink, new ContentBuilder(this.#ports));
    const large = new Assembler(sink, new ContentBuilder(this.#ports));
    this.#lane.onSealed = () => {
      small.drain();
      large.drain();
    };
    const wait = (ready: () => boolean) => this.#lane.waitUntil(ready);
    const bundles = new Slabs(data.slabs.bundles, 0, wait);
    const chunks = new Slabs(data.slabs.chunks, data.slabs.bundles.length, wait);
    const deps = { keys, lane: this.#lane, bundles, chunks, dead: this.#dead };
    this.#writer = new EntryWriter({
      small,
      large,
      bundler: new Bundler(deps),
      cutter: new ChunkCutter(deps),
      chunks,
      nodes: this.#cache,
      keys,
      pageTags: new PageTagStore(this.#cache),
      pageChunks: new PageChunks({
        ...deps,
        ports: this.#ports,
        onTagged: () => large.drain(),
      }),
      previous: new PreviousEntries(this.#cache, this.#baseRoot),
      warnings: this.#warnings,
      progress: this.progress,
      throwIfCancelled: () => this.throwIfCancelled(),
    });
  }

  get writer(): SnapshotWriter {
    return this.#writer;
  }

  throwIfCancelled(): void {
    this.#lane.throwIfCancelled();
  }

  /** Waits until everything is sealed, and makes the manifest. */
  finish(): Omit<ScanDoneMessage, 'result'> {
    this.#writer.finish();
    this.#lane.finish();
    this.#lane.onSealed();
    const baseRoot = this.#baseRoot;
    const previous = new PreviousManifest(
      baseRoot === undefined ? [].values() : streamSync(this.#cache, leaves(baseRoot)),
    );
    const manifest = new ManifestBuilder(this.#ports);
    const { root, files, filesChanged } = assembleManifest(this.#sorted.inOrder(), previous, manifest, this.#dead);
    const cacheSize = this.#cache.size;
    this.close();
    if (worthCompacting(cacheSize, root, this.#writer.pageCount)) {
      compact(this.#data.cacheFile, baseRoot === undefined ? [root] : [root, baseRoot]);
    }
    return {
      kind: 'done',
      root: { id: root.id, proof: root.proof, entries: root.entries, totalBytes: root.totalBytes },
      files,
      filesChanged,
      bytesRead: this.progress.bytesRead,
      partial: PARTIAL_CODES.some((code) => this.#warnings.count(code) > 0),
      warnings: this.#warnings.kept,
      warningsTotal: this.#warnings.total,
      dead: this.#dead.rows(),
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cache.close();
    this.#sorted.close();
  }

  get #baseRoot() {
    const { base } = this.#data;
    return base === undefined ? undefined : { id: Buffer.from(base.root.id), proof: Buffer.from(base.root.proof) };
  }
}
