import { expect } from 'chai';
import { didYouMean, nearNames } from './near-names.ts';

describe('near names', () => {
  const verbs = ['backup', 'restore', 'snapshot', 'source', 'status', 'verify', 'host'];

  it('finds letters that are missing, too many, wrong or swapped, the nearest first', () => {
    expect(nearNames('bakup', verbs)).to.deep.equal(['backup']);
    expect(nearNames('backupp', verbs)).to.deep.equal(['backup']);
    expect(nearNames('rsetore', verbs)).to.deep.equal(['restore']);
    expect(nearNames('Verify', verbs)).to.deep.equal(['verify']);
    expect(nearNames('web-2', ['web-1', 'web-3', 'db-2', 'webs-2'])).to.deep.equal(['web-1', 'web-3', 'webs-2']);
  });

  it('takes a beginning for the name', () => {
    expect(nearNames('snap', verbs)).to.deep.equal(['snapshot']);
    expect(nearNames('st', verbs)).to.deep.equal(['status']);
  });

  it('suggests nothing that is far off, and nothing for a name that is right', () => {
    expect(nearNames('x', verbs)).to.deep.equal([]);
    expect(nearNames('tapes', verbs)).to.deep.equal([]);
    expect(nearNames('host', verbs)).to.deep.equal([]);
    expect(nearNames('', verbs)).to.deep.equal([]);
    expect(nearNames('a'.repeat(100_000), ['a'.repeat(100_001)])).to.deep.equal([]);
  });

  it('asks in a sentence', () => {
    expect([[], ['a'], ['a', 'b'], ['a', 'b', 'c']].map(didYouMean)).to.deep.equal([
      '',
      'Did you mean a?',
      'Did you mean a or b?',
      'Did you mean a, b or c?',
    ]);
  });
});
