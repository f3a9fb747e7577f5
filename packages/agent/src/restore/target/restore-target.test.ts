import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { expect } from 'chai';
import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Xattr } from '@holdfast/shared/format/manifest/entry';
import {
  encodeStat,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
  statMode,
  statSize,
} from '@holdfast/shared/format/manifest/stat-record';
import { openDescriptors, removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { RestoreTarget, type EntryMetadata, type TargetOptions } from './restore-target.ts';

const isRoot = process.geteuid?.() === 0;

function metadata(
  mode: number,
  more: { size?: number; nlink?: number; xattrs?: Xattr[]; inodeFlags?: number; uid?: number; user?: string } = {},
): EntryMetadata {
  const stat = encodeStat({
    mode,
    uid: more.uid ?? process.geteuid!(),
    gid: process.getegid!(),
    nlink: more.nlink ?? 1,
    size: more.size ?? 0,
    ino: 7n,
    mtimeSeconds: 1_000_000_000,
    mtimeNs: 123_456_789,
    ctimeSeconds: 0,
    ctimeNs: 0,
    rdevMajor: 1,
    rdevMinor: 3,
  });
  return { stat, user: more.user ?? '', group: '', xattrs: more.xattrs ?? [], inodeFlags: more.inodeFlags ?? 0 };
}

const FILE = S_IFREG | 0o644;

describe('restore target', () => {
  let dir: string;
  let outside: string;
  let warnings: string[];
  let descriptors: number;
  let target: RestoreTarget;

  beforeEach(() => {
    outside = scratchDirectory();
    dir = `${scratchDirectory()}/target`;
    warnings = [];
    descriptors = openDescriptors();
  });
  afterEach(() => {
    target?.close();
    expect(openDescriptors(), 'descriptors are all closed').to.equal(descriptors);
    removeScratchDirectories();
  });

  function open(options: Partial<TargetOptions> = {}): RestoreTarget {
    const into = options.into ?? 'fresh';
    RestoreTarget.prepare(fromText(dir), { intoNonEmpty: into === 'merge' });
    target = RestoreTarget.open(fromText(dir), {
      into,
      onWarning: (path, message) => warnings.push(`${path}: ${message}`),
      ...options,
    });
    return target;
  }

  function write(path: string, content: string, entry = metadata(FILE, { size: content.length })): void {
    const file = target.createFile(path, content.length);
    try {
      file.write(Buffer.from(content), 0, content.length, 0);
      file.finish(entry);
    } catch (error) {
      file.abandon();
      throw error;
    }
  }

  function finish(): void {
    target.settle((path, error) => {
      throw new Error(path, { cause: error });
    });
    target.sync();
  }

  /** Everything beneath `outside`: nothing there may ever change. */
  function outsideNow(): string {
    return readdirSync(outside, { recursive: true, encoding: 'utf8' })
      .toSorted()
      .map((name) => {
        const { mode, uid, size, mtimeNs, ctimeNs, nlink } = lstatSync(`${outside}/${name}`, { bigint: true });
        return [name, mode, uid, size, mtimeNs, ctimeNs, nlink].join(' ');
      })
      .join('\n');
  }

  it('prepare makes a missing directory, and refuses one that is not empty unless told', () => {
    open();
    expect(lstatSync(dir).mode & 0o777).to.equal(0o700);
    writeFileSync(`${dir}/x`, '');
    expect(() => RestoreTarget.prepare(dir, { intoNonEmpty: false }))
      .to.throw(HoldfastError)
      .with.property('code', 'FAILED_PRECONDITION');
    RestoreTarget.prepare(dir, { intoNonEmpty: true });
    expect(() => RestoreTarget.prepare(`${dir}/x`, { intoNonEmpty: true })).to.throw(HoldfastError);
    expect(() => RestoreTarget.prepare('relative', { intoNonEmpty: true })).to.throw(HoldfastError);
  });

  it('a file gets its content, holes, mode and time, and nothing is there after abandon', () => {
    open();
    const file = target.createFile('a/b/file', 3 * 2 ** 20);
    file.write(Buffer.from('xxhelloxx'), 2, 5, 2 ** 20);
    file.writeZeros(2 ** 21, 65_536);
    file.finish(metadata(S_IFREG | 0o640, { size: 3 * 2 ** 20 }));
    const stat = statSync(`${dir}/a/b/file`, { bigint: true });
    expect([stat.size, stat.mtimeNs, stat.mode & 0o7777n]).to.deep.equal([
      3n * 2n ** 20n,
      1_000_000_000_123_456_789n,
      0o640n,
    ]);
    expect(Number(stat.blocks) * 512)
      .to.be.lessThan(2 ** 20)
      .and.to.be.greaterThan(65_535);
    expect(
      readFileSync(`${dir}/a/b/file`)
        .subarray(2 ** 20, 2 ** 20 + 6)
        .toString(),
    ).to.equal('hello\0');
    const abandoned = target.createFile('a/abandoned', 5);
    abandoned.write(Buffer.from('12345'), 0, 5, 0);
    abandoned.abandon();
    abandoned.abandon();
    expect(readdirSync(`${dir}/a`)).to.deep.equal(['b']);
  });

  it('T2 fresh: what stands at a path is an error, and the rest goes on', () => {
    open();
    write('a', 'first');
    expect(() => write('a', 'second'))
      .to.throw(HoldfastError)
      .with.property('code', 'ALREADY_EXISTS');
    expect(() => target.createSymlink('a', 'x', metadata(S_IFLNK | 0o777))).to.throw(HoldfastError);
    expect(() => target.createDirectory('a'))
      .to.throw(HoldfastError)
      .with.property('code', 'ALREADY_EXISTS');
    expect(() => write('a/below', 'x'), 'a file in the way')
      .to.throw(HoldfastError)
      .with.property('code', 'PATH_ESCAPES');
    write('b', 'after');
    expect(readFileSync(`${dir}/a`, 'utf8') + readFileSync(`${dir}/b`, 'utf8')).to.equal('firstafter');
  });

  it('links, fifos, sockets and devices', () => {
    open();
    target.createSymlink('link', '\xff/nowhere', metadata(S_IFLNK | 0o777));
    expect(readlinkSync(`${dir}/link`, 'buffer').toString('latin1')).to.equal('\xff/nowhere');
    expect(lstatSync(`${dir}/link`, { bigint: true }).mtimeNs).to.equal(1_000_000_000_123_456_789n);
    expect(target.createSpecial('fifo', metadata(S_IFIFO | 0o606))).to.equal('created');
    expect(target.createSpecial('socket', metadata(S_IFSOCK | 0o711))).to.equal('created');
    expect(lstatSync(`${dir}/fifo`).mode & 0o7777).to.equal(0o606);
    expect(target.createSpecial('device', metadata(S_IFCHR | 0o666))).to.equal(isRoot ? 'created' : 'skipped');
    if (isRoot) expect(lstatSync(`${dir}/device`).rdev).to.equal(lstatSync('/dev/null').rdev);
    else expect(warnings).to.deep.equal(['device: it was not created: only root can make devices']);
    expect(() => target.createSpecial('x', metadata(0o644)))
      .to.throw(HoldfastError)
      .with.property('code', 'DAMAGED');
    expect(() => target.createSymlink('empty', '', metadata(S_IFLNK))).to.throw(HoldfastError);
  });

  it('26 hard links are of the inode that was restored, or of none', () => {
    open();
    const file = target.createFile('a', 1);
    file.write(Buffer.from('x'), 0, 1, 0);
    file.finish(metadata(FILE, { size: 1, nlink: 2 }));
    target.hardLink('a', 'd/b', file.inode);
    expect(lstatSync(`${dir}/d/b`).ino).to.equal(lstatSync(`${dir}/a`).ino);
    expect(() => target.hardLink('a', 'c', 12n))
      .to.throw(HoldfastError)
      .with.property('code', 'PATH_ESCAPES');
    expect(() => target.hardLink('none', 'c'))
      .to.throw(HoldfastError)
      .with.property('code', 'NOT_FOUND');
    expect(existsSync(`${dir}/c`)).to.equal(false);
  });

  it('37 N1 merge: a planted hard link or symlink is replaced, never written through', () => {
    writeFileSync(`${outside}/precious`, 'precious');
    mkdirSync(dir);
    linkSync(`${outside}/precious`, `${dir}/hard`);
    symlinkSync(`${outside}/precious`, `${dir}/soft`);
    symlinkSync(outside, `${dir}/directory`);
    writeFileSync(`${dir}/plain`, 'old');
    open({ into: 'merge' });
    write('plain', 'new');
    write('hard', 'new');
    expect(() => write('soft', 'new'))
      .to.throw(HoldfastError)
      .with.property('code', 'ALREADY_EXISTS');
    expect(() => write('directory/x', 'new'))
      .to.throw(HoldfastError)
      .with.property('code', 'PATH_ESCAPES');
    expect(() => target.createDirectory('directory'))
      .to.throw(HoldfastError)
      .with.property('code', 'ALREADY_EXISTS');
    expect(readFileSync(`${outside}/precious`, 'utf8')).to.equal('precious');
    expect(readFileSync(`${dir}/hard`, 'utf8') + readFileSync(`${dir}/plain`, 'utf8')).to.equal('newnew');
    target.close();
    open({ into: 'merge', replaceOtherTypes: true });
    write('soft', 'new');
    target.createDirectory('directory');
    write('directory/x', 'new');
    finish();
    expect(lstatSync(`${dir}/soft`).isFile()).to.equal(true);
    expect(readdirSync(outside)).to.deep.equal(['precious']);
    expect(readFileSync(`${outside}/precious`, 'utf8')).to.equal('precious');
    expect(readdirSync(dir).toSorted(), 'N3 no temporary name is left').to.deep.equal([
      'directory',
      'hard',
      'plain',
      'soft',
    ]);
  });

  it('N2 merge: a directory gives way to a file only when told, with all that is in it', () => {
    mkdirSync(`${dir}/d/deep`, { recursive: true });
    symlinkSync(outside, `${dir}/d/deep/link`);
    writeFileSync(`${outside}/kept`, '');
    const before = outsideNow();
    open({ into: 'merge' });
    expect(() => write('d', 'x'))
      .to.throw(HoldfastError)
      .with.property('code', 'ALREADY_EXISTS');
    target.close();
    open({ into: 'merge', replaceOtherTypes: true });
    write('d', 'x');
    target.createSymlink('d', 'now a link', metadata(S_IFLNK | 0o777));
    expect(readlinkSync(`${dir}/d`)).to.equal('now a link');
    expect(outsideNow()).to.equal(before);
  });

  it('merge: hard links of what is linked already, or differently', () => {
    mkdirSync(dir);
    writeFileSync(`${dir}/a`, 'x');
    linkSync(`${dir}/a`, `${dir}/b`);
    writeFileSync(`${dir}/c`, 'another');
    open({ into: 'merge' });
    target.hardLink('a', 'b');
    target.hardLink('a', 'c');
    expect(new Set(['a', 'b', 'c'].map((name) => lstatSync(`${dir}/${name}`).ino)).size).to.equal(1);
    expect(readdirSync(dir)).to.have.length(3);
  });

  it('a restore into its own earlier restore, with read-only and immutable files', function () {
    mkdirSync(`${dir}/locked`, { recursive: true });
    writeFileSync(`${dir}/locked/file`, 'old');
    writeFileSync(`${dir}/append`, 'old');
    chmodSync(`${dir}/locked/file`, 0o400);
    if (isRoot) execFileSync('chattr', ['+i', `${dir}/locked/file`, `${dir}/locked`]);
    if (isRoot) execFileSync('chattr', ['+a', `${dir}/append`]);
    open({ into: 'merge' });
    write('locked/file', 'new');
    write('locked/another', 'new');
    const update = target.openForUpdate('append', 3)!;
    update.finish(metadata(FILE, { size: 3 }));
    finish();
    expect(readFileSync(`${dir}/locked/file`, 'utf8')).to.equal('new');
    expect(lstatSync(`${dir}/append`, { bigint: true }).mtimeNs).to.equal(1_000_000_000_123_456_789n);
  });

  it('delta: an existing file is read and written in place only if it has one name', () => {
    mkdirSync(dir);
    writeFileSync(`${dir}/file`, 'old content, longer');
    chmodSync(`${dir}/file`, 0o4755);
    writeFileSync(`${outside}/precious`, 'precious');
    linkSync(`${outside}/precious`, `${dir}/hard`);
    symlinkSync(`${outside}/precious`, `${dir}/soft`);
    execFileSync('mkfifo', [`${dir}/fifo`]);
    open({ into: 'merge' });
    for (const path of ['hard', 'soft', 'fifo', 'none', 'none/x', 'soft/x'])
      expect(target.openForUpdate(path, 1), path).to.equal(undefined);
    const file = target.openForUpdate('file', 11)!;
    const buffer = Buffer.alloc(64);
    expect(file.read(buffer, 0, 64, 0)).to.equal(19);
    expect(lstatSync(`${dir}/file`).mode & 0o7777, 'looking changes nothing').to.equal(0o4755);
    file.write(Buffer.from('new'), 0, 3, 0);
    expect(lstatSync(`${dir}/file`).mode & 0o7777).to.equal(0o600);
    file.makeHole(3, 4);
    file.finish(metadata(FILE, { size: 11 }));
    expect(readFileSync(`${dir}/file`, 'latin1')).to.equal('new\0\0\0\0tent');
    expect(readFileSync(`${outside}/precious`, 'utf8')).to.equal('precious');
  });

  it('T3 directories come last: their times survive, and what an existing one had too much goes', () => {
    mkdirSync(`${dir}/d`, { recursive: true });
    execFileSync('setfattr', ['-n', 'user.extra', '-v', 'x', `${dir}/d`]);
    open({ into: 'merge' });
    for (const path of ['', 'd', 'd/e']) {
      target.createDirectory(path);
      target.deferDirectory(
        path,
        metadata(S_IFDIR | 0o751, { xattrs: [{ name: 'user.wanted', value: Buffer.from('y') }] }),
      );
    }
    write('d/e/file', 'x');
    finish();
    for (const path of [dir, `${dir}/d`, `${dir}/d/e`]) {
      expect(lstatSync(path, { bigint: true }).mtimeNs).to.equal(1_000_000_000_123_456_789n);
      expect(lstatSync(path).mode & 0o7777).to.equal(0o751);
      expect(execFileSync('getfattr', ['--absolute-names', path], { encoding: 'utf8' }))
        .to.include('user.wanted')
        .and.not.to.include('user.extra');
    }
  });

  it('a directory that is gone at the end is an error of its own', () => {
    open();
    target.createDirectory('a');
    target.deferDirectory('a', metadata(S_IFDIR | 0o755));
    target.deferDirectory('b', metadata(S_IFDIR | 0o755));
    const failed: string[] = [];
    target.settle((path, error) => failed.push(`${path} ${error.code}`));
    expect(failed).to.deep.equal(['b NOT_FOUND']);
    expect(lstatSync(`${dir}/a`).mode & 0o777).to.equal(0o755);
  });

  it('nothing is inherited that the snapshot does not have: default ACLs, setgid directories', () => {
    mkdirSync(dir);
    execFileSync('setfacl', ['-m', 'd:u:1234:rwx', dir]);
    chmodSync(dir, 0o2755);
    open({ into: 'merge' });
    write('d/file', 'x');
    write('file', 'x');
    target.createSpecial('fifo', metadata(S_IFIFO | 0o644));
    target.createDirectory('d');
    target.deferDirectory('d', metadata(S_IFDIR | 0o755));
    finish();
    const lists = execFileSync('getfacl', ['-cp', `${dir}/d/file`, `${dir}/file`, `${dir}/fifo`, `${dir}/d`], {
      encoding: 'utf8',
    });
    expect(lists).not.to.include('1234');
    expect(lstatSync(`${dir}/d`).mode & 0o7777).to.equal(0o755);
    expect(lstatSync(`${dir}/d/file`).gid).to.equal(process.getegid!());
  });

  it('39 setuid bits and capabilities are left out with a warning unless asked', () => {
    open();
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
    write(
      'x',
      'x',
      metadata(S_IFREG | 0o6755, { size: 1, xattrs: [{ name: 'security.capability', value: capability }] }),
    );
    expect(lstatSync(`${dir}/x`).mode & 0o7777).to.equal(0o755);
    expect(warnings).to.deep.equal([
      'x: its setuid and setgid bits were left out',
      'x: its capabilities were left out',
    ]);
    if (!isRoot) return;
    target.close();
    dir = `${dir}-2`;
    open({ setuid: true });
    write(
      'x',
      'x',
      metadata(S_IFREG | 0o6755, { size: 1, uid: 1234, xattrs: [{ name: 'security.capability', value: capability }] }),
    );
    expect(lstatSync(`${dir}/x`).mode & 0o7777, 'the owner was set before the bits').to.equal(0o6755);
    expect(execFileSync('getfattr', ['-n', 'security.capability', '-e', 'hex', '--absolute-names', `${dir}/x`], { encoding: 'utf8' })).to.include(capability.toString('hex')); // prettier-ignore
  });

  it('what can not be set is a warning, and the file is there', () => {
    open();
    write('x', 'x', metadata(FILE, { size: 1, xattrs: [{ name: 'nonsense.x', value: Buffer.from('v') }] }));
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.match(/^x: its attribute nonsense.x could not be set/);
    expect(readFileSync(`${dir}/x`, 'utf8')).to.equal('x');
  });

  it('owners by name, where this host has the name', () => {
    open({ ownersByName: true });
    const me = execFileSync('id', ['-un'], { encoding: 'utf8' }).trim();
    write('known', 'x', metadata(FILE, { size: 1, uid: 4321, user: me }));
    expect(lstatSync(`${dir}/known`).uid).to.equal(process.geteuid!());
    if (!isRoot) return;
    write('unknown', 'x', metadata(FILE, { size: 1, uid: 4321, user: 'no such user' }));
    expect(lstatSync(`${dir}/unknown`).uid).to.equal(4321);
  });

  it('look, list and remove see the target alone', () => {
    open();
    write('a/b', '12345');
    symlinkSync(outside, `${dir}/out`);
    writeFileSync(`${outside}/x`, '');
    const before = outsideNow();
    expect(statSize(target.look('a/b')!)).to.equal(5);
    expect(statMode(target.look('')!) & S_IFDIR).to.equal(S_IFDIR);
    expect([target.look('none'), target.look('a/b/c'), target.look('out/x')]).to.deep.equal([
      undefined,
      undefined,
      undefined,
    ]);
    expect(target.list('')).to.deep.equal(['a', 'out']);
    expect(target.list('out')).to.deep.equal([]);
    for (const path of ['out/x', 'a', 'out', 'none']) target.remove(path);
    expect(target.list('')).to.deep.equal([]);
    write('a/b', 'again');
    expect(readFileSync(`${dir}/a/b`, 'utf8')).to.equal('again');
    expect(outsideNow()).to.equal(before);
  });

  it('25 R2 removes and restores a tree of 300 levels beyond PATH_MAX with few descriptors', () => {
    open();
    const deep = Array.from({ length: 300 }, (_, level) => `${level}`.padEnd(100, 'x')).join('/');
    write(`${deep}/file`, 'deep');
    target.createSymlink(`${deep}/link`, 'file', metadata(S_IFLNK | 0o777));
    target.deferDirectory(deep, metadata(S_IFDIR | 0o700));
    finish();
    expect(openDescriptors() - descriptors).to.be.at.most(70);
    expect(statSize(target.look(`${deep}/file`)!)).to.equal(4);
    target.remove(deep.slice(0, deep.indexOf('/')));
    expect(readdirSync(dir)).to.deep.equal([]);
  });
});
