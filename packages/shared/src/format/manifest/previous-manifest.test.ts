import { expect } from 'chai';
import fc from 'fast-check';
import { comparePaths } from '../../base/byte-string.ts';
import { expectError } from '../../testing/expect-error.ts';
import { MemoryNodes, randomNumbers, randomTree } from '../../testing/manifest-trees.ts';
import { ManifestBuilder } from './builder.ts';
import { leaves } from './reader.ts';
import { streamSync } from './node-store.ts';
import { isWithin } from './paths.ts';
import { PreviousManifest } from './previous-manifest.ts';

const entries = randomTree(21, 6000);
const nodes = new MemoryNodes();
const root = nodes.build(entries);

function open(): PreviousManifest {
  return new PreviousManifest(streamSync(nodes, leaves(root)));
}

describe('PreviousManifest', () => {
  it('gives every entry in order, with its stat record in place', () => {
    const previous = open();
    for (const entry of entries) {
      expect(previous.valid).to.equal(true);
      expect(previous.path).to.equal(entry.path);
      const at = previous.index * 64;
      expect(previous.leaf.stats.subarray(at, at + 64)).to.deep.equal(entry.stat);
      previous.advance();
    }
    expect(previous.valid).to.equal(false);
    expect(() => previous.leaf).to.throw(RangeError);
  });

  it('holds one leaf at a time', () => {
    let taken = 0;
    const counted = function* (): Generator<ReturnType<MemoryNodes['leaves']>[number]> {
      for (const leaf of streamSync(nodes, leaves(root))) {
        taken++;
        yield leaf;
      }
    };
    const previous = new PreviousManifest(counted());
    expect(taken).to.equal(1);
    for (let i = 0; i < previous.leaf.count - 1; i++) previous.advance();
    expect(taken).to.equal(1);
    previous.advance();
    expect(taken).to.equal(2);
  });

  it('skips subtrees and seeks, never back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 30 }), (seed) => {
        const random = randomNumbers(seed);
        const previous = open();
        let model = 0;
        while (previous.valid) {
          expect(previous.path).to.equal(entries[model]!.path);
          const { path } = previous;
          const step = random(4);
          if (step === 0 && path !== '') {
            previous.skipSubtree();
            while (model < entries.length && isWithin(entries[model]!.path, path)) model++;
          } else if (step === 1) {
            const target = entries[random(entries.length)]!.path;
            previous.seek(target);
            while (model < entries.length && comparePaths(entries[model]!.path, target) < 0) model++;
          } else {
            previous.advance();
            model++;
          }
        }
        expect(model).to.equal(entries.length);
      }),
      { numRuns: 20 },
    );
  });

  it('skips all below the root', () => {
    const previous = open();
    previous.skipSubtree();
    expect(previous.valid).to.equal(false);
  });

  it('M1: kept from end to end, gives the same manifest', () => {
    const builder = new ManifestBuilder(new MemoryNodes().ports);
    for (const previous = open(); previous.valid; previous.advance()) builder.keep(previous.leaf, previous.index);
    expect(builder.finish()).to.deep.equal(root);
  });

  it('has nothing in an empty manifest, and refuses leaves out of order', () => {
    const empty = new MemoryNodes();
    empty.build([]);
    expect(new PreviousManifest(empty.leaves().values()).valid).to.equal(false);
    const all = nodes.leaves();
    const previous = new PreviousManifest([all[1]!, all[0]!].values());
    expectError(() => {
      while (previous.valid) previous.advance();
    }, 'DAMAGED');
  });
});
