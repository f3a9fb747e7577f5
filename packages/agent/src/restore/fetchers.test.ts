import { expect } from 'chai';
import type { PlacedChunk } from '@holdfast/shared/format/manifest/entry';
import type { LeafView } from '@holdfast/shared/format/manifest/leaf-view';
import type { WantedNode } from '@holdfast/shared/format/manifest/node-store';
import { fakeVault, type FakeVault, type FakeVaultOptions } from '../testing/fake-vault.ts';
import { SnapshotBuilder, TEST_DOMAIN, TEST_SECRET, type BuiltSnapshot } from '../testing/snapshot-builder.ts';
import type { ReadSession } from '../link/vault-port.ts';
import { ChunkFetcher } from './chunk-fetcher.ts';
import { KeyRing } from './key-ring.ts';
import { walkLeaves } from './manifest-walk.ts';
import { NodeFetcher } from './node-fetcher.ts';
import { Selection } from './selection.ts';

describe('nodes and chunks over a read session', () => {
  let built: BuiltSnapshot;
  let root: WantedNode;
  before(() => {
    built = new SnapshotBuilder().build(
      Array.from({ length: 9000 }, (_, i) => ({
        path: `d${i % 9}/f${i}`,
        type: 'file' as const,
        content: Buffer.alloc(400, `${i}`),
      })),
    );
    root = { id: built.root.id, proof: built.root.proof, parent: built.recordId, index: 0 };
  });

  async function open(
    options: FakeVaultOptions = {},
  ): Promise<{ vault: FakeVault; session: ReadSession; nodes: NodeFetcher }> {
    const vault = fakeVault(built.objects, built.recordId, options);
    const session = await vault.client.openRead(Buffer.alloc(0), { signal: new AbortController().signal });
    return { vault, session, nodes: new NodeFetcher(session, new KeyRing(TEST_SECRET, TEST_DOMAIN), async () => {}) };
  }

  it('N1 M1 walks every leaf once, a few nodes ahead', async () => {
    const { vault, nodes } = await open();
    let entries = 0;
    let leaves = 0;
    for await (const step of walkLeaves(nodes, root, new Selection([]))) {
      if (step.kind === 'gap') throw step.error;
      entries += step.leaf.count;
      leaves++;
      expect(vault.served.length - leaves).to.be.at.most(12);
    }
    expect(entries).to.equal(9000 + 10);
    expect(new Set(vault.served).size).to.equal(vault.served.length);
  });

  it('M3 fetches only the nodes that lead to what is selected', async () => {
    const { vault, nodes } = await open();
    const paths: string[] = [];
    for await (const step of walkLeaves(nodes, root, new Selection(['d4/f4']))) {
      if (step.kind === 'leaf') for (let i = 0; i < step.leaf.count; i++) paths.push(step.leaf.path(i));
    }
    expect(paths).to.include.members(['', 'd4', 'd4/f4']);
    expect(vault.served.length).to.be.below(8);
  });

  it('C1 C3 fetches a shared chunk once, and transfers only what nobody else wants', async () => {
    const { vault, session, nodes } = await open();
    for await (const step of walkLeaves(nodes, root, new Selection(['d0']))) {
      if (step.kind === 'gap') throw step.error;
      const { leaf } = step;
      const chunk = firstChunk(leaf);
      const fetcher = new ChunkFetcher(session, async () => {});
      const parent = nodes.handleOf(leaf.id);
      const [first, second] = await Promise.all([
        fetcher.fetch(parent, [{ chunk, shared: true }]),
        fetcher.fetch(parent, [{ chunk, shared: true }]),
      ]);
      expect(vault.served.filter((id) => id === chunk.id.toString('hex'))).to.have.length(1);
      expect([first.chunks.length, second.chunks.length, first.transfer.length]).to.deep.equal([1, 1, 0]);
      const alone = await new ChunkFetcher(session, async () => {}).fetch(parent, [{ chunk, shared: false }]);
      expect(alone.transfer).to.deep.equal([alone.chunks[0]!.envelope!.buffer]);
      return;
    }
  });

  it('C1 answers with the reason where there is no envelope', async () => {
    const lost = new Map(
      [...built.objects.keys()].filter((id) => built.objects.get(id)![3] === 1).map((id) => [id, 'missing' as const]),
    );
    const { session, nodes } = await open({ notServed: lost });
    for await (const step of walkLeaves(nodes, root, new Selection(['d0']))) {
      if (step.kind === 'gap') throw step.error;
      const fetched = await new ChunkFetcher(session, async () => {}).fetch(nodes.handleOf(step.leaf.id), [
        { chunk: firstChunk(step.leaf), shared: true },
      ]);
      expect(fetched.chunks[0]).to.include({ envelope: undefined, problem: 'missing: as the test says' });
      return;
    }
  });
});

function firstChunk(leaf: LeafView): PlacedChunk {
  for (let index = 0; index < leaf.count; index++) {
    const content = leaf.content(index);
    const segment = content.kind === 'segments' ? content.segments[0] : undefined;
    if (segment?.kind === 'data') return segment.chunk;
  }
  throw new Error('a leaf without content');
}
