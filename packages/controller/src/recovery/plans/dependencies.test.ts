import { expect } from 'chai';

import { circleThrough } from './dependencies.ts';

describe('plans that depend on each other', () => {
  const circle = (needs: Record<string, readonly string[]>): string | undefined =>
    circleThrough('a', new Map(Object.entries(needs)))?.join(' ');

  it('are named by the shortest circle through the plan', () => {
    expect(circle({ a: ['b'], b: ['a'] })).to.equal('a b a');
    expect(circle({ a: ['b', 'd'], b: ['c'], c: ['a'], d: ['a'] })).to.equal('a d a');
    expect(circle({ a: ['b'], b: ['c', 'b'], c: ['d'], d: ['b', 'a'] })).to.equal('a b c d a');
  });

  it('are none where no way leads back, whatever circles there are beside it', () => {
    expect(circle({})).to.equal(undefined);
    expect(circle({ a: ['a', 'no-plan'] }), 'itself alone is a fault of the document').to.equal(undefined);
    expect(circle({ a: ['b'], b: ['c'], c: ['b'] })).to.equal(undefined);
  });
});
