import { expect } from 'chai';
import fc from 'fast-check';
import { expectError } from '../../testing/expect-error.ts';
import {
  chunkOf,
  dataSegment,
  directory,
  file,
  MemoryNodes,
  randomTree,
  SMALL_NODES,
  statOf,
} from '../../testing/manifest-trees.ts';
import { ManifestBuilder } from './builder.ts';
import { type Entry, newEntry } from './entry.ts';
import { openInner } from './inner-node.ts';
import type { LeafView } from './leaf-view.ts';
import { MAX_LEAF_ENTRIES, MAX_NODE_PAYLOAD_BYTES, MAX_NODE_PATH_BYTES, MAX_NODE_REFERENCES } from './limits.ts';
import { leaves, lookup } from './reader.ts';
import { readSync, streamSync } from './node-store.ts';

const seeds = fc.integer({ min: 0, max: 2 ** 31 });

function ids(nodes: MemoryNodes): string[] {
  return nodes.emitted.map(({ sealed }) => sealed.id.toString('hex'));
}

function isFile({ content }: Entry): boolean {
  return content.kind === 'segments' && content.segments.length > 0;
}

function manyFiles(count: number): Entry[] {
  const names = Array.from({ length: count }, (_, i) => `f${i}`).toSorted();
  return [directory(''), ...names.map((name) => file(name))];
}

describe('ManifestBuilder', () => {
  it('M1: the same entries give the same nodes', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const [a, b] = [new MemoryNodes(), new MemoryNodes()];
        const entries = randomTree(seed, 3000);
        expect(a.build(entries)).to.deep.equal(b.build(entries));
        expect(ids(a)).to.deep.equal(ids(b));
      }),
      { numRuns: 5 },
    );
  });

  it('M1: keeping leaves gives the same nodes as adding their entries, wherever something else comes in between', () => {
    const touched = fc.array(fc.tuple(fc.nat(300), fc.nat(3)), { maxLength: 8 });
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 300 }), touched, fc.boolean(), (seed, size, touches, hint) => {
        const before = new MemoryNodes();
        before.build(randomTree(seed, size), SMALL_NODES);
        const keeper = new ManifestBuilder(new MemoryNodes().ports, SMALL_NODES);
        const adder = new ManifestBuilder(new MemoryNodes().ports, SMALL_NODES);
        let at = 0;
        for (const leaf of before.leaves()) {
          for (let i = 0; i < leaf.count; i++, at++) {
            const entry = leaf.entry(i);
            const touch = touches.find(([place]) => place === at)?.[1];
            if (touch === 0 && isFile(entry)) continue;
            if (touch === 1 && isFile(entry)) {
              keeper.add(file(entry.path, 5, at), hint && leaf.knownInside(i));
              adder.add(file(entry.path, 5, at));
            } else {
              keeper.keep(leaf, i);
              adder.add(entry);
            }
            if (touch === 2 && isFile(entry)) {
              keeper.add(file(`${entry.path}\x01`, 1));
              adder.add(file(`${entry.path}\x01`, 1));
            }
          }
        }
        expect(keeper.finish()).to.deep.equal(adder.finish());
      }),
      { numRuns: 250 },
    );
  });

  it('M1: an unchanged manifest is kept without sealing one leaf, and tells of each leaf in order', () => {
    const before = new MemoryNodes();
    const root = before.build(randomTree(1, 5000));
    const after = new MemoryNodes();
    const reused: LeafView[] = [];
    const builder = new ManifestBuilder({ ...after.ports, onReusedLeaf: (leaf) => reused.push(leaf) });
    for (const leaf of before.leaves()) for (let i = 0; i < leaf.count; i++) builder.keep(leaf, i);
    expect(builder.finish()).to.deep.equal(root);
    expect(after.emitted.filter(({ kind }) => kind === 'leaf')).to.deep.equal([]);
    expect(reused.map(({ id }) => id)).to.deep.equal(before.leaves().map(({ id }) => id));
  });

  it('M2: changing one entry gives one new leaf and its ancestors', () => {
    const entries = manyFiles(1500);
    const before = new MemoryNodes();
    const root = before.build(entries, SMALL_NODES);
    const known = new Set(ids(before));
    for (let at = 1; at <= 1500; at += 50) {
      const { path } = entries[at]!;
      before.loaded.length = 0;
      readSync(before, lookup(root, path));
      const after = new MemoryNodes();
      after.build(entries.with(at, file(path, 100, 1)), SMALL_NODES);
      const fresh = after.emitted.filter(({ sealed }) => !known.has(sealed.id.toString('hex')));
      expect(fresh.map(({ kind }) => kind)).to.deep.equal(['leaf', ...before.loaded.slice(1).map(() => 'inner')]);
      expect(fresh.length).to.be.at.least(4);
    }
  });

  it('M2: adding or removing an entry gives at most two other leaves', () => {
    const entries = manyFiles(20_000);
    const before = new MemoryNodes();
    before.build(entries);
    const known = new Set(ids(before));
    for (const at of [1, 500, 9999, 20_000]) {
      const after = new MemoryNodes();
      after.build(entries.toSpliced(at, 1));
      const fresh = after.emitted.filter(
        ({ kind, sealed }) => kind === 'leaf' && !known.has(sealed.id.toString('hex')),
      );
      expect(fresh.length).to.be.within(0, 2);
    }
  });

  it('25: a directory of 100,000 files is no special case, with about 512 entries a leaf', () => {
    const nodes = new MemoryNodes();
    const root = nodes.build(manyFiles(100_000));
    expect(root.entries).to.equal(100_001);
    expect(root.totalBytes).to.equal(10_000_000);
    const all = [...streamSync(nodes, leaves(root))];
    expect(all.reduce((sum, leaf) => sum + leaf.count, 0)).to.equal(100_001);
    expect(100_001 / all.length).to.be.within(400, 650);
  });

  const heavy: [string, number, (name: string) => Entry][] = [
    [
      'xattrs of 4 KiB',
      3000,
      (name) => ({ ...file(name), xattrs: { kind: 'inline', list: [{ name: 'u', value: Buffer.alloc(4095, name) }] } }),
    ],
    [
      '8 chunks each',
      5000,
      (name) =>
        newEntry(name, statOf(0o100644, { size: 8 }), {
          content: {
            kind: 'segments',
            segments: Array.from({ length: 8 }, (_, i) => dataSegment(name, 1, chunkOf(`${name}${i}`))),
          },
        }),
    ],
    ['nothing but a name', 30_000, (name) => newEntry(name, statOf(0o010644))],
  ];
  for (const [what, count, make] of heavy) {
    it(`M3: no leaf is beyond its limits with entries of ${what}`, function () {
      const names = Array.from({ length: count }, (_, i) => `n${i}`).toSorted();
      const nodes = new MemoryNodes();
      const root = nodes.build([directory(''), ...names.map(make)]);
      expectBounded(nodes);
      expect([...streamSync(nodes, leaves(root))].reduce((sum, leaf) => sum + leaf.count, 0)).to.equal(count + 1);
    });
  }

  it('M3, 25: no node is beyond its limits with paths of 102,399 bytes', () => {
    const entries = [directory('')];
    for (let depth = 1; depth <= 400; depth++)
      entries.push(directory(Array.from({ length: depth }, () => 'd'.repeat(255)).join('/')));
    const deepest = entries.pop()!.path.slice(0, -255);
    for (let i = 0; i < 600; i++) entries.push(file(`${deepest}f${1000 + i}`));
    const nodes = new MemoryNodes();
    const root = nodes.build(entries);
    expectBounded(nodes);
    const paths = [...streamSync(nodes, leaves(root))].flatMap((leaf) => leaf.paths);
    expect(paths).to.deep.equal(entries.map(({ path }) => path));
  });

  it('M3: an inner node that closed by the rule has two children or more, so every level is smaller than the one below', () => {
    const nodes = new MemoryNodes();
    nodes.build(randomTree(9, 3000), SMALL_NODES);
    const views = nodes.emitted.map(({ sealed, references, payload }) => openInner(sealed.id, references, payload));
    const byRule = views.filter((view) => view?.closing === 1);
    expect(byRule.length).to.be.greaterThan(50);
    for (const view of byRule) expect(view?.count).to.be.at.least(2);
  });

  it('an empty manifest is an empty leaf, and one that ends with a full node has no empty one', () => {
    const nodes = new MemoryNodes();
    expect(nodes.build([])).to.include({ entries: 0, totalBytes: 0 });
    expect(nodes.leaves().map(({ count }) => count)).to.deep.equal([0]);
    const alone = new MemoryNodes();
    const root = alone.build([directory('')]);
    expect(alone.emitted).to.have.length(1);
    expect(root.id).to.deep.equal(alone.emitted[0]!.sealed.id);
  });

  const disorder: [string, string[]][] = [
    ['twice', ['', 'a', 'a']],
    ['backwards', ['', 'b', 'a']],
    ['before the root', ['a']],
    ['without its directory', ['', 'a/b']],
    ['below a file', ['', 'f', 'f/x']],
    ['below a file, deeper', ['', 'd', 'd/f', 'd/f/x']],
    ['with a name that climbs', ['', '..']],
    ['of text, not bytes', ['', '€']],
  ];
  for (const [what, paths] of disorder) {
    it(`M4: refuses an entry ${what}`, () => {
      const builder = new ManifestBuilder(new MemoryNodes().ports);
      const make = (path: string): Entry => (path === '' || path.endsWith('d') ? directory(path) : file(path));
      for (const path of paths.slice(0, -1)) builder.add(make(path));
      expectError(() => builder.add(make(paths.at(-1)!)), 'INVALID_ARGUMENT');
    });
  }

  it('M4: refuses to keep what stands below something that is no directory any more', () => {
    const before = new MemoryNodes();
    before.build([directory(''), directory('d'), file('d/x')]);
    const [leaf] = before.leaves();
    const builder = new ManifestBuilder(new MemoryNodes().ports);
    builder.keep(leaf!, 0);
    builder.add(file('d'));
    expectError(() => builder.keep(leaf!, 2), 'INVALID_ARGUMENT');
  });

  it('I3: every node comes after its children and with the proofs of its references', () => {
    const nodes = new MemoryNodes();
    nodes.build(randomTree(3, 5000));
    const proofs = new Map<string, Buffer>();
    for (const node of nodes.emitted) {
      expect(node.proofs.length).to.equal(node.references.length / 2);
      if (node.kind === 'inner') {
        for (let i = 0; i < node.references.length / 32; i++) {
          const child = node.references.subarray(i * 32, (i + 1) * 32).toString('hex');
          expect(proofs.get(child)).to.deep.equal(Buffer.from(node.proofs.subarray(i * 16, (i + 1) * 16)));
        }
      }
      proofs.set(node.sealed.id.toString('hex'), node.sealed.proof);
    }
  });
});

function expectBounded(nodes: MemoryNodes): void {
  for (const leaf of nodes.leaves()) {
    expect(leaf.count).to.be.at.most(MAX_LEAF_ENTRIES);
    expect(leaf.payload.length).to.be.at.most(MAX_NODE_PAYLOAD_BYTES);
    expect(leaf.references.length / 32).to.be.at.most(MAX_NODE_REFERENCES);
    expect(leaf.paths.reduce((sum, path) => sum + path.length, 0)).to.be.at.most(MAX_NODE_PATH_BYTES);
  }
  for (const { kind, sealed, references, payload } of nodes.emitted) {
    expect(payload.length).to.be.at.most(MAX_NODE_PAYLOAD_BYTES);
    if (kind === 'inner') expect(openInner(sealed.id, references, payload)?.count).to.be.within(1, 4096);
  }
}
