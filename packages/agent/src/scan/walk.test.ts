import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { expect } from 'chai';
import { comparePaths, fromText, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { statMode, statSize } from '@holdfast/shared/format/manifest/stat-record';
import { closeFd, openAt } from '../os/descriptors.ts';
import { makeDirectoryAt } from '../os/directory-entries.ts';
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from '../os/flags.ts';
import { openDescriptors, removeScratchDirectories, scratchDirectory } from '../testing/scratch-directory.ts';
import { ExcludeRules } from './exclude-rules.ts';
import { OPEN_DIRECTORIES } from './open-directories.ts';
import { rootOf } from './selected-paths.ts';
import { Walk, type WalkNote, type WalkOptions } from './walk.ts';

const isRoot = process.geteuid?.() === 0;

/** Every path of a walk, and its notes as 'kind path'. */
function walkAll(
  root: string,
  options: Partial<WalkOptions> = {},
  onEntry?: (walk: Walk) => void,
): { paths: ByteString[]; notes: string[] } {
  const notes: WalkNote[] = [];
  const walk = new Walk({ root: fromText(root), onNote: (note) => notes.push(note), ...options });
  const paths: ByteString[] = [];
  try {
    while (walk.next()) {
      paths.push(walk.path);
      onEntry?.(walk);
    }
  } finally {
    walk.close();
  }
  return { paths, notes: notes.map(({ kind, path }) => `${kind} ${path}`) };
}

describe('walk', () => {
  let dir: string;
  let descriptors: number;
  beforeEach(() => {
    dir = scratchDirectory();
    descriptors = openDescriptors();
  });
  afterEach(() => {
    expect(openDescriptors(), 'descriptors are all closed').to.equal(descriptors);
    removeScratchDirectories();
  });

  function plant(...paths: string[]): void {
    for (const path of paths) {
      if (path.endsWith('/')) mkdirSync(`${dir}/${path}`, { recursive: true });
      else {
        mkdirSync(`${dir}/${path.slice(0, path.lastIndexOf('/') + 1)}`, { recursive: true });
        writeFileSync(`${dir}/${path}`, path);
      }
    }
  }

  it('W1 35 gives the root, then every entry once, a directory before what is in it and "/" before any byte', () => {
    plant('a/b/c', 'a/b!', 'a-b', 'a.b/x', 'a0', 'é', 'b/', '\u0001');
    const { paths } = walkAll(dir);
    expect(paths).to.deep.equal([
      '',
      '\u0001',
      'a',
      'a/b',
      'a/b/c',
      'a/b!',
      'a-b',
      'a.b',
      'a.b/x',
      'a0',
      'b',
      fromText('é'),
    ]);
    expect(paths.toSorted(comparePaths)).to.deep.equal(paths);
  });

  it('the root may be a file, a link to a directory, or "/" with some paths', () => {
    plant('real/file', 'real/other');
    symlinkSync('real', `${dir}/link`);
    expect(walkAll(`${dir}/real/file`).paths).to.deep.equal(['']);
    expect(walkAll(`${dir}/link/`).paths).to.deep.equal(['', 'file', 'other']);
    const below = dir.slice(1);
    const { root, only } = rootOf([`${dir}/real/file`, `${dir}//link/`].map(fromText));
    const { paths } = walkAll(root, { only: only ?? [] });
    expect(paths.filter((path) => path.startsWith(below))).to.deep.equal([
      below,
      `${below}/link`,
      `${below}/real`,
      `${below}/real/file`,
    ]);
    expect(paths.every((path) => path.startsWith(below) || below.startsWith(path))).to.equal(true);
    expect(() => walkAll(`${dir}/none`))
      .to.throw(HoldfastError)
      .with.property('code', 'NOT_FOUND');
    expect(() => walkAll('relative'))
      .to.throw(HoldfastError)
      .with.property('code', 'INVALID_ARGUMENT');
  });

  it('`only` takes subtrees whole, their parents alone, and names what is missing', () => {
    plant('a/b/c', 'a/b/d/e', 'a/x', 'q/r', 'z');
    const { paths, notes } = walkAll(dir, { only: ['a/b', 'z', 'q/none'] });
    expect(paths).to.deep.equal(['', 'a', 'a/b', 'a/b/c', 'a/b/d', 'a/b/d/e', 'q', 'z']);
    expect(notes).to.deep.equal(['missing q/none']);
    expect(() => walkAll(dir, { only: ['../x'] }))
      .to.throw(HoldfastError)
      .with.property('code', 'INVALID_ARGUMENT');
  });

  it('skipChildren leaves out what is beneath, and nothing else', () => {
    plant('a/b', 'c/d', 'e');
    const { paths } = walkAll(dir, {}, (walk) => {
      if (walk.path === 'a') walk.skipChildren();
    });
    expect(paths).to.deep.equal(['', 'a', 'c', 'c/d', 'e']);
  });

  it('W2 27 follows no link, in circles or out of the source', () => {
    plant('a/file');
    symlinkSync('..', `${dir}/a/up`);
    symlinkSync('/', `${dir}/slash`);
    expect(walkAll(dir).paths).to.deep.equal(['', 'a', 'a/file', 'a/up', 'slash']);
  });

  it('W3 25 goes 1,000 levels down and comes back to what is left, with few descriptors', () => {
    let fd = openAt(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
    for (let level = 0; level < 1000; level++) {
      // A sibling that comes after the deep one, so that every directory is taken up again.
      makeDirectoryAt(fd, 'y', 0o700);
      makeDirectoryAt(fd, 'x'.repeat(40), 0o700);
      const next = openAt(fd, 'x'.repeat(40), O_RDONLY | O_DIRECTORY);
      closeFd(fd);
      fd = next;
    }
    closeFd(fd);
    let most = 0;
    const { paths, notes } = walkAll(dir, {}, () => (most = Math.max(most, openDescriptors() - descriptors)));
    expect(paths).to.have.length(2001);
    expect(paths.toSorted(comparePaths)).to.deep.equal(paths);
    expect(notes).to.deep.equal([]);
    expect(most).to.be.at.most(OPEN_DIRECTORIES + 4);
  }).timeout(120_000);

  it('W3 a directory far above that was moved meanwhile is not confused with another', () => {
    const deep = Array.from({ length: OPEN_DIRECTORIES + 20 }, () => 'd').join('/');
    plant(`${deep}/file`, 'd/d/z after', 'd/d/d/z after');
    const { paths, notes } = walkAll(dir, {}, (walk) => {
      if (!walk.path.endsWith('/file')) return;
      renameSync(`${dir}/d/d/d`, `${dir}/moved`);
      mkdirSync(`${dir}/d/d/d`);
      writeFileSync(`${dir}/d/d/d/z after`, 'another');
    });
    // What was open or reached through `..` is still the directory that was listed.
    expect(paths.filter((path) => path.endsWith('z after'))).to.deep.equal(['d/d/d/z after', 'd/d/z after']);
    expect(notes).to.deep.equal([]);
  });

  it('W4 22 a file that vanishes between listing and look is a note', () => {
    plant('a', 'b', 'c/d', 'e');
    const { paths, notes } = walkAll(dir, {}, (walk) => {
      if (walk.path === 'a') unlinkSync(`${dir}/b`);
      if (walk.path === 'c') rmSync(`${dir}/c`, { recursive: true });
    });
    expect(paths).to.deep.equal(['', 'a', 'c', 'e']);
    expect(notes).to.deep.equal(['vanished b', 'vanished c']);
  });

  it('W4 22 a directory that becomes a link, a file or a fifo is not followed and does not hang', () => {
    plant('a/x', 'b/x', 'c/x', 'outside/secret');
    const { paths, notes } = walkAll(dir, {}, (walk) => {
      if (!['a', 'b', 'c'].includes(walk.path)) return;
      renameSync(`${dir}/${walk.path}`, `${dir}/${walk.path}-moved`);
      if (walk.path === 'a') symlinkSync('outside', `${dir}/a`);
      else if (walk.path === 'b') writeFileSync(`${dir}/b`, '');
      else execFileSync('mkfifo', [`${dir}/c`]);
    });
    expect(paths).to.deep.equal(['', 'a', 'b', 'c', 'outside', 'outside/secret']);
    expect(notes).to.deep.equal(['replaced a', 'replaced b', 'replaced c']);
  });

  it('W4 23 a directory that can not be listed is an entry with a note', function () {
    if (isRoot) this.skip(); // Root may list every directory.
    plant('closed/x', 'open/x');
    chmodSync(`${dir}/closed`, 0);
    const { paths, notes } = walkAll(dir);
    chmodSync(`${dir}/closed`, 0o700);
    expect(paths).to.deep.equal(['', 'closed', 'open', 'open/x']);
    expect(notes).to.deep.equal(['unreadable closed']);
  });

  it('22 a file swapped for a fifo, a link, a device or another file: never hangs, never follows', () => {
    plant('fifo', 'link', 'gone', 'other', 'same', 'directory');
    const outcomes: string[] = [];
    walkAll(dir, {}, (walk) => {
      if (walk.path === '') return;
      const path = `${dir}/${walk.path}`;
      if (walk.path !== 'same') unlinkSync(path);
      if (walk.path === 'fifo') execFileSync('mkfifo', [path]);
      if (walk.path === 'link') symlinkSync('/etc/passwd', path);
      if (walk.path === 'other') writeFileSync(path, 'other, longer content');
      if (walk.path === 'directory') mkdirSync(path);
      const outcome = walk.openFile();
      outcomes.push(`${walk.path} ${outcome.kind}`);
      if (outcome.kind !== 'opened') return;
      if (walk.path === 'other') expect(statSize(outcome.file.stat)).to.equal(21);
      outcome.file.close();
    });
    expect(outcomes).to.deep.equal([
      'directory replaced',
      'fifo replaced',
      'gone vanished',
      'link replaced',
      'other opened',
      'same opened',
    ]);
  });

  it('22 34 tells when a file changed while it was read, whatever its mtime says', () => {
    plant('file');
    walkAll(dir, {}, (walk) => {
      if (walk.path === '') return;
      const outcome = walk.openFile();
      if (outcome.kind !== 'opened') throw new Error(outcome.kind);
      const { file } = outcome;
      const buffer = Buffer.alloc(10);
      expect(file.read(buffer, 0, 10, 0)).to.equal(4);
      expect(file.stillTheSame()).to.equal(true);
      execFileSync('sh', [
        '-c',
        'touch -r "$1" "$1.ref"; printf ELIF > "$1"; touch -r "$1.ref" "$1"',
        'sh',
        `${dir}/file`,
      ]);
      expect(file.stillTheSame()).to.equal(false);
      expect(file.stillTheSame(), 'a second reading starts from here').to.equal(true);
      writeFileSync(`${dir}/file`, 'longer than before');
      expect(file.stillTheSame()).to.equal(false);
      expect(file.size).to.equal(18);
      file.close();
    });
  });

  it('26 names of one inode carry the same inode number and link count', () => {
    plant('a');
    linkSync(`${dir}/a`, `${dir}/b`);
    const seen: string[] = [];
    walkAll(dir, {}, (walk) => seen.push(walk.stat.subarray(0, 56).toString('hex')));
    expect(seen[1]).to.equal(seen[2]);
    expect(seen[1]).not.to.equal(seen[0]);
  });

  it('excludeCaches keeps a tagged directory and its tag alone', () => {
    plant('cache/deep/file', 'cache/a', 'not/file');
    writeFileSync(`${dir}/cache/CACHEDIR.TAG`, 'Signature: 8a477f597d28d172789f06886806bc55\n# made by');
    writeFileSync(`${dir}/not/CACHEDIR.TAG`, 'something else');
    const { paths, notes } = walkAll(dir, { excludeCaches: true });
    expect(paths).to.deep.equal(['', 'cache', 'cache/CACHEDIR.TAG', 'not', 'not/CACHEDIR.TAG', 'not/file']);
    expect(notes).to.deep.equal(['cache-directory cache']);
    expect(walkAll(dir).paths).to.include('cache/deep/file');
  });

  it('excludes leave out, includes bring back with the directories that lead there', () => {
    plant('keep', 'x.tmp', 'cache/a', 'cache/deep/er/wanted/file', 'cache/deep/other', 'logs/a.log', 'logs/b');
    const rules = new ExcludeRules(['*.tmp', '/cache/', '*.log'], ['/cache/deep/er/wanted']);
    const { paths } = walkAll(dir, { rules }, (walk) => {
      if (walk.path === 'cache/deep') expect(statMode(walk.stat) & 0o170000).to.equal(0o040000);
      walk.capture();
    });
    expect(paths).to.deep.equal(['', 'cache', 'cache/deep', 'cache/deep/er', 'cache/deep/er/wanted', 'cache/deep/er/wanted/file', 'keep', 'logs', 'logs/b']); // prettier-ignore
    const skipped = walkAll(dir, { rules }, (walk) => {
      if (walk.path === 'cache') walk.skipChildren();
    });
    expect(skipped.paths).to.deep.equal(['', 'cache', 'keep', 'logs', 'logs/b']);
    expect(walkAll(dir, { rules: new ExcludeRules(['/cache'], ['/cache/none/x']) }).paths).not.to.include('cache');
  });

  describe('mounts (root alone)', () => {
    const mounted: string[] = [];
    function mount(...args: string[]): void {
      execFileSync('mount', args);
      mounted.push(args.at(-1)!);
    }
    before(function () {
      const works = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0;
      if (!works) this.skip(); // Mounting takes root with CAP_SYS_ADMIN.
    });
    afterEach(() => {
      for (const path of mounted.splice(0).toReversed()) execFileSync('umount', [path]);
      rmdirSync(`${dir}/mnt`);
    });
    beforeEach(() => mkdirSync(`${dir}/mnt`));

    it('36 another file system is entered or not, as told; a virtual one never', () => {
      mount('-t', 'tmpfs', 'tmpfs', `${dir}/mnt`);
      plant('mnt/inside', 'proc/');
      mount('-t', 'proc', 'proc', `${dir}/proc`);
      const all = walkAll(dir);
      expect(all.paths).to.deep.equal(['', 'mnt', 'mnt/inside', 'proc']);
      expect(all.notes).to.deep.equal(['virtual-file-system proc']);
      const systems: number[] = [];
      const one = walkAll(dir, { oneFileSystem: true }, (walk) => systems.push(walk.fileSystem));
      expect(one.paths).to.deep.equal(['', 'mnt', 'proc']);
      expect(one.notes).to.deep.equal(['other-file-system mnt', 'virtual-file-system proc']);
      expect(systems[0]).to.equal(0);
      expect(new Set(systems).size).to.equal(3);
      const some: number[] = [];
      walkAll(dir, { only: ['proc'] }, (walk) => some.push(walk.fileSystem));
      expect(some, 'a walk of some paths knows it by the same number').to.deep.equal([0, systems[2]]);
    });

    it('W5 36 a bind mount of a directory into itself ends', () => {
      plant('a/file');
      mount('--bind', dir, `${dir}/mnt`);
      const { paths, notes } = walkAll(dir);
      expect(paths).to.deep.equal(['', 'a', 'a/file', 'mnt']);
      expect(notes).to.deep.equal(['loop mnt']);
    });
  });
});
