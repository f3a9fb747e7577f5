import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '../../base/errors.ts';
import { type LeafNode, ManifestNode } from '../../rpc/gen/holdfast/v1/manifest.ts';
import { expectError } from '../../testing/expect-error.ts';
import { MemoryNodes, randomTree } from '../../testing/manifest-trees.ts';
import { LeafView } from './leaf-view.ts';

const nodes = new MemoryNodes();
nodes.build(randomTree(7, 60));
const [good] = nodes.leaves();

function open(payload: Buffer, references = good!.references): void {
  LeafView.open(Buffer.alloc(32), Buffer.alloc(16), references, payload).check();
}

/** The good leaf with something changed, as a hostile peer with any protobuf encoder would make it. */
function forged(change: (leaf: LeafNode) => void): Buffer {
  const { node } = ManifestNode.decode(good!.payload);
  if (node?.$case !== 'leaf') return expect.fail('no leaf');
  change(node.value);
  return Buffer.from(ManifestNode.encode({ node }).finish());
}

function front(...parts: readonly (readonly [number, string])[]): Buffer {
  return Buffer.concat(
    parts.map(([shared, rest]) => Buffer.from([shared, rest.length, ...Buffer.from(rest, 'latin1')])),
  );
}

describe('a hostile manifest leaf', () => {
  it('is refused wherever it is cut', () => {
    const { payload } = good!;
    for (let length = 0; length < payload.length; length++) {
      expectError(() => open(payload.subarray(0, length)), 'DAMAGED', 'PATH_ESCAPES');
    }
    expectError(() => open(Buffer.concat([payload, Buffer.from([0])])), 'DAMAGED');
  });

  it('41: garbled anywhere, is refused with an error of ours or reads as some well-formed leaf', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good!.payload.length - 1), fc.integer({ min: 1, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        (flips) => {
          const payload = Buffer.from(good!.payload);
          for (const [at, bits] of flips) payload[at]! ^= bits;
          try {
            open(payload);
          } catch (thrown) {
            if (!(thrown instanceof HoldfastError)) throw thrown;
            expect(['DAMAGED', 'PATH_ESCAPES']).to.include(thrown.code);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('41: of random bytes is refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expectError(() => open(Buffer.from(bytes)), 'DAMAGED', 'PATH_ESCAPES');
      }),
      { numRuns: 2000 },
    );
  });

  const forgeries: [string, (leaf: LeafNode) => void][] = [
    ['that claims 4 billion entries', (leaf) => (leaf.count = 2 ** 32 - 1)],
    ['that claims one entry more', (leaf) => leaf.count++],
    ['that claims none', (leaf) => (leaf.count = 0)],
    ['that does not say why it closed', (leaf) => (leaf.closing = 0)],
    ['with half a stat record', (leaf) => (leaf.stats = leaf.stats.subarray(32))],
    ['without stat records', (leaf) => (leaf.stats = Buffer.alloc(0))],
    ['with more paths than entries', (leaf) => (leaf.paths = Buffer.concat([leaf.paths, front([0, '~~~~'])]))],
    ['with a path too few', (leaf) => (leaf.paths = front([0, '']))],
    ['with an owner name that is not there', (leaf) => (leaf.users!.index[3] = 9)],
    ['without owner names', (leaf) => (leaf.users = undefined)],
    ['with a link target too many', (leaf) => leaf.linkTarget.push(Buffer.from('x'))],
    ['with link targets of the wrong entries', (leaf) => (leaf.linkAt = leaf.linkAt.map((at) => at - 1))],
    ['with a sparse column out of order', (leaf) => (leaf.linkAt = leaf.linkAt.toReversed())],
    ['with flags of an entry beyond the end', (leaf) => ((leaf.flagsAt = [leaf.count]), (leaf.flags = [1]))],
    ['with xattrs that are not there', (leaf) => ((leaf.xattrAt = [1]), (leaf.xattrSet = [5]), (leaf.xattrSets = []))],
    [
      'with an empty set of xattrs',
      (leaf) => ((leaf.xattrAt = [0]), (leaf.xattrSet = [0]), (leaf.xattrSets = [{ list: [], chunk: undefined }])),
    ],
    ['with a content too few', (leaf) => (leaf.contents = leaf.contents.subarray(1))],
    ['with contents of 200 segments', (leaf) => leaf.contents.fill(200)],
    ['with a segment tree that is not there', (leaf) => leaf.contents.fill(9)],
    ['with tags too few', (leaf) => (leaf.segments!.tags = leaf.segments!.tags.subarray(16))],
    ['with a segment of a reference beyond the end', (leaf) => (leaf.segments!.source[0] = 60_000)],
    ['with a segment before its chunk', (leaf) => (leaf.segments!.offset[0] = -1n)],
    ['with a segment behind its chunk', (leaf) => (leaf.segments!.offset[0] = 16_777_000n)],
    ['with a chunk of 4 GiB', (leaf) => (leaf.references!.plainLength[0] = 2 ** 32 - 1)],
    ['with a chunk of nothing', (leaf) => (leaf.references!.plainLength[0] = 0)],
    ['with a proof too few', (leaf) => (leaf.references!.proofs = leaf.references!.proofs.subarray(16))],
    ['without its references', (leaf) => (leaf.references = undefined)],
  ];
  for (const [what, change] of forgeries) {
    it(`41: ${what} is refused`, () => {
      expectError(() => open(forged(change)), 'DAMAGED');
    });
  }

  it('refuses other references than the payload speaks of', () => {
    expectError(() => open(good!.payload, good!.references.subarray(32)), 'DAMAGED');
    expectError(() => open(good!.payload, Buffer.concat([good!.references, Buffer.alloc(32)])), 'DAMAGED');
    expectError(() => open(good!.payload, good!.references.subarray(1)), 'DAMAGED');
  });

  it('is taken while nothing in it is forged', () => {
    open(forged(() => undefined));
    open(namedLeaf('b'), Buffer.alloc(0));
  });

  for (const name of ['..', '.', '', '/etc', 'a//b', '../../etc/passwd', 'nul\0']) {
    it(`40: with the name ${JSON.stringify(name)} is refused`, () => {
      expectError(() => open(namedLeaf(name), Buffer.alloc(0)), 'PATH_ESCAPES', 'DAMAGED');
    });
  }

  it('41: of more than 1 MiB is refused unread', () => {
    expectError(() => open(Buffer.alloc(1024 * 1024 + 1)), 'DAMAGED');
  });

  it('with unknown fields is refused', () => {
    expectError(() => open(Buffer.concat([good!.payload, Buffer.from([0x2a, 0x01, 0x00])])), 'DAMAGED');
  });
});

/** A leaf of two directories, "a" and `name`. */
function namedLeaf(name: string): Buffer {
  const { node } = ManifestNode.decode(good!.payload);
  if (node?.$case !== 'leaf') return expect.fail('no leaf');
  const names = { names: [Buffer.from('root')], index: [] };
  const value: LeafNode = {
    count: 2,
    closing: node.value.closing,
    paths: front([0, 'a'], [0, name]),
    stats: Buffer.concat([good!.stat(0), good!.stat(0)]),
    users: names,
    groups: names,
    linkAt: [],
    linkTarget: [],
    xattrSets: [],
    xattrAt: [],
    xattrSet: [],
    flagsAt: [],
    flags: [],
    linkGroupAt: [],
    linkGroup: [],
    contents: Buffer.alloc(2),
    segments: undefined,
    treeReference: [],
    treeSegments: [],
    references: undefined,
  };
  return Buffer.from(ManifestNode.encode({ node: { $case: 'leaf', value } }).finish());
}
