import { expect } from 'chai';
import { encodeStat, S_IFREG, type StatFields } from '@holdfast/shared/format/manifest/stat-record';
import { linkGroup, LinkedInodes } from './linked-inodes.ts';

function statOf(rest: Partial<StatFields> = {}): Buffer {
  const times = { mtimeSeconds: 5, mtimeNs: 6, ctimeSeconds: 7, ctimeNs: 8 };
  const none = { uid: 0, gid: 0, rdevMajor: 0, rdevMinor: 0 };
  return encodeStat({ mode: S_IFREG | 0o644, nlink: 3, size: 9, ino: 12n, ...times, ...none, ...rest });
}

describe('backup/linked-inodes', () => {
  it('gives the content to as many names as the inode has', () => {
    const inodes = new LinkedInodes();
    const content = { content: undefined };
    inodes.remember(0, statOf(), content);
    expect(inodes.take(1, statOf()), 'of another file system').to.equal(undefined);
    expect(inodes.take(0, statOf())).to.equal(content);
    expect(inodes.take(0, statOf())).to.equal(content);
    expect(inodes.take(0, statOf())).to.equal(undefined);
  });

  it('(22) gives nothing to a name of a file that changed, or that has the number of one that is gone', () => {
    const inodes = new LinkedInodes();
    inodes.remember(0, statOf(), { content: undefined });
    for (const other of [{ size: 10 }, { mtimeNs: 7 }, { ctimeSeconds: 8 }, { ctimeNs: 9 }, { nlink: 1 }]) {
      expect(inodes.take(0, statOf(other)), JSON.stringify(other)).to.equal(undefined);
    }
    expect(inodes.take(0, statOf())).not.to.equal(undefined);
  });

  it('(36) groups of two file systems, or of two types, differ', () => {
    const groups = [linkGroup(0, S_IFREG), linkGroup(1, S_IFREG), linkGroup(0, 0o120777), linkGroup(2 ** 40, 0o010000)];
    expect(new Set(groups).size).to.equal(groups.length);
    expect(groups.every((group) => Number.isSafeInteger(group) && group > 0)).to.equal(true);
  });
});
