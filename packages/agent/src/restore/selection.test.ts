import { expect } from 'chai';
import fc from 'fast-check';
import { comparePaths } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { parentOf, Selection } from './selection.ts';

const name = fc.constantFrom('a', 'b', 'a!', 'ab', '-', '\xff');
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));

describe('selection of paths', () => {
  it('takes everything when nothing is named, or the root is', () => {
    expect(new Selection([]).of('any/where')).to.equal('inside');
    expect(new Selection(['a', '/']).everything).to.equal(true);
  });

  it('takes a subtree, its parents alone, and nothing beside it', () => {
    const selection = new Selection(['a/b']);
    expect(['', 'a', 'a/b', 'a/b/c', 'a/b!', 'a/c', 'b'].map((one) => selection.of(one))).to.deep.equal([
      'parent',
      'parent',
      'inside',
      'inside',
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('refuses a path that no manifest can hold', () => {
    for (const wrong of ['a/../b', './a', 'a//b', 'a\0']) {
      expect(() => new Selection([wrong])).to.throw(HoldfastError, 'no snapshot can hold');
    }
  });

  it('S1 is closed upwards', () => {
    fc.assert(
      fc.property(fc.array(path, { maxLength: 4 }), path, (paths, one) => {
        const selection = new Selection(paths);
        if (selection.of(one) !== undefined) expect(selection.of(parentOf(one))).to.not.equal(undefined);
      }),
    );
  });

  it('S2 never prunes a range that holds a selected path', () => {
    fc.assert(
      fc.property(fc.array(path, { maxLength: 4 }), path, path, path, (paths, one, low, high) => {
        const selection = new Selection(paths);
        const [from, at, to] = [one, low, high].toSorted(comparePaths) as [string, string, string];
        if (selection.of(at) === undefined) return;
        expect(selection.touches(from, undefined)).to.equal(true);
        if (comparePaths(at, to) < 0) expect(selection.touches(from, to)).to.equal(true);
      }),
    );
  });
});
