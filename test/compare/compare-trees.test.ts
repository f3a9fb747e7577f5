// The comparer is worth as much as the differences it finds: one of each kind is planted, and found, alone.

import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compareTrees } from './compare-trees.ts';

const isRoot = process.geteuid?.() === 0;

interface Change {
  readonly what: string;
  /** In the second tree, as its working directory. */
  readonly shell: string;
  readonly found: RegExp;
  readonly root?: true;
  /** Skipped where the tool fails: the file system does not have it. */
  readonly mayFail?: true;
}

const changes: readonly Change[] = [
  { what: 'a missing file', shell: 'rm d/file', found: /^d\/file: only in the first$/ },
  { what: 'a further file', shell: 'touch new', found: /^new: only in the second$/ },
  {
    what: 'a name in another Unicode form',
    shell: `mv "$(printf 'e\\314\\201')" "$(printf '\\303\\251')"`,
    found: /only in the/,
  },
  {
    what: 'one byte of content',
    shell: 'printf X | dd of=large bs=1 seek=1500000 conv=notrunc status=none',
    found: /^large: content differs/,
  },
  { what: 'size', shell: 'printf x >> d/file', found: /^d\/file: size/ },
  { what: 'type', shell: 'rm d/file; mkdir d/file', found: /^d\/file: type/ },
  { what: 'mode', shell: 'chmod 4755 d/file', found: /^d\/file: mode 644 ≠ 4755$/ },
  { what: 'mode of a directory', shell: 'chmod 1755 d', found: /^d: mode/ },
  { what: 'mode of the root', shell: 'chmod 711 .', found: /^\.: mode/ },
  { what: 'mtime by a nanosecond', shell: 'touch -d 2001-01-01T00:00:00.000000001Z d/file', found: /^d\/file: mtime/ },
  { what: 'mtime of a directory', shell: 'touch -d 2001-01-01T00:00:01Z d', found: /^d: mtime/ },
  { what: 'mtime of a symlink', shell: 'touch -h -d 2001-01-01T00:00:01Z link', found: /^link: mtime/ },
  { what: 'mtime of a fifo', shell: 'touch -d 2001-01-01T00:00:01Z fifo', found: /^fifo: mtime/ },
  { what: 'link target', shell: 'ln -sfn elsewhere link', found: /^link: link target target ≠ elsewhere$/ },
  { what: 'hard links split', shell: 'cp -p names/a b; mv b names/b', found: /^names\/b: first name of the inode/ },
  { what: 'hard links joined', shell: 'ln -f names/a names/c', found: /^names\/c: first name of the inode/ },
  { what: 'an attribute', shell: 'setfattr -n user.x -v y d/file', found: /^d\/file: attributes/ },
  { what: 'an empty attribute', shell: 'setfattr -n user.empty d', found: /^d: attributes/ },
  { what: 'an ACL', shell: 'setfacl -m u:1234:r-- d/file', found: /^d\/file: attributes/ },
  { what: 'a default ACL', shell: 'setfacl -m d:u:1234:r-- d', found: /^d: attributes/ },
  { what: 'an inode flag', shell: 'chattr +d d/file', found: /^d\/file: inode flags/, mayFail: true },
  { what: 'an inode flag of a directory', shell: 'chattr +A d', found: /^d: inode flags/, mayFail: true },
  {
    what: 'a hole filled',
    shell: 'dd if=/dev/zero of=hole bs=4096 count=1 conv=notrunc status=none',
    found: /^hole: holes/,
  },
  { what: 'a hole made', shell: 'fallocate -p -o 0 -l 65536 zeros', found: /^zeros: holes/, mayFail: true },
  { what: 'owner', shell: 'chown 1234 d/file', found: /^d\/file: owner/, root: true },
  { what: 'group of a symlink', shell: 'chown -h :1234 link', found: /^link: owner/, root: true },
  { what: 'device number', shell: 'rm device; mknod device c 1 5', found: /^device: device/, root: true },
  { what: 'device type', shell: 'rm device; mknod device b 1 3', found: /^device: type/, root: true },
  {
    what: 'a trusted attribute of a symlink',
    shell: 'setfattr -h -n trusted.x -v y link',
    found: /^link: attributes/,
    root: true,
    mayFail: true,
  },
  {
    what: 'a capability',
    shell: 'setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 d/file',
    found: /^d\/file: attributes/,
    root: true,
    mayFail: true,
  },
];

function plant(root: string): void {
  mkdirSync(`${root}/d`, { recursive: true });
  mkdirSync(`${root}/names`);
  writeFileSync(`${root}/d/file`, 'content');
  writeFileSync(`${root}/large`, Buffer.alloc(3_000_000, 'large'));
  writeFileSync(`${root}/zeros`, Buffer.alloc(131_072));
  writeFileSync(`${root}/e\u0301`, '');
  symlinkSync('target', `${root}/link`);
  execFileSync('mkfifo', [`${root}/fifo`]);
  if (isRoot) execFileSync('mknod', [`${root}/device`, 'c', '1', '3']);
  writeFileSync(`${root}/names/a`, 'x');
  linkSync(`${root}/names/a`, `${root}/names/b`);
  writeFileSync(`${root}/names/c`, 'x');
  writeFileSync(`${root}/hole`, '');
  truncateSync(`${root}/hole`, 10 * 2 ** 30);
  // All of one time, whenever they were made.
  execFileSync('find', [root, '-depth', '-exec', 'touch', '-h', '-d', '2001-01-01T00:00:00Z', '{}', '+']);
}

describe('compare trees', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(realpathSync(tmpdir()), 'holdfast-compare-'));
    plant(`${dir}/a`);
    plant(`${dir}/b`);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('two trees that were made alike are the same, a 10 GiB hole included', async () => {
    const { entries, differences } = await compareTrees(`${dir}/a`, `${dir}/b`);
    expect(differences).to.deep.equal([]);
    expect(entries).to.equal(isRoot ? 14 : 13);
  });

  for (const { what, shell, found, root, mayFail } of changes) {
    it(`finds ${what}, and nothing else`, async function () {
      if (root === true && !isRoot) this.skip(); // Only root can plant this one.
      const { mtimeNs } = timesOf(`${dir}/b`);
      const { status, stderr } = spawnSync('sh', ['-ec', shell], { cwd: `${dir}/b` });
      if (status !== 0 && mayFail === true) this.skip(); // This file system does not have it.
      expect(status, stderr.toString()).to.equal(0);
      restoreTimes(`${dir}/b`, mtimeNs, what);
      const { differences } = await compareTrees(`${dir}/a`, `${dir}/b`);
      expect(differences.length).to.be.greaterThan(0);
      for (const difference of differences)
        expect(difference).to.match(what.includes('Unicode') ? /only in the/ : found);
    });
  }

  it('the root and the holes count only when asked', async () => {
    chmodSync(`${dir}/b`, 0o711);
    execFileSync('dd', ['if=/dev/zero', `of=${dir}/b/hole`, 'bs=4096', 'count=1', 'conv=notrunc', 'status=none']);
    utimesSync(`${dir}/b/hole`, new Date('2001-01-01'), new Date('2001-01-01'));
    const { differences } = await compareTrees(`${dir}/a`, `${dir}/b`, { root: false, holes: false });
    expect(differences).to.deep.equal([]);
  });

  it('finds a tree moved by one level', async () => {
    renameSync(`${dir}/b/d/file`, `${dir}/b/file`);
    unlinkSync(`${dir}/b/fifo`);
    const { differences } = await compareTrees(`${dir}/a`, `${dir}/b`, { root: false });
    expect(differences.filter((difference) => difference.includes('only in'))).to.deep.equal([
      'd/file: only in the first',
      'fifo: only in the first',
      'file: only in the second',
    ]);
  });
});

function timesOf(root: string): { mtimeNs: string } {
  return { mtimeNs: execFileSync('stat', ['-c', '%y', root], { encoding: 'utf8' }).trim() };
}

/** A change moves times too; unless the time is what was changed, it is set back, so that the change stands alone. */
function restoreTimes(root: string, time: string, what: string): void {
  if (what.startsWith('mtime')) return;
  execFileSync('find', [root, '-depth', '-exec', 'touch', '-h', '-d', time, '{}', '+']);
}
