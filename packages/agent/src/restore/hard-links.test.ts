import { expect } from 'chai';
import { HardLinks } from './hard-links.ts';

describe('names of one inode', () => {
  it('H1 makes the first name the leader and links the others to it', () => {
    const links = new HardLinks();
    const { group, first } = links.add('1:7', 'a', 3);
    expect(first).to.equal(true);
    expect(links.add('1:7', 'b', 3).first).to.equal(false);
    group.inode = 99n;
    expect(links.take()).to.deep.equal({ links: [{ path: 'b', existing: 'a', inode: 99n }], failed: [] });
    expect(links.add('1:7', 'c', 3).group).to.equal(group);
  });

  it('H2 names the links whose leader failed', () => {
    const links = new HardLinks();
    links.add('1:7', 'a', 2).group.failed = true;
    links.add('1:7', 'b', 2);
    expect(links.take()).to.deep.equal({ links: [], failed: [{ path: 'b', leader: 'a' }] });
  });

  it('H3 forgets a group once all of its names were seen', () => {
    const links = new HardLinks();
    links.add('1:7', 'a', 2);
    links.add('1:7', 'b', 2);
    expect(links.add('1:7', 'c', 2).first).to.equal(true);
  });
});
