import { expect } from 'chai';
import { ManifestNode } from '../../rpc/gen/holdfast/v1/manifest.ts';
import { chunkOf, dataSegment, directory, file, MemoryNodes, statOf } from '../../testing/manifest-trees.ts';
import { type Entry, newEntry, type Xattr } from './entry.ts';
import { everyKindOfEntry, someSegmentTree as tree } from '../../testing/manifest-entries.ts';
import { LeafView } from './leaf-view.ts';
import { decodeXattrs, encodeXattrs, inlineXattrs } from './xattrs.ts';

/** An entry without what only reading adds: where its references stand. */
function plain(entry: Entry): unknown {
  const text = JSON.stringify(entry, (key, value: unknown) => (key === 'node' || key === 'index' ? undefined : value));
  return JSON.parse(text);
}

function leafOf(entries: readonly Entry[]): LeafView {
  const nodes = new MemoryNodes();
  nodes.build(entries);
  const [leaf] = nodes.leaves();
  if (leaf === undefined) throw new RangeError('no leaf');
  return leaf;
}

describe('manifest leaf', () => {
  it('24, 26–33: gives back every field of every type', () => {
    const entries = everyKindOfEntry();
    const leaf = leafOf(entries);
    expect(leaf.count).to.equal(entries.length);
    entries.forEach((entry, i) => {
      expect(plain(leaf.entry(i)), entry.path).to.deep.equal(plain(entry));
    });
  });

  it('29: gives back xattrs of 4 KiB, and 100 of them, and refuses a byte more', () => {
    const largest: Xattr[] = [{ name: 'user.x', value: Buffer.alloc(4090, 1) }];
    const many = Array.from({ length: 100 }, (_, i) => ({ name: `user.${i}`, value: Buffer.alloc(i % 30, i) }));
    for (const list of [largest, many]) {
      const xattrs = inlineXattrs(list);
      if (xattrs?.kind !== 'inline') throw new RangeError('not inline');
      const leaf = leafOf([directory(''), { ...file('a'), xattrs }]);
      expect(leaf.entry(1).xattrs).to.deep.equal(xattrs);
      expect(decodeXattrs(encodeXattrs(list))).to.deep.equal(xattrs.list);
    }
    const beyond = [{ name: 'user.x', value: Buffer.alloc(4091) }];
    expect(inlineXattrs(beyond)).to.equal(undefined);
    expect(() => leafOf([directory(''), { ...file('a'), xattrs: { kind: 'inline', list: beyond } }])).to.throw(
      'too long',
    );
  });

  it('says where each reference stands, and stores a chunk once however many files are in it', () => {
    const bundle = chunkOf('bundle');
    const leaf = leafOf([
      directory(''),
      file('a', 10, 0, bundle),
      file('b', 10, 0, chunkOf('other')),
      file('c', 10, 0, bundle),
    ]);
    expect(leaf.references).to.have.length(64);
    const segment = (i: number): unknown => {
      const content = leaf.content(i);
      const [only] = content.kind === 'segments' ? content.segments : [];
      return only?.kind === 'data' ? only.chunk.index : undefined;
    };
    expect([segment(1), segment(2), segment(3)]).to.deep.equal([0, 1, 0]);
  });

  it('is, byte for byte, what the generated encoder makes, and the generated decoder reads the same', () => {
    const leaf = leafOf(everyKindOfEntry());
    const { node } = ManifestNode.decode(leaf.payload);
    expect(Buffer.from(ManifestNode.encode({ node }).finish())).to.deep.equal(leaf.payload);
    if (node?.$case !== 'leaf') throw new RangeError('no leaf');
    const { value } = node;
    expect(value.count).to.equal(leaf.count);
    expect(value.stats).to.deep.equal(leaf.stats);
    expect(value.linkTarget.map((target) => target.toString('latin1'))).to.deep.equal([leaf.entry(1).linkTarget]);
    expect(value.xattrSets).to.have.length(2);
    expect(value.treeSegments).to.deep.equal([2n ** 33n]);
    expect(value.references?.plainLength).to.deep.equal([1 << 20, 4096, 3 * 8192, 0, 8192, 0, 5000]);
    expect(value.references).to.deep.include({ paged: [2, 4], pageTagNode: [3, 3], pageTagList: [0, 1] });
  });

  it('tells the latest ctime and the bytes of its files', () => {
    const leaf = leafOf([
      directory(''),
      newEntry('a', statOf(0o010000, { ctimeSeconds: 1_800_000_000, ctimeNs: 5, size: 99 })),
      { ...file('b', 70), stat: statOf(0o100000, { size: 70, ctimeSeconds: 1_800_000_000, ctimeNs: 6 }) },
    ]);
    expect(leaf.maxCtime).to.deep.equal({ seconds: 1_800_000_000, ns: 6 });
    expect(leaf.totalBytes).to.equal(70);
  });

  const size = (entry: Entry, bytes: number): Entry => ({ ...entry, stat: statOf(0o100644, { size: bytes }) });
  const data = dataSegment('x', 10, chunkOf('c', 100), 95);
  const refused: [string, Entry][] = [
    ['segments that do not add up to the size', size(file('a', 10), 11)],
    ['a file without its content', size(file('a', 0), 1)],
    ['a segment beyond its chunk', { ...size(file('a'), 10), content: { kind: 'segments', segments: [data] } }],
    [
      'nine segments',
      {
        ...size(file('a'), 9),
        content: {
          kind: 'segments',
          segments: Array.from({ length: 9 }, () => ({ kind: 'zeros' as const, length: 1 })),
        },
      },
    ],
    ['a small segment tree', { ...size(file('a'), 9), content: { kind: 'tree', root: tree, segmentCount: 8 } }],
    ['content of a directory', { ...directory('a'), content: file('a').content }],
    ['a symlink without a target', newEntry('a', statOf(0o120777))],
    ['a symlink with NUL in its target', newEntry('a', statOf(0o120777), { linkTarget: 'a\0' })],
    ['a target of 4,096 bytes', newEntry('a', statOf(0o120777), { linkTarget: 'x'.repeat(4096) })],
    ['a file with a link target', { ...file('a'), linkTarget: 'b' }],
    ['a mode without a type', newEntry('a', statOf(0o644))],
    ['a time of 10^9 ns', newEntry('a', statOf(0o010000, { mtimeNs: 1e9 }))],
    ['a hard-linked directory', { ...directory('a'), hardLinkGroup: 1 }],
    [
      'xattrs twice',
      {
        ...file('a'),
        xattrs: {
          kind: 'inline',
          list: [
            { name: 'u', value: Buffer.alloc(0) },
            { name: 'u', value: Buffer.alloc(0) },
          ],
        },
      },
    ],
    ['a stat record of 63 bytes', newEntry('a', Buffer.alloc(63))],
    ['text instead of bytes', { ...file('a'), user: '€' }],
  ];
  for (const [what, entry] of refused) {
    it(`is never written with ${what}`, () => {
      expect(() => leafOf([directory(''), entry]))
        .to.throw()
        .with.property('code', 'INVALID_ARGUMENT');
    });
  }
});
