// Scan thread: builds the walk, the merge and the manifest from what the main thread gave it, runs the scan to its end, and
// posts nodes, progress and the result. Everything in it is synchronous.

import { parentPort, workerData } from 'node:worker_threads';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { type EmittedNode, ManifestBuilder, type ManifestRoot } from '@holdfast/shared/format/manifest/builder';
import type { NodeReference } from '@holdfast/shared/format/manifest/entry';
import { streamSync } from '@holdfast/shared/format/manifest/node-store';
import { PreviousManifest } from '@holdfast/shared/format/manifest/previous-manifest';
import { leaves } from '@holdfast/shared/format/manifest/reader';
import { ContentBuilder } from '@holdfast/shared/format/manifest/segment-tree';
import { seal } from '@holdfast/shared/format/seal';
import { Warnings } from '../jobs/warnings.ts';
import { ExcludeRules } from '../scan/exclude-rules.ts';
import { rootOf } from '../scan/selected-paths.ts';
import { Walk, type WalkNote } from '../scan/walk.ts';
import { Assembler } from './assembler.ts';
import { ContentReader } from './content-reader.ts';
import { DeadBytes } from './dead-bytes.ts';
import type { ScanMessage, ScanWorkerData } from './messages.ts';
import { NodeCache } from './node-cache.ts';
import { Pressure } from './pressure.ts';
import { Scan, type ScanWarning } from './scan.ts';
import { SealingLane } from './sealing-lane.ts';
import { Slabs } from './slabs.ts';

const data = workerData as ScanWorkerData;
const PROGRESS_MS = 100;
/** Looking at the clock costs more than an unchanged entry. */
const ENTRIES_BETWEEN_LOOKS = 256;

interface SealedNodeReference extends NodeReference {
  readonly envelope: Buffer<ArrayBuffer>;
}

function post(message: ScanMessage, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer);
}

function run(): void {
  const { keys, source, base } = data;
  const warnings = new Warnings<ScanWarning>();
  const pressure = new Pressure(data.pressure);
  const cache = new NodeCache(data.cacheFile);
  const dead = new DeadBytes(base?.dead);

  const ports = {
    node: Buffer.from(keys.node),
    sealNode(references: Buffer, payload: Buffer): SealedNodeReference {
      const { id, proof, envelope } = seal(keys, ObjectKind.manifestNode, references, payload);
      return { id, proof, envelope };
    },
    onNode(node: EmittedNode<SealedNodeReference>): void {
      const { id, envelope } = node.sealed;
      cache.append(id, node);
      pressure.hold(envelope.length);
      const { sealed: afterChunks } = lane;
      post({ kind: 'node', id, envelope, referenceProofs: node.proofs, afterChunks }, [envelope.buffer]);
    },
  };
  const manifest = new ManifestBuilder<SealedNodeReference>(ports);
  const assembler = new Assembler(manifest, new ContentBuilder<SealedNodeReference>(ports));
  const lane = new SealingLane(data.sealPorts, pressure, () => assembler.drain());
  const wait = (ready: () => boolean) => lane.waitUntil(ready);
  const bundles = new Slabs(data.slabs.bundles, 0, wait);
  const chunks = new Slabs(data.slabs.chunks, data.slabs.bundles.length, wait);
  const reader = new ContentReader({ keys, lane, bundles, chunks, dead, nodes: cache });
  const previous = new PreviousManifest(
    base === undefined
      ? [].values()
      : streamSync(cache, leaves({ id: Buffer.from(base.root.id), proof: Buffer.from(base.root.proof) })),
  );
  const { root, only } = rootOf(source.paths);
  const walk = new Walk({
    root,
    ...(only === undefined ? {} : { only }),
    ...(source.excludes.length === 0 ? {} : { rules: new ExcludeRules(source.excludes, source.includes) }),
    oneFileSystem: source.oneFileSystem,
    excludeCaches: source.excludeCaches,
    onNote: (note) => takeNote(warnings, note),
  });

  const onEntry = progressReporter(() => lane.throwIfCancelled());
  const scan = new Scan({
    walk,
    previous,
    assembler,
    reader,
    dead,
    keys,
    warnings,
    unchangedBeforeMs: data.fullRead ? undefined : base?.startedAtMs,
    onEntry,
  });
  let result: ManifestRoot;
  try {
    scan.run();
    lane.finish();
    assembler.drain();
    result = manifest.finish();
    cache.sync();
  } finally {
    walk.close();
    cache.close();
  }
  post({
    kind: 'done',
    root: { id: result.id, proof: result.proof, entries: result.entries, totalBytes: result.totalBytes },
    files: scan.files,
    filesChanged: scan.filesChanged,
    bytesRead: reader.bytesRead,
    partial: warnings.count('unreadable') + warnings.count('replaced') > 0,
    warnings: warnings.kept,
    warningsTotal: warnings.total,
    dead: dead.rows(),
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
  let reportedAt = 0;
  return (scan) => {
    if (++entries % ENTRIES_BETWEEN_LOOKS !== 0) return;
    check();
    const now = performance.now();
    if (now - reportedAt < PROGRESS_MS) return;
    reportedAt = now;
    post({ kind: 'progress', filesDone: scan.files, bytesDone: scan.bytes, currentPath: scan.currentPath });
  };
}

try {
  run();
} catch (error) {
  const { code, message, hint } = toHoldfastError(error);
  post({ kind: 'failed', code, message, hint });
}
