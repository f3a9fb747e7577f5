import { expect } from 'chai';
import { KeptPaths } from './kept-paths.ts';

describe('what a restore leaves alone', () => {
  const kept = new KeptPaths(['etc/machine-id', 'etc/netplan', 'var/lib/holdfast']);

  it('KP1 what is kept, and what is beneath it', () => {
    for (const path of ['etc/machine-id', 'etc/netplan', 'etc/netplan/a/b'])
      expect(kept.covers(path), path).to.equal(true);
    for (const path of ['', 'etc', 'etc/netplan2', 'etc/machine-id2']) expect(kept.covers(path), path).to.equal(false);
  });

  it('KP2 every name that leads to it, in each directory on the way', () => {
    expect([...kept.namesIn('', new Set(['srv']))]).to.have.members(['srv', 'etc', 'var']);
    expect([...kept.namesIn('etc', new Set())]).to.have.members(['machine-id', 'netplan']);
    expect([...kept.namesIn('var', new Set())]).to.have.members(['lib']);
    expect([...kept.namesIn('srv', new Set(['a']))]).to.have.members(['a']);
    const none = new Set(['a']);
    expect(new KeptPaths([]).namesIn('etc', none)).to.equal(none);
  });
});
