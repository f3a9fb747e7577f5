// What manifests cost, on their own: ./dev node --conditions=holdfast-source test/bench/manifest.ts [entries]
//
// Prints the time to build a manifest of 200,000 entries, to go through it as an unchanged backup does, to put one change
// into it, to compare two, and the bytes an entry takes once stored. Names, sizes and inodes are made up but have the
// spread of a source tree; tags and ids are random, as real ones are. Sealing is left out: it is measured with the hot path.

import { constants, zstdCompressSync } from 'node:zlib';
import { buildFromChanges } from '@holdfast/shared/format/manifest/changes';
import { diff } from '@holdfast/shared/format/manifest/diff';
import { ManifestBuilder } from '@holdfast/shared/format/manifest/builder';
import { type Entry, newEntry } from '@holdfast/shared/format/manifest/entry';
import { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import { readSync, streamSync } from '@holdfast/shared/format/manifest/node-store';
import { PreviousManifest } from '@holdfast/shared/format/manifest/previous-manifest';
import { sameStat, STAT_BYTES } from '@holdfast/shared/format/manifest/stat-record';
import {
  chunkOf,
  dataSegment,
  directory,
  file,
  MemoryNodes,
  randomNumbers,
  statOf,
} from '@holdfast/shared/testing/manifest-trees';

const FILES_PER_DIRECTORY = 20;
const FILES_PER_BUNDLE = 60;
const ROUNDS = 5;

function sourceTree(count: number): Entry[] {
  const random = randomNumbers(1);
  const entries: Entry[] = [directory('')];
  let bundle = chunkOf('0');
  let used = 0;
  for (let i = 0; entries.length < count; i++) {
    const top = `part-${String(i).padStart(5, '0')}`;
    entries.push(newEntry(top, statOf(0o040755, { ino: BigInt(entries.length) }), { user: 'root', group: 'root' }));
    for (let j = 0; j < FILES_PER_DIRECTORY && entries.length < count; j++) {
      if (entries.length % FILES_PER_BUNDLE === 0) {
        bundle = chunkOf(`${entries.length}`, 2 ** 20);
        used = 0;
      }
      const size = 1 + random(16_000);
      const path = `${top}/module-${j.toString(36).padStart(2, '0')}-${random(10_000)}.c`;
      const stat = statOf(0o100644, { size, ino: BigInt(entries.length), mtimeNs: random(1e9), ctimeNs: random(1e9) });
      const segments = [dataSegment(path, size, bundle, used)];
      entries.push(newEntry(path, stat, { user: 'root', group: 'root', content: { kind: 'segments', segments } }));
      used = Math.min(used + size, 2 ** 20 - 16_000);
    }
  }
  return entries;
}

/** Best of several rounds, in milliseconds: the machine is shared. */
function measure<T>(work: () => T): { ms: number; result: T } {
  let best = Infinity;
  let result = work();
  for (let round = 1; round < ROUNDS; round++) {
    const start = performance.now();
    result = work();
    best = Math.min(best, performance.now() - start);
  }
  return { ms: best, result };
}

function leavesOf(nodes: MemoryNodes): LeafView[] {
  return nodes.leaves().map(({ id, proof, references, payload }) => LeafView.open(id, proof, references, payload));
}

function report(what: string, value: number, unit: string): void {
  console.log(`${what.padEnd(58)} ${value.toFixed(value < 100 ? 1 : 0).padStart(8)} ${unit}`);
}

function main(): void {
  const count = Number(process.argv[2] ?? 200_000);
  const entries = sourceTree(count);
  const nodes = new MemoryNodes();
  const root = nodes.build(entries);

  report(`build ${count} entries`, measure(() => new MemoryNodes().build(entries)).ms, 'ms');
  const passes = measure(() => {
    let same = 0;
    const previous = new PreviousManifest(leavesOf(nodes).values());
    for (let i = 0; previous.valid; previous.advance(), i++) {
      const { stat, path } = entries[i]!;
      if (previous.path === path && sameStat(previous.leaf.stats, previous.index * STAT_BYTES, stat, 0)) same++;
    }
    return same;
  });
  if (passes.result !== count) throw new RangeError(`${passes.result} of ${count} entries were found unchanged`);
  report('go through them: open leaves, paths, compare stat records', passes.ms, 'ms');
  const kept = measure(() => {
    const builder = new ManifestBuilder(new MemoryNodes().ports);
    const previous = new PreviousManifest(leavesOf(nodes).values());
    for (; previous.valid; previous.advance()) builder.keep(previous.leaf, previous.index);
    return builder.finish();
  });
  if (!kept.result.id.equals(root.id)) throw new RangeError('an unchanged manifest came out different');
  report('merge them unchanged into a new manifest', kept.ms, 'ms');
  report('decode and check every field', measure(() => leavesOf(nodes).forEach((leaf) => leaf.check())).ms, 'ms');

  const changed = file(entries[Math.floor(count / 2)]!.path, 10, 1);
  const patch = () => readSync(nodes, buildFromChanges(root, [{ kind: 'put', entry: changed }], nodes.ports));
  const patched = measure(patch);
  report('put one change into it', patched.ms, 'ms');
  report('find it by comparing', measure(() => [...streamSync(nodes, diff(root, patched.result))].length).ms, 'ms');

  const stored = (node: { payload: Buffer; references: Buffer }): number => {
    const level = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
    return zstdCompressSync(node.payload, level).length + node.references.length;
  };
  const built = new MemoryNodes();
  built.build(entries);
  const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0);
  report('leaves', built.leaves().length, '');
  report('bytes of an entry, plain', sum(built.emitted.map(({ payload }) => payload.length)) / count, 'bytes');
  report('bytes of an entry, stored (zstd 1, with references)', sum(built.emitted.map(stored)) / count, 'bytes');
}

main();
