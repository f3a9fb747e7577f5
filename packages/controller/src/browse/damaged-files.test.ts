import { newEntry, type Entry } from '@holdfast/shared/format/manifest/entry';
import { ContentBuilder } from '@holdfast/shared/format/manifest/segment-tree';
import { chunkOf, dataSegment, directory, file, statOf } from '@holdfast/shared/testing/manifest-trees';
import { expect } from 'chai';

import { SealedSnapshots } from '../testing/sealed-snapshots.ts';
import { damagedFilesOf } from './damaged-files.ts';

const bundles = Array.from({ length: 5 }, (_, i) => chunkOf(`bundle ${i}`));
const hex = (id: Uint8Array): string => Buffer.from(id).toString('hex');
const COUNT = 5000;

/** Each thousand in a bundle of its own; 'huge' in a segment tree of 3,000 chunks; one whose xattrs are in a chunk. */
function tree(sealed: SealedSnapshots): Entry[] {
  const small = Array.from({ length: COUNT }, (_, i) => {
    const path = `f${String(i).padStart(4, '0')}`;
    return file(path, 100, 0, bundles[Math.floor(i / 1000)]);
  });
  const content = new ContentBuilder(sealed.ports);
  for (let i = 0; i < 3000; i++) content.add(dataSegment(`huge ${i}`, 1000, chunkOf(`huge ${i}`, 1000)));
  const huge = newEntry('huge', statOf(0o100644, { size: 3_000_000 }), { content: content.finish() });
  const segment = dataSegment('xattrs', 5000, chunkOf('xattrs', 5000)) as Extract<
    ReturnType<typeof dataSegment>,
    { kind: 'data' }
  >;
  const tagged = newEntry('tagged', statOf(0o100644), { xattrs: { kind: 'chunk', segment } });
  return [directory(''), ...small, huge, tagged];
}

describe('damaged files', () => {
  let sealed: SealedSnapshots;
  let snapshotId: Buffer;

  beforeEach(() => {
    sealed = new SealedSnapshots();
    const entries = tree(sealed);
    snapshotId = sealed.build(entries);
  });
  const describeWith = async (objectIds: readonly string[], limits = { files: 2000, nodes: 1000 }) =>
    await damagedFilesOf(sealed.deps, limits)({ domainId: sealed.domain.id, snapshotId, objectIds });

  it('are all that need a lost chunk: of a bundle, of a segment tree, of xattrs, and no other', async () => {
    const inBundle = await describeWith([hex(bundles[2]!.id)]);
    expect(inBundle?.more).to.equal(false);
    expect(inBundle?.named.map(({ path }) => path)).to.deep.equal(
      Array.from({ length: 1000 }, (_, i) => `f${2000 + i}`),
    );
    const others = await describeWith([hex(chunkOf('huge 2999', 1000).id), hex(chunkOf('xattrs', 5000).id)]);
    expect(others?.named.map(({ path }) => path)).to.deep.equal(['huge', 'tagged']);
    expect(await describeWith(['00'.repeat(32)])).to.deep.equal({ named: [], more: false });
  });

  it('behind a lost leaf are counted from its first path on; a lost root or record is all', async () => {
    const leaf = sealed.leaves()[3]!;
    sealed.objects.delete(hex(leaf.id));
    const behind = await describeWith([hex(leaf.id)]);
    expect(behind?.named).to.deep.equal([{ path: leaf.path(0), others: leaf.count - 1 }]);
    for (const id of [sealed.emitted.at(-1)!.sealed.id, snapshotId]) {
      sealed.objects.delete(hex(id));
      expect((await describeWith([hex(id)]))?.named).to.deep.equal([{ path: '', others: 'all' }]);
    }
  });

  it('behind a lost node of their segment tree are named', async () => {
    sealed = new SealedSnapshots();
    const entries = tree(sealed);
    const node = sealed.emitted.find(({ kind }) => kind === 'segments')!.sealed.id;
    snapshotId = sealed.build(entries);
    sealed.objects.delete(hex(node));
    expect((await describeWith([hex(node)]))?.named).to.deep.equal([{ path: 'huge', others: 0 }]);
  });

  it('are named up to a bound, of names and of nodes that are read, and that there may be more is said', async () => {
    const few = await describeWith([hex(bundles[0]!.id)], { files: 7, nodes: 1000 });
    expect(few?.named).to.have.length(7);
    expect(few?.more).to.equal(true);
    sealed.read.length = 0;
    const early = await describeWith([hex(bundles[4]!.id)], { files: 7, nodes: 4 });
    expect(early).to.deep.equal({ named: [], more: true });
    expect(sealed.read.length).to.be.at.most(6);
  });

  it('of a further snapshot cost only what it does not share, and what is lost later is seen', async () => {
    const first = snapshotId;
    const changed = tree(sealed);
    changed[1] = file('f0000', 100, 1, bundles[0]);
    const second = sealed.build(changed);
    const describeFiles = damagedFilesOf(sealed.deps);
    const ask = async (id: Buffer, objectIds: string[]) =>
      await describeFiles({ domainId: sealed.domain.id, snapshotId: id, objectIds });
    const lost = [hex(chunkOf('xattrs', 5000).id)];
    expect((await ask(first, lost))?.named).to.deep.equal([{ path: 'tagged', others: 0 }]);
    const nodes = sealed.read.length;
    expect((await ask(second, lost))?.named).to.deep.equal([{ path: 'tagged', others: 0 }]);
    expect(sealed.read.length - nodes).to.be.lessThan(nodes / 2);
    const more = await ask(second, [...lost, hex(bundles[1]!.id)]);
    expect(more?.named[0]).to.deep.equal({ path: 'f1000', others: 0 });
    expect(more?.more).to.equal(true);
  });

  it('of a sealed domain nobody here can name', async () => {
    const describeFiles = damagedFilesOf(sealed.deps);
    expect(await describeFiles({ domainId: 'another', snapshotId, objectIds: [] })).to.equal(undefined);
  });
});
