import { expect } from 'chai';
import { PrunePlan } from './prune-plan.ts';

function taken(plan: PrunePlan): Record<string, string[]> {
  return Object.fromEntries(plan.take().map(({ directory, names }) => [directory, [...names]]));
}

describe('what delete extra may remove', () => {
  it('P1 knows all names of each directory', () => {
    const plan = new PrunePlan();
    for (const [path, directory] of [
      ['', true],
      ['a', true],
      ['a/x', false],
      ['a/y', true],
      ['b', false],
    ] as const) {
      plan.add(path, directory, true);
    }
    expect(taken(plan)).to.deep.equal({ 'a/y': [], a: ['x', 'y'] });
    plan.end();
    expect(taken(plan)).to.deep.equal({ '': ['a', 'b'] });
  });

  it('P1 leaves out directories that were taken alone', () => {
    const plan = new PrunePlan();
    plan.add('', true, false);
    plan.add('a', true, true);
    plan.end();
    expect(taken(plan)).to.deep.equal({ a: [] });
  });

  it('P2 leaves out what was open when a part of the manifest was lost', () => {
    const plan = new PrunePlan();
    plan.add('', true, true);
    plan.add('a', true, true);
    plan.gap();
    plan.add('b', true, true);
    plan.end();
    expect(taken(plan)).to.deep.equal({ b: [] });
  });
});
