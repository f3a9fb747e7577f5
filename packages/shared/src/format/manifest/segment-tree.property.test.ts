import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '../../base/errors.ts';
import { ManifestNode, ReferenceColumns } from '../../rpc/gen/holdfast/v1/manifest.ts';
import { expectError } from '../../testing/expect-error.ts';
import { chunkOf, dataSegment, MemoryNodes, pagedChunkOf, randomNumbers } from '../../testing/manifest-trees.ts';
import type { Content, PlacedChunk, PlacedNode, Segment } from './entry.ts';
import { MAX_TREE_SEGMENTS } from './limits.ts';
import { streamSync } from './node-store.ts';
import { ReferenceTable } from './references.ts';
import { ContentBuilder, readSegments } from './segment-tree.ts';
import { WireReader } from './wire.ts';

function someSegments(seed: number, count: number): Segment[] {
  const random = randomNumbers(seed);
  const chunks = Array.from({ length: 50 }, (_, i) =>
    i % 3 === 0 ? chunkOf(`c${i}`) : pagedChunkOf(`c${i}`, `tags ${i % 4}`, i),
  );
  return Array.from({ length: count }, (_, i): Segment => {
    // Neighbours of one kind would become one segment.
    if (i % 5 === 4) return { kind: i % 2 === 0 ? 'zeros' : 'hole', length: 1 + random(2 ** 30) };
    const length = 1 + random(4096);
    return dataSegment(`${seed} ${i}`, length, chunks[random(50)]!, random(2 ** 20 - length));
  });
}

function build(nodes: MemoryNodes, segments: readonly Segment[]): Content<PlacedChunk, PlacedNode> {
  const builder = new ContentBuilder(nodes.ports);
  for (const segment of segments) builder.add(segment);
  return placed(builder.finish());
}

/** As the leaf gives it back. */
function placed(content: Content): Content<PlacedChunk, PlacedNode> {
  if (content.kind === 'tree') return { ...content, root: { ...content.root, node: Buffer.alloc(32), index: 0 } };
  return { kind: 'segments', segments: content.segments.map(placedSegment) };
}

function placedSegment(segment: Segment): Segment<PlacedChunk> {
  if (segment.kind !== 'data') return segment;
  const at = { node: Buffer.alloc(32), index: 0 };
  const { pageTags, ...chunk } = segment.chunk;
  const placedTags = pageTags === undefined ? {} : { pageTags: { ...pageTags, node: { ...pageTags.node, ...at } } };
  return { ...segment, chunk: { ...chunk, ...at, ...placedTags } };
}

function total(segments: readonly Segment[]): number {
  return segments.reduce((sum, { length }) => sum + length, 0);
}

/** Without what only reading adds. */
function plain(segments: Iterable<Segment>): unknown[] {
  return [...segments].map((segment) =>
    segment.kind === 'data'
      ? [
          segment.chunk.id.toString('hex'),
          segment.chunk.plainLength,
          segment.offset,
          segment.length,
          segment.tag.toString('hex'),
          segment.chunk.pageTags?.node.id.toString('hex'),
          segment.chunk.pageTags?.list,
        ]
      : [segment.kind, segment.length],
  );
}

describe('content of a file', () => {
  it('33: gives back the segments as they went in, however many', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 30 }), fc.oneof(fc.nat(12), fc.nat(9000)), (seed, count) => {
        const nodes = new MemoryNodes();
        const segments = someSegments(seed, count);
        const content = build(nodes, segments);
        expect(content.kind).to.equal(count > 8 ? 'tree' : 'segments');
        expect(plain(streamSync(nodes, readSegments(content, total(segments))))).to.deep.equal(plain(segments));
      }),
      { numRuns: 25 },
    );
  });

  it('keeps eight segments in the leaf and makes a tree of nine', () => {
    const nodes = new MemoryNodes();
    expect(build(nodes, someSegments(1, 8)).kind).to.equal('segments');
    expect(nodes.emitted).to.deep.equal([]);
    expect(build(nodes, someSegments(1, 9))).to.include({ kind: 'tree', segmentCount: 9 });
    expect(nodes.emitted).to.have.length(1);
  });

  it('makes neighbouring zeros one segment, and neighbouring holes', () => {
    const nodes = new MemoryNodes();
    const builder = new ContentBuilder(nodes.ports);
    for (let i = 0; i < 20; i++) builder.add({ kind: 'hole', length: 5 });
    for (let i = 0; i < 20; i++) builder.add({ kind: 'zeros', length: 5 });
    expect(builder.length).to.equal(200);
    expect(plain(placedSegments(builder.finish()))).to.deep.equal([
      ['hole', 100],
      ['zeros', 100],
    ]);
    expect(builder.length).to.equal(0);
    expect(builder.finish()).to.deep.equal({ kind: 'segments', segments: [] });
  });

  it('changing, adding or removing one segment gives few new nodes of hundreds', () => {
    const segments = someSegments(2, 200_000);
    const before = new MemoryNodes();
    build(before, segments);
    const extra = dataSegment('extra', 10, chunkOf('extra'));
    for (const changed of [
      segments.with(100_001, extra),
      segments.toSpliced(50_001, 0, extra),
      segments.toSpliced(150_001, 1),
    ]) {
      const after = new MemoryNodes();
      build(after, changed);
      const fresh = [...after.nodes.keys()].filter((id) => !before.nodes.has(id));
      expect(fresh.length).to.be.within(1, 5);
    }
    expect(before.nodes.size).to.be.within(150, 300);
  });

  it('a file that repeats one chunk is bounded, too, and each node refers to it once', () => {
    for (let i = 0; i < 60; i++) {
      const same = dataSegment(`same ${i}`, 4096, chunkOf('same'));
      const nodes = new MemoryNodes();
      const segments = Array.from({ length: 20_000 }, () => same);
      const content = build(nodes, segments);
      expect(nodes.emitted.length).to.be.at.most(20_000 / 64 + 200);
      for (const { references, kind } of nodes.emitted) if (kind === 'segments') expect(references).to.have.length(32);
      if (i % 20 > 0) continue;
      expect([...streamSync(nodes, readSegments(content, total(segments)))]).to.have.length(20_000);
    }
  });

  it('no node has more than 4,096 segments, even when none of them can end one', () => {
    const nodes = new MemoryNodes();
    const segments = Array.from({ length: 20_000 }, (_, i): Segment => ({
      kind: i % 2 === 0 ? 'hole' : 'zeros',
      length: 1,
    }));
    const content = build(nodes, segments);
    expect(nodes.emitted.filter(({ kind }) => kind === 'segments')).to.have.length(
      Math.ceil(20_000 / MAX_TREE_SEGMENTS),
    );
    expect([...streamSync(nodes, readSegments(content, 20_000))]).to.have.length(20_000);
  });

  it('is, byte for byte, what the generated encoder makes', () => {
    const nodes = new MemoryNodes();
    build(nodes, someSegments(3, 5000));
    expect(new Set(nodes.emitted.map(({ kind }) => kind))).to.deep.equal(new Set(['segments', 'segments-inner']));
    for (const { payload } of nodes.emitted) {
      expect(Buffer.from(ManifestNode.encode(ManifestNode.decode(payload)).finish())).to.deep.equal(payload);
    }
  });

  it('41: a tree that adds up to another size, or is garbled, is refused', () => {
    const nodes = new MemoryNodes();
    const segments = someSegments(4, 3000);
    const content = build(nodes, segments);
    const size = total(segments);
    const read = (bytes: number, store = nodes): unknown => [...streamSync(store, readSegments(content, bytes))];
    expectError(() => read(size + 1), 'DAMAGED');
    expectError(() => read(size - 1), 'DAMAGED');
    const inner = nodes.emitted.at(-1)!;
    const loop = new MemoryNodes();
    for (const key of nodes.nodes.keys()) loop.nodes.set(key, inner);
    expectError(() => read(size, loop), 'DAMAGED');
    fc.assert(
      fc.property(fc.nat(nodes.emitted.length - 1), fc.nat(), fc.integer({ min: 1, max: 255 }), (which, at, bits) => {
        const { payload, references, sealed } = nodes.emitted[which]!;
        const garbled = Buffer.from(payload);
        garbled[at % garbled.length]! ^= bits;
        const store = new MemoryNodes();
        for (const [key, node] of nodes.nodes) store.nodes.set(key, node);
        store.nodes.set(sealed.id.toString('hex'), { references, payload: garbled });
        try {
          read(size, store);
        } catch (thrown) {
          if (!(thrown instanceof HoldfastError)) throw thrown;
          expect(thrown.code).to.equal('DAMAGED');
        }
      }),
      { numRuns: 500 },
    );
  });

  it('of page files: a page-tag node stands once in each node whose chunks have tags there', () => {
    const nodes = new MemoryNodes();
    const segments = Array.from({ length: 2_000 }, (_, i) =>
      dataSegment(`${i}`, 8192, pagedChunkOf(`c${i}`, `tags ${Math.floor(i / 500)}`, i % 500)),
    );
    build(nodes, segments);
    const leavesOfTree = nodes.emitted.filter(({ kind }) => kind === 'segments');
    const chunks = leavesOfTree.reduce((sum, { references }) => sum + references.length / 32, 0);
    expect(chunks).to.be.within(2_004, 2_004 + leavesOfTree.length);
  });

  for (const [what, columns] of [
    ['for what is no chunk', { paged: [1], pageTagNode: [1], pageTagList: [0] }],
    ['out of order', { paged: [2, 0], pageTagNode: [1, 1], pageTagList: [0, 0] }],
    ['in what is no node', { paged: [0], pageTagNode: [2], pageTagList: [0] }],
    ['beyond the references', { paged: [0], pageTagNode: [3], pageTagList: [0] }],
    ['without a list', { paged: [0], pageTagNode: [1], pageTagList: [] }],
    ['in a list beyond the limit', { paged: [0], pageTagNode: [1], pageTagList: [4096] }],
  ] as const) {
    it(`41: page tags ${what} are refused`, () => {
      const ids = Buffer.concat(['a', 'tags', 'b'].map((label) => chunkOf(label).id));
      const wire = { plainLength: [8192, 0, 8192], proofs: Buffer.alloc(48) };
      const table = (rest: Partial<ReferenceColumns>) =>
        new ReferenceTable(
          ids.subarray(0, 32),
          ids,
          new WireReader(
            Buffer.from(
              ReferenceColumns.encode({ ...wire, paged: [], pageTagNode: [], pageTagList: [], ...rest }).finish(),
            ),
          ),
        );
      expect(table({ paged: [2], pageTagNode: [1], pageTagList: [7] }).chunk(2).pageTags).to.include({ list: 7 });
      const { paged, pageTagNode, pageTagList } = columns;
      const refused = { paged: [...paged], pageTagNode: [...pageTagNode], pageTagList: [...pageTagList] };
      expectError(() => table(refused), 'DAMAGED');
    });
  }

  it('refuses a segment that is empty or beyond its chunk', () => {
    const builder = new ContentBuilder(new MemoryNodes().ports);
    expectError(() => builder.add({ kind: 'hole', length: 0 }), 'INVALID_ARGUMENT');
    expectError(() => builder.add(dataSegment('x', 11, chunkOf('c', 10))), 'INVALID_ARGUMENT');
  });
});

function placedSegments(content: Content): readonly Segment[] {
  return content.kind === 'segments' ? content.segments : [];
}
