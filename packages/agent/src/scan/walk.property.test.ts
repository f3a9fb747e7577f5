import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { comparePaths, fromText, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { removeScratchDirectories, scratchDirectory } from '../testing/scratch-directory.ts';
import { Walk } from './walk.ts';

interface Tree {
  readonly kind: 'file' | 'link' | 'directory';
  readonly children: readonly (readonly [ByteString, Tree])[];
}

const names = fc
  .array(
    fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 47),
    { minLength: 1, maxLength: 4 },
  )
  .map((bytes) => String.fromCharCode(...bytes))
  .filter((name) => name !== '.' && name !== '..');

const trees: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom<Tree>({ kind: 'file', children: [] }, { kind: 'link', children: [] }),
    fc
      .uniqueArray(fc.tuple(names, tie('tree')), { maxLength: 6, selector: ([name]) => name })
      .map((children): Tree => ({ kind: 'directory', children })),
  ),
})).tree;

/** Makes the tree and gives its paths. */
function plant(root: string, children: Tree['children'], prefix = ''): ByteString[] {
  const paths: ByteString[] = [];
  for (const [name, tree] of children) {
    const path = prefix + name;
    const at = Buffer.concat([toBytes(`${root}/`), toBytes(path)]);
    paths.push(path);
    if (tree.kind === 'file') writeFileSync(at, '');
    else if (tree.kind === 'link') symlinkSync('..', at);
    else {
      mkdirSync(at);
      paths.push(...plant(root, tree.children, `${path}/`));
    }
  }
  return paths;
}

describe('walk', () => {
  afterEach(removeScratchDirectories);

  it('W1 any tree of any names comes back whole and in manifest order', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(names, trees), { maxLength: 8, selector: ([name]) => name }), (children) => {
        const root = scratchDirectory();
        const planted = plant(root, children);
        const walk = new Walk({
          root: fromText(root),
          onNote: ({ kind, path }) => {
            throw new Error(`${kind} ${path}`);
          },
        });
        const paths: ByteString[] = [];
        while (walk.next()) paths.push(walk.path);
        walk.close();
        expect(paths).to.deep.equal(['', ...planted].toSorted(comparePaths));
      }),
      { numRuns: 60 },
    );
  });
});
