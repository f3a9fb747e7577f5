import { expect } from 'chai';
import { MemoryNodes, randomTree } from '@holdfast/shared/testing/manifest-trees';
import { PreviousEntries } from './previous-entries.ts';

describe('entries of the previous snapshot', () => {
  it('finds every path in any order, and none that is not there, reading few nodes', () => {
    const nodes = new MemoryNodes();
    const entries = randomTree(5, 4_000);
    const root = nodes.build(entries);
    const previous = new PreviousEntries(nodes, root);
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[(i * 1_009) % entries.length]!;
      const found = previous.find(entry.path);
      expect(found?.path).to.equal(entry.path);
      expect(found?.stat.equals(entry.stat)).to.equal(true);
      expect(previous.find(`${entry.path}~none`)).to.equal(undefined);
    }
    expect(nodes.loaded.length).to.be.below(100);
  });

  it('has nothing without a previous snapshot, or of an empty one', () => {
    expect(new PreviousEntries(new MemoryNodes(), undefined).find('a')).to.equal(undefined);
    const nodes = new MemoryNodes();
    expect(new PreviousEntries(nodes, nodes.build([])).find('a')).to.equal(undefined);
  });
});
