import { expect } from 'chai';
import { comparePaths } from '../../base/byte-string.ts';
import { directory, file, MemoryNodes, randomNumbers, randomTree, SMALL_NODES } from '../../testing/manifest-trees.ts';
import type { Entry } from './entry.ts';
import { type AsyncNodeStore, readAsync, readSync, streamAsync, streamSync, type WantedNode } from './node-store.ts';
import { isWithin } from './paths.ts';
import { children, count, find, leaves, lookup, range, walk } from './reader.ts';
import { S_IFMT, S_IFREG, statMode, statSize } from './stat-record.ts';

const entries = randomTree(11, 12_000);
const nodes = new MemoryNodes();
const root = nodes.build(entries);
const everyNode = nodes.emitted.length;

function pathsOf(found: Iterable<{ readonly path: string }>): string[] {
  return [...found].map(({ path }) => path);
}

/** Directories with much, little and nothing below them, and paths that aren't there. */
function someTops(): string[] {
  const random = randomNumbers(5);
  return ['', 'a', 'zzz', ...Array.from({ length: 40 }, () => entries[random(entries.length)]!.path)];
}

describe('reading a manifest', () => {
  it('looks up every path, and finds no other', () => {
    const random = randomNumbers(1);
    for (let i = 0; i < 300; i++) {
      const { path } = entries[random(entries.length)]!;
      const found = readSync(nodes, lookup(root, path));
      expect(found?.leaf.entry(found.index).path).to.equal(path);
      expect(readSync(nodes, lookup(root, `${path}\x01`))).to.equal(undefined);
      expect(readSync(nodes, lookup(root, `${path}~~`))).to.equal(undefined);
    }
  });

  it('reads one node a level for a lookup', () => {
    nodes.loaded.length = 0;
    readSync(nodes, lookup(root, entries[6000]!.path));
    expect(nodes.loaded.length).to.be.at.most(3);
  });

  it('walks a subtree in manifest order, all and nothing else', () => {
    for (const top of someTops()) {
      const expected = entries.filter(({ path }) => isWithin(path, top)).map(({ path }) => path);
      expect(pathsOf(streamSync(nodes, walk(root, top)))).to.deep.equal(expected);
    }
  });

  it('reads a range from its first path to before its end', () => {
    const from = entries[100]!.path;
    const until = entries[7000]!.path;
    const expected = entries.slice(100, 7000).map(({ path }) => path);
    expect(pathsOf(streamSync(nodes, range(root, from, until)))).to.deep.equal(expected);
    expect(pathsOf(streamSync(nodes, range(root, '\xff\xff', undefined)))).to.deep.equal([]);
  });

  it('lists the children of a directory, from any name on', () => {
    for (const top of someTops()) {
      const expected = entries.filter(({ path }) => path !== '' && parentOf(path) === top).map(({ path }) => path);
      expect(pathsOf(streamSync(nodes, children(root, top)))).to.deep.equal(expected);
      const middle = expected[Math.floor(expected.length / 2)];
      if (middle === undefined) continue;
      const after = middle.slice(top === '' ? 0 : top.length + 1);
      const rest = expected.slice(Math.floor(expected.length / 2) + 1);
      expect(pathsOf(streamSync(nodes, children(root, top, after)))).to.deep.equal(rest);
    }
  });

  it('lists a directory without reading what is below its subdirectories', () => {
    const wide: Entry[] = [directory('')];
    for (const name of ['a', 'b', 'c']) {
      wide.push(directory(name));
      for (let i = 0; i < 9000; i++) wide.push(file(`${name}/${10_000 + i}`));
    }
    const store = new MemoryNodes();
    const top = store.build(wide);
    expect(pathsOf(streamSync(store, children(top, '')))).to.deep.equal(['a', 'b', 'c']);
    expect(store.loaded.length).to.be.at.most(10);
    expect(store.emitted.length).to.be.greaterThan(40);
  });

  it('counts entries and bytes of a subtree, from inner nodes where it can', () => {
    for (const top of someTops()) {
      const within = entries.filter(({ path }) => isWithin(path, top));
      const totalBytes = within
        .filter(({ stat }) => (statMode(stat) & S_IFMT) === S_IFREG)
        .reduce((sum, { stat }) => sum + statSize(stat), 0);
      expect(readSync(nodes, count(root, top))).to.deep.equal({ entries: within.length, totalBytes });
    }
    nodes.loaded.length = 0;
    expect(readSync(nodes, count(root))).to.deep.equal({ entries: root.entries, totalBytes: root.totalBytes });
    expect(nodes.loaded).to.have.length(1);
  });

  it('finds what a predicate says', () => {
    const found = pathsOf(
      streamSync(
        nodes,
        find(root, '', ({ path }) => path.endsWith('.c')),
      ),
    );
    expect(found).to.deep.equal(entries.filter(({ path }) => path.endsWith('.c')).map(({ path }) => path));
  });

  it('walks, lists and counts in trees of many levels, too', () => {
    for (let seed = 0; seed < 20; seed++) {
      const small = randomTree(seed, 300);
      const store = new MemoryNodes();
      const top = store.build(small, SMALL_NODES);
      for (const { path } of small) {
        const within = small.filter((entry) => isWithin(entry.path, path)).map((entry) => entry.path);
        expect(pathsOf(streamSync(store, walk(top, path)))).to.deep.equal(within);
        expect(readSync(store, count(top, path)).entries).to.equal(within.length);
        const listed = within.filter((each) => each !== '' && parentOf(each) === path);
        expect(pathsOf(streamSync(store, children(top, path)))).to.deep.equal(listed.filter((each) => each !== path));
      }
    }
  });

  it('gives the same over an asynchronous store, which is told what comes next and who refers to it', async () => {
    const expected = new Set<string>();
    const wants: WantedNode[] = [];
    let announced = 0;
    const store: AsyncNodeStore = {
      load: async (wanted) => {
        wants.push(wanted);
        if (expected.has(wanted.id.toString('hex'))) announced++;
        return Promise.resolve(nodes.load(wanted));
      },
      expect: (next) => next.forEach(({ id }) => expected.add(id.toString('hex'))),
    };
    const walked: string[] = [];
    for await (const { path } of streamAsync(store, walk(root))) walked.push(path);
    expect(walked).to.deep.equal(entries.map(({ path }) => path));
    expect(wants).to.have.length(everyNode);
    expect(announced).to.be.at.least(everyNode - 4);
    for (const { id, parent, index, proof } of wants.slice(1)) {
      const { references } = nodes.nodes.get(parent!.toString('hex'))!;
      expect(references.subarray(index * 32, (index + 1) * 32)).to.deep.equal(id);
      expect(proof).to.have.length(16);
    }
    const found = await readAsync(store, lookup(root, entries[3]!.path));
    expect(found?.path).to.equal(entries[3]!.path);
  });

  it('reads an empty manifest', () => {
    const store = new MemoryNodes();
    const empty = store.build([]);
    expect([...streamSync(store, walk(empty))]).to.deep.equal([]);
    expect(pathsOf(streamSync(store, children(empty, '')))).to.deep.equal([]);
    expect(readSync(store, lookup(empty, ''))).to.equal(undefined);
    expect(readSync(store, count(empty))).to.deep.equal({ entries: 0, totalBytes: 0 });
  });

  it('40: refuses nodes that are not what their parent says', () => {
    const leaf = nodes.emitted.filter(({ kind }) => kind === 'leaf');
    const inner = nodes.emitted.findLast(({ kind }) => kind === 'inner')!;
    const answers = [leaf[5]!, leaf[0]!, inner];
    for (const answer of answers) {
      const hostile = { load: (wanted: WantedNode) => (wanted.parent === undefined ? nodes.load(wanted) : answer) };
      expect(() => [...streamSync(hostile, leaves(root))])
        .to.throw('manifest node')
        .with.property('code', 'DAMAGED');
    }
    expect(() => [...streamSync({ load: () => leaf[5]! }, leaves(root))]).to.throw('begin with its root');
  });

  it('order of the test tree is manifest order', () => {
    expect(entries.every(({ path }, i) => i === 0 || comparePaths(entries[i - 1]!.path, path) < 0)).to.equal(true);
  });
});

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
