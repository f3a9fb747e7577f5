import { expect } from 'chai';
import { expectError } from '../../testing/expect-error.ts';
import { directory, file, randomTree, statOf } from '../../testing/manifest-trees.ts';
import { type Entry, newEntry } from './entry.ts';
import { hardLinkKey, TreeValidator } from './tree-validator.ts';

const symlink = (path: string, linkTarget = '/etc'): Entry => newEntry(path, statOf(0o120777), { linkTarget });

function check(entries: readonly Entry[], start = ''): void {
  const validator = new TreeValidator(start);
  for (const entry of entries) validator.next(entry);
}

describe('TreeValidator', () => {
  it('takes every well-formed tree, and a subtree of one', () => {
    check(randomTree(31, 3000));
    check([directory('a/b'), file('a/b/c'), file('a/b/d')], 'a/b');
    check([file('a/b')], 'a/b');
    check([]);
  });

  const hostile: [string, Entry[]][] = [
    ["'..'", [directory(''), file('..')]],
    ["'..' inside", [directory(''), directory('a'), file('a/../../b')]],
    ['an absolute path', [directory(''), file('/etc/passwd')]],
    ['NUL', [directory(''), file('a\0b')]],
    ['an empty component', [directory(''), directory('a'), file('a//b')]],
    ['a name twice', [directory(''), file('a'), file('a')]],
    ['a name out of order', [directory(''), file('b'), file('a')]],
    ['a file under a symlink', [directory(''), symlink('a'), file('a/passwd')]],
    ['a file under a file', [directory(''), file('a'), file('a/b')]],
    ['a file without its directory', [directory(''), file('a/b')]],
    ['a file under a directory that came too early', [directory(''), directory('a'), file('b'), file('a/x')]],
    ['no root', [file('a')]],
    ['a segment beyond its size', [directory(''), { ...file('a', 5), stat: statOf(0o100644, { size: 4 }) }]],
  ];
  for (const [what, entries] of hostile) {
    it(`40: refuses ${what}`, () => {
      check(entries.slice(0, -1));
      expectError(() => check(entries), 'PATH_ESCAPES', 'DAMAGED');
    });
  }

  it('40: refuses what lies outside the subtree that was asked for', () => {
    for (const path of ['a/bc', 'a/c', 'b', 'a/b!']) {
      expectError(() => check([directory('a/b'), file(path)], 'a/b'), 'PATH_ESCAPES');
    }
    expectError(() => check([directory('a')], 'a/b'), 'PATH_ESCAPES');
    expectError(() => check([], '../x'), 'PATH_ESCAPES');
  });

  it('26, 40: names of one number are links of each other only while they are of one nature, and a directory never is', () => {
    const linked = (entry: Entry): Entry => ({ ...entry, hardLinkGroup: 3 });
    const device = (path: string, rdevMinor: number): Entry =>
      linked(newEntry(path, statOf(0o060600, { rdevMajor: 8, rdevMinor })));
    const natures: ((path: string) => Entry)[] = [
      (path) => linked(file(path, 0)),
      (path) => linked(symlink(path, 'x')),
      (path) => linked(symlink(path, 'y')),
      (path) => linked(newEntry(path, statOf(0o010000))),
      (path) => device(path, 1),
      (path) => device(path, 2),
    ];
    for (const one of natures) {
      for (const other of natures) {
        // A number that went from one inode to another while the tree was read: two inodes, and nothing is refused.
        check([directory(''), one('a'), other('b')]);
        expect(hardLinkKey(one('a')) === hardLinkKey(other('b'))).to.equal(one === other);
      }
    }
    expectError(() => check([linked(directory(''))]), 'DAMAGED');
  });

  it('36: names of inodes with one number on two file systems are not one group', () => {
    const linked = (path: string, hardLinkGroup: number, ino: bigint): Entry =>
      newEntry(path, statOf(0o100644, { ino }), { hardLinkGroup });
    expect(hardLinkKey(linked('a', 1, 7n))).to.equal(hardLinkKey(linked('b', 1, 7n)));
    expect(hardLinkKey(linked('a', 1, 7n))).not.to.equal(hardLinkKey(linked('b', 2, 7n)));
    expect(hardLinkKey(linked('a', 1, 7n))).not.to.equal(hardLinkKey(linked('b', 1, 8n)));
    expect(hardLinkKey(file('a'))).to.equal(undefined);
  });
});
