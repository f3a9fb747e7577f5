// Scan thread: builds the walk, the merge and the manifest from what the main thread gave it, runs the scan to its end, and
// posts nodes, progress and the result. Everything in it is synchronous.

import { parentPort, workerData } from 'node:worker_threads';
import type { ByteString } from '@holdfast/shared/base/byte-string';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import { ManifestBuilder, type ManifestRoot } from '@holdfast/shared/format/manifest/builder';
import { buildFromChanges } from '@holdfast/shared/format/manifest/changes';
import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import { readSync, streamSync } from '@holdfast/shared/format/manifest/node-store';
import { PreviousManifest } from '@holdfast/shared/format/manifest/previous-manifest';
import { leaves } from '@holdfast/shared/format/manifest/reader';
import { ContentBuilder } from '@holdfast/shared/format/manifest/segment-tree';
import type { FilesSource } from '../jobs/job.ts';
import { Warnings } from '../jobs/warnings.ts';
import { ExcludeRules } from '../scan/exclude-rules.ts';
import { rootOf } from '../scan/selected-paths.ts';
import { Walk, type WalkNote } from '../scan/walk.ts';
import { Assembler } from './assembler.ts';
import { checkRoots } from './check-roots.ts';
import { compact, worthCompacting } from './cache-compaction.ts';
import { ChangeList, NeedsWholeWalk } from './change-list.ts';
import { ContentReader } from './content-reader.ts';
import { DeadBytes } from './dead-bytes.ts';
import type { ProducerWorkerData, ScanMessage, ScanSettings } from './messages.ts';
import { NodeCache } from './node-cache.ts';
import { nodePorts, type SealedNodeReference } from './node-ports.ts';
import { type PreviousCursor, SelectedPrevious } from './previous-cursor.ts';
import { Pressure } from './pressure.ts';
import { Scan, type ScanWarning } from './scan.ts';
import { SealingLane } from './sealing-lane.ts';
import { Slabs } from './slabs.ts';

const data = workerData as ProducerWorkerData<ScanSettings>;
const pressure = new Pressure(data.pressure);
const lane = new SealingLane(data.sealPorts, pressure, (number) => post({ kind: 'lane', lane: number }));
const PROGRESS_MS = 100;
/** Looking at the clock costs more than an unchanged entry. */
const ENTRIES_BETWEEN_LOOKS = 256;
const BYTES_BETWEEN_LOOKS = 4 * 1024 * 1024;

function post(message: ScanMessage, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer);
}

function run(changedPaths: readonly ByteString[] | undefined): void {
  const { keys, base } = data;
  const { source, fullRead } = data.settings;
  const warnings = new Warnings<ScanWarning>();
  checkRoots(rootOf(source.paths).only ?? [], warnings);
  const cache = new NodeCache(data.cacheFile);
  const dead = new DeadBytes(base?.dead);
  const baseRoot =
    base === undefined ? undefined : { id: Buffer.from(base.root.id), proof: Buffer.from(base.root.proof) };

  const ports = nodePorts(keys, cache, pressure, lane, post);
  const changes = changedPaths === undefined || baseRoot === undefined ? undefined : new ChangeList();
  const manifest = new ManifestBuilder<SealedNodeReference>(ports);
  const assembler = new Assembler(changes ?? manifest, new ContentBuilder<SealedNodeReference>(ports));
  lane.onSealed = () => assembler.drain();
  const wait = (ready: () => boolean) => lane.waitUntil(ready);
  const bundles = new Slabs(data.slabs.bundles, 0, wait);
  const chunks = new Slabs(data.slabs.chunks, data.slabs.bundles.length, wait);
  const reader = new ContentReader({ keys, lane, bundles, chunks, dead, nodes: cache });
  const walk = openWalk(source, changes === undefined ? undefined : changedPaths, warnings);
  const scan = new Scan({
    walk,
    previous: previousOf(cache, baseRoot, changes === undefined ? undefined : changedPaths),
    assembler,
    reader,
    dead,
    keys,
    warnings,
    unchangedBeforeMs: fullRead ? undefined : base?.startedAtMs,
    onEntry: progressReporter(() => lane.throwIfCancelled()),
    ...(changes === undefined ? {} : { onRemoved: (path) => changes.remove(path), onLinkedFile: walkEverything }),
  });
  let result: ManifestRoot;
  try {
    scan.run();
    lane.finish();
    assembler.drain();
    result =
      changes === undefined
        ? manifest.finish()
        : readSync(cache, buildFromChanges(baseRoot!, changes.inOrder(), ports));
  } finally {
    walk.close();
    cache.close();
  }
  if (worthCompacting(cache.size, result))
    compact(data.cacheFile, baseRoot === undefined ? [result] : [result, baseRoot]);
  const files = changes === undefined ? scan.files : base!.files - scan.previousFiles + scan.files;
  if (files === 0 && base !== undefined && base.files > 0) {
    const message = `no file is left of ${base.files} in the snapshot before: is a file system not mounted?`;
    warnings.add('emptied', '', message);
  }
  post({
    kind: 'done',
    root: { id: result.id, proof: result.proof, entries: result.entries, totalBytes: result.totalBytes },
    files,
    filesChanged: scan.filesChanged,
    bytesRead: reader.bytesRead,
    partial: warnings.count('unreadable') + warnings.count('replaced') + warnings.count('missing') > 0,
    warnings: warnings.kept,
    warningsTotal: warnings.total,
    dead: dead.rows(),
  });
}

/** A watcher tells of the name that was written through, not of the others, and their entries would keep the old content. */
function walkEverything(): never {
  throw new NeedsWholeWalk('a changed file has further names');
}

function previousOf(
  cache: NodeCache,
  root: NodeReference | undefined,
  changedPaths: readonly ByteString[] | undefined,
): PreviousCursor {
  if (root === undefined) return new PreviousManifest([].values());
  if (changedPaths !== undefined) return new SelectedPrevious(cache, root, changedPaths);
  return new PreviousManifest(streamSync(cache, leaves(root)));
}

function openWalk(
  source: FilesSource,
  changedPaths: readonly ByteString[] | undefined,
  warnings: Warnings<ScanWarning>,
): Walk {
  const { root, only = changedPaths } = rootOf(source.paths);
  const changed = new Set(changedPaths);
  return new Walk({
    root,
    ...(only === undefined ? {} : { only: changedPaths ?? only }),
    ...(source.excludes.length === 0 ? {} : { rules: new ExcludeRules(source.excludes, source.includes) }),
    oneFileSystem: source.oneFileSystem,
    excludeCaches: source.excludeCaches,
    onNote: (note) => {
      // What was reported as changed may have been deleted: that is the change.
      if (note.kind !== 'vanished' || !changed.has(note.path)) takeNote(warnings, note);
    },
  });
}

/** What the walk left out on purpose (caches, other file systems) is no warning: the operator asked for it. */
function takeNote(warnings: Warnings<ScanWarning>, note: WalkNote): void {
  if (note.kind === 'vanished' || note.kind === 'unreadable' || note.kind === 'replaced') {
    warnings.add(note.kind, note.path, note.message);
  } else if (note.kind === 'loop' || note.kind === 'virtual-file-system') {
    warnings.add('left-out', note.path, note.message);
  }
}

function progressReporter(check: () => void): (scan: Scan) => void {
  let entries = 0;
  let bytesAtLook = 0;
  let reportedAt = 0;
  return (scan) => {
    const looks = ++entries % ENTRIES_BETWEEN_LOOKS === 0 || scan.bytes - bytesAtLook > BYTES_BETWEEN_LOOKS;
    if (!looks) return;
    bytesAtLook = scan.bytes;
    check();
    const now = performance.now();
    if (now - reportedAt < PROGRESS_MS) return;
    reportedAt = now;
    post({ kind: 'progress', filesDone: scan.files, bytesDone: scan.bytes, currentPath: scan.currentPath });
  };
}

try {
  try {
    run(data.settings.changedPaths);
  } catch (error) {
    if (!(error instanceof NeedsWholeWalk)) throw error;
    // What is on its way to the seal threads still answers; nobody waits for it any more.
    lane.onSealed = () => undefined;
    lane.finish();
    run(undefined);
  }
} catch (error) {
  const { code, message, hint, details } = toHoldfastError(error);
  post({ kind: 'failed', code, message, hint, details });
}
