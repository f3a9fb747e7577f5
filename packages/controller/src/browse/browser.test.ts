import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';
import type { Entry } from '@holdfast/shared/format/manifest/entry';
import { directory, file } from '@holdfast/shared/testing/manifest-trees';
import { expect } from 'chai';

import { SealedSnapshots } from '../testing/sealed-snapshots.ts';
import { codeOf } from '../testing/vault-fixture.ts';
import { openBrowser, type Browser } from './browser.ts';
import { compileGlob } from './glob.ts';

/** A name that is no UTF-8, as bytes. */
const LATIN = 'caf\xe9';
const WIDE = 10_000;

function tree(): Entry[] {
  const wide = Array.from({ length: WIDE }, (_, i) => file(`wide/${String(i).padStart(5, '0')}.c`));
  return [
    directory(''),
    file('a.txt'),
    directory(LATIN),
    file(`${LATIN}/\xff\xfe.txt`),
    directory('deep'),
    directory('deep/er'),
    file('deep/er/x.txt'),
    file('deep/y!'),
    directory('wide'),
    ...wide,
    file('zoo'),
  ].toSorted((a, b) => comparePaths(a.path, b.path));
}

async function pathsOf(found: AsyncIterable<{ readonly path: ByteString }>): Promise<ByteString[]> {
  const paths: ByteString[] = [];
  for await (const { path } of found) paths.push(path);
  return paths;
}

async function firstOf<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const first: T[] = [];
  for await (const item of items) if (first.push(item) === count) break;
  return first;
}

describe('browsing a snapshot', () => {
  let sealed: SealedSnapshots;
  let browser: Browser;
  let id: Buffer;
  let nodes: number;
  const entries = tree();
  const all = entries.map(({ path }) => path);

  beforeEach(async () => {
    sealed = new SealedSnapshots();
    id = sealed.build(entries);
    nodes = sealed.emitted.length;
    browser = await openBrowser(sealed.deps, sealed.domain);
  });

  it('lists a directory, an entry that is none, everything, and what is below a directory', async () => {
    const listed = async (path: string, recursive = false) => await pathsOf(browser.entries(id, path, recursive));
    expect(await listed('')).to.deep.equal(['a.txt', LATIN, 'deep', 'wide', 'zoo']);
    expect(await listed('deep')).to.deep.equal(['deep/er', 'deep/y!']);
    expect(await listed('deep/er/x.txt')).to.deep.equal(['deep/er/x.txt']);
    expect(await listed(LATIN)).to.deep.equal([`${LATIN}/\xff\xfe.txt`]);
    expect(await listed('', true)).to.deep.equal(all);
    expect(await listed('deep', true)).to.deep.equal(['deep', 'deep/er', 'deep/er/x.txt', 'deep/y!']);
    expect(await listed('wide')).to.have.length(WIDE);
    expect((await browser.record(id)).hostId).to.equal('host');
  });

  it('says so when there is no such path, in either kind of listing', async () => {
    for (const path of ['nothing', 'deep/e', 'a.txt/b', 'caf\xc3\xa9']) {
      for (const recursive of [false, true]) {
        expect(await codeOf(pathsOf(browser.entries(id, path, recursive))), path).to.equal('NOT_FOUND');
      }
    }
  });

  it('finds by globs, names that are no UTF-8 among them', async () => {
    const found = async (glob: string) => await pathsOf(browser.find(id, compileGlob(glob)));
    expect(await found('x.txt')).to.deep.equal(['deep/er/x.txt']);
    expect(await found('*.txt')).to.deep.equal(['a.txt', `${LATIN}/\xff\xfe.txt`, 'deep/er/x.txt']);
    expect(await found('wide/0999*')).to.have.length(10);
    expect(await found('nothing*')).to.deep.equal([]);
  });

  it('names what differs, and reads only the nodes that do', async () => {
    const changed = entries.filter(({ path }) => path !== 'deep/y!');
    const at = changed.findIndex(({ path }) => path === 'wide/05000.c');
    changed[at] = file('wide/05000.c', 100, 1);
    changed.push(file('zoo-new'));
    const later = sealed.build(changed.toSorted((a, b) => comparePaths(a.path, b.path)));
    sealed.read.length = 0;
    const differences: string[] = [];
    for await (const { kind, path } of browser.diff(id, later)) differences.push(`${kind} ${path}`);
    expect(differences).to.deep.equal(['removed deep/y!', 'content wide/05000.c', 'added zoo-new']);
    // Of each snapshot: record, root, and at most the three leaves that differ with their neighbours.
    expect(sealed.read.length).to.be.lessThan(nodes);
    expect(await pathsOf(browser.diff(id, id))).to.deep.equal([]);
  });

  it('reads nodes as they are asked for, and no more than a listing needs', async () => {
    await firstOf(browser.entries(id, '', true), 10);
    expect(sealed.read.length).to.be.at.most(3);
    sealed.read.length = 0;
    await firstOf(
      browser.find(id, () => true),
      10,
    );
    expect(sealed.read.length).to.be.at.most(3);
    sealed.read.length = 0;
    // The 10,000 of `wide` are jumped over.
    await pathsOf(browser.entries(id, '', false));
    expect(nodes).to.be.greaterThan(12);
    expect(sealed.read.length).to.be.at.most(6);
    sealed.read.length = 0;
    await pathsOf(browser.entries(id, '', true));
    expect(sealed.read).to.have.length(nodes + 1);
    expect(new Set(sealed.read).size).to.equal(nodes + 1);
  });

  it('a damaged or missing node in the middle fails the listing after what came before it; the rest can be read', async () => {
    const leaves = sealed.leaves();
    const middle = leaves[Math.floor(leaves.length / 2)]!;
    const key = middle.id.toString('hex');
    const good = Buffer.from(sealed.objects.get(key)!);
    for (const damage of ['flipped', 'missing'] as const) {
      sealed.objects.delete(key);
      const flipped = Buffer.from(good);
      flipped[good.length - 20]! ^= 1;
      if (damage === 'flipped') sealed.objects.set(key, flipped);
      const code = damage === 'flipped' ? 'DAMAGED' : 'NOT_FOUND';

      const before: string[] = [];
      const listing = (async () => {
        for await (const { path } of browser.entries(id, '', true)) before.push(path);
      })();
      expect(await codeOf(listing)).to.equal(code);
      expect(before).to.deep.equal(all.slice(0, all.indexOf(middle.path(0))));
      expect(await codeOf(pathsOf(browser.find(id, () => false)))).to.equal(code);
      expect(await codeOf(pathsOf(browser.entries(id, 'wide', false)))).to.equal(code);
      expect(await pathsOf(browser.entries(id, 'zoo', false))).to.deep.equal(['zoo']);
      expect(await pathsOf(browser.entries(id, 'deep', true))).to.have.length(4);
    }
  });

  it('a sealed domain is not browsed: its key is not here', async () => {
    const foreign = openBrowser(sealed.deps, { ...sealed.domain, id: 'another', managed: false });
    expect(await codeOf(foreign)).to.equal('FAILED_PRECONDITION');
  });
});
