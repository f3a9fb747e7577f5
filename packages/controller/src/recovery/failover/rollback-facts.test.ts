import { expect } from 'chai';

import { rollbackFacts } from './rollback-facts.ts';

describe('a plan on a restored catalog', () => {
  it('is not ready until each of its hosts has reported, and says what a person can do', () => {
    expect(rollbackFacts('shop', [])).to.deep.equal([]);
    const [fact] = rollbackFacts('shop', ['web-2']);
    expect(fact).to.include({ level: 'error', subject: 'web-2' });
    expect(fact!.remedy).to.contain('holdfast plan override shop --dead web-2');
  });
});
