import { expect } from 'chai';
import fc from 'fast-check';
import { comparePaths } from '../../base/byte-string.ts';
import { expectError } from '../../testing/expect-error.ts';
import {
  directory,
  file,
  MemoryNodes,
  randomEntry,
  randomNumbers,
  randomTree,
  SMALL_NODES,
} from '../../testing/manifest-trees.ts';
import { buildFromChanges, type Change } from './changes.ts';
import { compareEntries, diff, type Difference } from './diff.ts';
import type { Entry } from './entry.ts';
import { readSync, streamSync } from './node-store.ts';
import { isWithin, parentPath } from './paths.ts';
import { S_IFDIR, S_IFMT, statMode } from './stat-record.ts';

const seeds = fc.integer({ min: 0, max: 2 ** 31 });

function isDirectory({ stat }: Entry): boolean {
  return (statMode(stat) & S_IFMT) === S_IFDIR;
}

/** Random changes that are allowed, in order, and what the entries are afterwards: the model. */
function someChanges(entries: readonly Entry[], seed: number, howMany: number): { changes: Change[]; after: Entry[] } {
  const random = randomNumbers(seed);
  const wanted = new Map<string, Change>();
  for (let i = 0; i < howMany; i++) {
    const { path } = entries[random(entries.length)]!;
    const kind = random(10);
    if (kind < 3 && path !== '') wanted.set(path, { kind: 'remove', path });
    else if (kind < 7 && path !== '') wanted.set(path, { kind: 'put', entry: randomEntry(random, path) });
    else if (kind < 8) wanted.set(path, { kind: 'put', entry: directory(path) });
    else {
      const entry = file(`${path === '' ? '' : `${path}/`}new${random(1000)}`);
      wanted.set(entry.path, { kind: 'put', entry });
    }
  }
  // A run of neighbours goes, too: that moves the boundaries of every level.
  const from = 1 + random(entries.length);
  const run = random(3) === 0 ? random(entries.length) : 0;
  for (const { path } of entries.slice(from, from + run)) wanted.set(path, { kind: 'remove', path });
  const after = new Map(entries.map((entry) => [entry.path, entry]));
  const changes: Change[] = [];
  for (const change of [...wanted.values()].toSorted((a, b) => comparePaths(pathOf(a), pathOf(b)))) {
    const path = pathOf(change);
    const parent = parentPath(path);
    const above = parent === undefined ? undefined : after.get(parent);
    if (change.kind === 'put' && parent !== undefined && (above === undefined || !isDirectory(above))) continue;
    changes.push(change);
    if (change.kind === 'remove' || !isDirectory(change.entry)) {
      for (const each of after.keys()) if (isWithin(each, path)) after.delete(each);
    }
    if (change.kind === 'put') after.set(path, change.entry);
  }
  return { changes, after: [...after.values()].toSorted((a, b) => comparePaths(a.path, b.path)) };
}

function pathOf(change: Change): string {
  return change.kind === 'put' ? change.entry.path : change.path;
}

describe('build from changes', () => {
  it('M1: gives the very nodes that a walk of the same entries gives', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 400 }), fc.integer({ min: 0, max: 12 }), (seed, size, howMany) => {
        const entries = randomTree(seed, size);
        const { changes, after } = someChanges(entries, seed + 1, howMany);
        const nodes = new MemoryNodes();
        const base = nodes.build(entries, SMALL_NODES);
        const root = readSync(nodes, buildFromChanges(base, changes, nodes.ports, SMALL_NODES));
        expect(root).to.deep.equal(new MemoryNodes().build(after, SMALL_NODES));
      }),
      { numRuns: 500 },
    );
  });

  it('M1: in nodes of the size that the format has, too', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 6000 }), fc.integer({ min: 0, max: 60 }), (seed, size, howMany) => {
        const entries = randomTree(seed, size);
        const { changes, after } = someChanges(entries, seed + 1, howMany);
        const nodes = new MemoryNodes();
        const root = readSync(nodes, buildFromChanges(nodes.build(entries), changes, nodes.ports));
        expect(root).to.deep.equal(new MemoryNodes().build(after));
      }),
      { numRuns: 15 },
    );
  });

  it('M2: reads and writes one leaf and its ancestors for one change', () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `f${i}`).toSorted();
    const nodes = new MemoryNodes();
    const base = nodes.build([directory(''), ...names.map((name) => file(name))]);
    nodes.emitted.length = 0;
    nodes.loaded.length = 0;
    const entry = file('f50000', 10, 2);
    readSync(nodes, buildFromChanges(base, [{ kind: 'put', entry }], nodes.ports));
    expect(nodes.emitted.filter(({ kind }) => kind === 'leaf')).to.have.length(1);
    expect(nodes.emitted.length).to.be.at.most(4);
    expect(new Set(nodes.loaded).size).to.be.at.most(7);
  });

  it('M1: with no changes gives the same root', () => {
    for (const size of [1, 2, 500, 5000]) {
      const nodes = new MemoryNodes();
      const base = nodes.build(randomTree(size, size));
      expect(readSync(nodes, buildFromChanges(base, [], nodes.ports))).to.deep.equal(base);
    }
  });

  it('removes everything, and begins from nothing', () => {
    const nodes = new MemoryNodes();
    const base = nodes.build(randomTree(3, 3000));
    const empty = nodes.build([]);
    expect(readSync(nodes, buildFromChanges(base, [{ kind: 'remove', path: '' }], nodes.ports))).to.deep.equal(empty);
    const entries = randomTree(4, 3000);
    const puts = entries.map((entry): Change => ({ kind: 'put', entry }));
    expect(readSync(nodes, buildFromChanges(empty, puts, nodes.ports))).to.deep.equal(nodes.build(entries));
  });

  it('22: a directory that became a file loses what was below it; a file that became a directory gets it', () => {
    const nodes = new MemoryNodes();
    const base = nodes.build([directory(''), directory('d'), file('d/x'), file('f')]);
    const changes: Change[] = [
      { kind: 'put', entry: file('d') },
      { kind: 'put', entry: directory('f') },
      { kind: 'put', entry: file('f/y') },
    ];
    const expected = nodes.build([directory(''), file('d'), directory('f'), file('f/y')]);
    expect(readSync(nodes, buildFromChanges(base, changes, nodes.ports))).to.deep.equal(expected);
  });

  it('refuses changes out of order, twice, or below something that is no directory', () => {
    const nodes = new MemoryNodes();
    const base = nodes.build([directory(''), directory('d'), file('d/x'), file('f')]);
    const put = (entry: Entry): Change => ({ kind: 'put', entry });
    const bad: Change[][] = [
      [put(file('b')), put(file('a'))],
      [put(file('a')), { kind: 'remove', path: 'a' }],
      [put(file('f/y'))],
      [put(file('new/y'))],
      [{ kind: 'remove', path: 'd' }, put(file('d/y'))],
      [put(file('d')), put(file('d/y'))],
      [{ kind: 'remove', path: 'd' }, put(directory('d/y')), put(file('d/y/z'))],
    ];
    for (const changes of bad) {
      expectError(() => readSync(nodes, buildFromChanges(base, changes, nodes.ports)), 'INVALID_ARGUMENT');
    }
    expectError(() => readSync(nodes, buildFromChanges(base, [put(file('../x'))], nodes.ports)), 'PATH_ESCAPES');
  });
});

describe('difference of two manifests', () => {
  it('is what a comparison of all entries gives', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 400 }), fc.integer({ min: 0, max: 12 }), (seed, size, howMany) => {
        const before = randomTree(seed, size);
        const { after } = someChanges(before, seed + 1, howMany);
        const nodes = new MemoryNodes();
        const found = [...streamSync(nodes, diff(nodes.build(before, SMALL_NODES), nodes.build(after, SMALL_NODES)))];
        expect(found.map(({ kind, path }) => `${kind} ${path}`)).to.deep.equal(compared(before, after));
        found.forEach(expectPlaced);
      }),
      { numRuns: 250 },
    );
  });

  it('reads only nodes that differ', () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `f${i}`).toSorted();
    const entries = [directory(''), ...names.map((name) => file(name))];
    const nodes = new MemoryNodes();
    const before = nodes.build(entries);
    for (const changed of [
      entries.with(50_000, file(entries[50_000]!.path, 10, 1)),
      entries.toSpliced(70_000, 1),
      entries.toSpliced(30_000, 0, file(`${entries[29_999]!.path}~`)),
    ]) {
      const after = nodes.build(changed);
      nodes.loaded.length = 0;
      expect([...streamSync(nodes, diff(before, after))]).to.have.length(1);
      expect(nodes.loaded.length).to.be.at.most(12);
    }
    nodes.loaded.length = 0;
    expect([...streamSync(nodes, diff(before, before))]).to.deep.equal([]);
    expect(nodes.loaded).to.deep.equal([]);
  });

  it('tells a changed type, changed bytes and changed metadata apart', () => {
    const nodes = new MemoryNodes();
    const text = file('f', 10);
    const kindOf = (after: Entry): string | undefined => {
      const roots = [text, after].map((entry) => nodes.build([directory(''), entry]));
      return [...streamSync(nodes, diff(roots[0]!, roots[1]!))][0]?.kind;
    };
    expect(kindOf(directory('f'))).to.equal('type');
    expect(kindOf(file('f', 11))).to.equal('content');
    expect(kindOf({ ...text, content: file('f', 10, 3).content })).to.equal('content');
    expect(kindOf({ ...text, user: 'x' })).to.equal('metadata');
    expect(kindOf({ ...text, xattrs: { kind: 'inline', list: [{ name: 'a', value: Buffer.alloc(1) }] } })).to.equal(
      'metadata',
    );
    expect(kindOf({ ...text, content: moved(text) }), 'a chunk elsewhere').to.equal(undefined);
  });
});

/** The same bytes in another chunk. */
function moved(entry: Entry): Entry['content'] {
  const [segment] = entry.content.kind === 'segments' ? entry.content.segments : [];
  if (segment?.kind !== 'data') return expect.fail('no data');
  return { kind: 'segments', segments: [{ ...segment, chunk: { ...segment.chunk, id: Buffer.alloc(32, 9) } }] };
}

function compared(before: readonly Entry[], after: readonly Entry[]): string[] {
  const old = new Map(before.map((entry) => [entry.path, entry]));
  const now = new Map(after.map((entry) => [entry.path, entry]));
  const paths = [...new Set([...old.keys(), ...now.keys()])].toSorted(comparePaths);
  return paths.flatMap((path) => {
    const [a, b] = [old.get(path), now.get(path)];
    const kind = a === undefined ? 'added' : b === undefined ? 'removed' : compareEntries(a, b);
    return kind === undefined ? [] : [`${kind} ${path}`];
  });
}

function expectPlaced(difference: Difference): void {
  if ('before' in difference) expect(difference.before.leaf.path(difference.before.index)).to.equal(difference.path);
  if ('after' in difference) expect(difference.after.leaf.path(difference.after.index)).to.equal(difference.path);
}
