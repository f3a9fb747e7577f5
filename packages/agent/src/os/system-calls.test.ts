// The bindings against what Node's fs and the system's own tools say of the same files.

import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { decodeStat } from '@holdfast/shared/format/manifest/stat-record';
import { openDescriptors, removeScratchDirectories, scratchDirectory } from '../testing/scratch-directory.ts';
import { CName } from './c-name.ts';
import { openAt, readAt, seek, withDescriptor, writeAt } from './descriptors.ts';
import { linkAt, makeDirectoryAt, makeSymlinkAt, readLinkAt, renameAt } from './directory-entries.ts';
import { DirectoryListing, sortNames } from './directory-listing.ts';
import { EEXIST, EINVAL, ENOENT, ENOSPC, ENXIO, EPERM, systemCallError } from './errno.ts';
import { compose, extentsOf } from './extents.ts';
import { parseMounts } from './file-systems.ts';
import { AT_FDCWD, O_DIRECTORY, O_RDONLY, O_RDWR, SEEK_DATA } from './flags.ts';
import { getInodeFlags, setMtime } from './inode.ts';
import { openDirectoryPath, splitPath } from './long-path.ts';
import { OwnerNames } from './owner-names.ts';
import { Statx, wordsOf } from './statx.ts';
import { hasXattr, listXattrs, readXattrs, removeXattr, setXattr } from './xattrs.ts';

const isRoot = process.geteuid?.() === 0;

describe('system calls', () => {
  let dir: string;
  beforeEach(() => {
    dir = scratchDirectory();
  });
  afterEach(removeScratchDirectories);

  it('statx fills the stat record with what lstat says', () => {
    writeFileSync(`${dir}/file`, 'twelve bytes');
    symlinkSync('somewhere', `${dir}/link`);
    linkSync(`${dir}/file`, `${dir}/second`);
    utimesSync(`${dir}/file`, 1, -5);
    const statx = new Statx();
    const record = Buffer.from(new ArrayBuffer(64));
    for (const path of [`${dir}/file`, `${dir}/link`, dir, '/dev/null', '/proc/self/fd']) {
      expect(statx.at(AT_FDCWD, new CName().of(path))).to.equal(0);
      statx.writeRecord(wordsOf(record));
      const there = lstatSync(path, { bigint: true });
      const found = decodeStat(record);
      expect(BigInt(found.mode)).to.equal(there.mode);
      expect(BigInt(found.uid)).to.equal(there.uid);
      expect(BigInt(found.gid)).to.equal(there.gid);
      expect(BigInt(found.nlink)).to.equal(there.nlink);
      expect(BigInt(found.size)).to.equal(there.size);
      expect(found.ino).to.equal(there.ino);
      if (path === '/proc/self/fd') continue; // Its times are those of the call.
      expect(BigInt(found.mtimeSeconds) * 1_000_000_000n + BigInt(found.mtimeNs)).to.equal(there.mtimeNs);
      expect(BigInt(found.ctimeSeconds) * 1_000_000_000n + BigInt(found.ctimeNs)).to.equal(there.ctimeNs);
    }
    expect([statx.at(AT_FDCWD, new CName().of('/dev/null')), statx.mode & 0o170000]).to.deep.equal([0, 0o020000]);
  });

  it('a call that fails answers −errno, and the error names call, errno and path', () => {
    expect(new Statx().at(AT_FDCWD, new CName().of(`${dir}/none`))).to.equal(-ENOENT);
    expect(openAt(AT_FDCWD, `${dir}/none`, O_RDONLY)).to.equal(-ENOENT);
    expect(openAt(AT_FDCWD, 'x'.repeat(5000), O_RDONLY)).to.be.lessThan(0);
    expect(readAt(-1, Buffer.alloc(1), 0, 1, 0)).to.be.lessThan(0);
    const error = systemCallError(-ENOSPC, 'pwrite', 'write', 'a\xff');
    expect(error).to.be.instanceOf(HoldfastError);
    expect(error.code).to.equal('STORAGE_FULL');
    expect(error.details).to.deep.equal({ syscall: 'pwrite', errno: 'ENOSPC', path: 'a\\xff' });
    expect(systemCallError(-EPERM, 'x', 'y', '').code).to.equal('NOT_ALLOWED');
    expect(systemCallError(-EINVAL, 'x', 'y', '').code).to.equal('SYSTEM_CALL_FAILED');
    expect(() => new CName().of('a\0b'))
      .to.throw(HoldfastError)
      .with.property('code', 'PATH_ESCAPES');
  });

  it('24 a listing gives every name as its bytes, in one order whatever the file system gives', () => {
    const names = [
      '\xff\xfe',
      'a',
      '-0',
      '__proto__',
      'new\nline',
      'n'.repeat(255),
      ...Array.from({ length: 3000 }, (_, i) => `many ${i}`),
    ];
    for (const name of names) writeFileSync(Buffer.from(`${dir}/${name}`, 'latin1'), '');
    const found: string[] = [];
    withDescriptor(openAt(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY), (fd) => new DirectoryListing().read(fd, found));
    sortNames(found);
    expect(found).to.deep.equal(names.toSorted());
  });

  it('reads and writes at offsets beyond 4 GiB, into a part of a buffer and no further', () => {
    withDescriptor(openAt(AT_FDCWD, `${dir}/file`, O_RDWR | 0o100, 0o600), (fd) => {
      const far = 5 * 2 ** 32 + 7;
      expect(writeAt(fd, Buffer.from('..hello..'), 2, 5, far)).to.equal(0);
      const buffer = Buffer.alloc(9, '.');
      expect(readAt(fd, buffer, 2, 7, far)).to.equal(5);
      expect(buffer.toString()).to.equal('..hello..');
      expect(seek(fd, 0, SEEK_DATA)).to.be.greaterThan(5 * 2 ** 32 - 65_536);
      expect(seek(fd, far + 5, SEEK_DATA)).to.equal(-ENXIO);
      expect(() => writeAt(fd, buffer, 5, 5, 0)).to.throw(RangeError);
    });
    expect(statSync(`${dir}/file`).size).to.equal(5 * 2 ** 32 + 12);
  });

  it('30 sets times to the nanosecond, before 1970 and after 2106', () => {
    writeFileSync(`${dir}/file`, '');
    const record = Buffer.alloc(64);
    for (const [seconds, ns] of [
      [-2_147_483_647, 1],
      [-1, 999_999_999],
      [0, 1],
      [15_032_385_535, 0],
    ] as const) {
      record.writeBigInt64LE(BigInt(seconds), 32);
      record.writeUInt32LE(ns, 48);
      const fd = openSync(`${dir}/file`, 'r');
      expect(setMtime(fd, record)).to.equal(0);
      closeSync(fd);
      expect(execFileSync('stat', ['-c', '%.9Y', `${dir}/file`], { encoding: 'utf8' }).trim()).to.equal(
        statText(seconds, ns),
      );
    }
  });

  it('29 attributes are those that getfattr shows, empty values and NULs included', () => {
    writeFileSync(`${dir}/file`, '');
    withDescriptor(openAt(AT_FDCWD, `${dir}/file`, O_RDWR), (fd) => {
      for (const [name, value] of [
        ['user.b', 'x\0y'],
        ['user.a', ''],
        ['user.\xff', '\x80'],
      ] as const) {
        expect(setXattr(fd, name, Buffer.from(value, 'latin1'))).to.equal(0);
      }
      const read = readXattrs(fd);
      if (typeof read === 'number') throw new Error(`errno ${-read}`);
      expect(read.xattrs.filter(({ name }) => name.startsWith('user.')).map(({ name, value }) => [name, value.toString('latin1')])).to.deep.equal([['user.a', ''], ['user.b', 'x\0y'], ['user.\xff', '\x80']]); // prettier-ignore
      const shown = execFileSync('getfattr', ['-d', '-e', 'hex', '--absolute-names', `${dir}/file`], {
        encoding: 'latin1',
      });
      expect(shown)
        .to.include('user.b=0x780079')
        .and.to.match(/user\.(\xff|\\377)=0x80/);
      expect([hasXattr(fd, 'user.a'), hasXattr(fd, 'user.c')]).to.deep.equal([true, false]);
      expect(removeXattr(fd, 'user.a')).to.equal(0);
      expect(listXattrs(fd)).to.include('user.b').and.not.to.include('user.a');
    });
  });

  it('inode flags are those that lsattr shows', function () {
    writeFileSync(`${dir}/file`, '');
    if (spawnSync('chattr', ['+dA', `${dir}/file`]).status !== 0) this.skip(); // No such flags on this file system.
    const fd = openSync(`${dir}/file`, 'r');
    expect(getInodeFlags(fd) & 0xf0).to.equal(0xc0);
    closeSync(fd);
  });

  it('33 extents: data, holes, and what was allocated without writing', () => {
    const fd = openSync(`${dir}/file`, 'w+');
    ftruncateSync(fd, 2 ** 20);
    writeSync(fd, Buffer.alloc(65_536, 1), 0, 65_536, 262_144);
    const extents = extentsOf(fd, 2 ** 20, statSync(`${dir}/file`).blocks * 512);
    closeSync(fd);
    expect(extents).to.deep.equal([
      { kind: 'hole', offset: 0, length: 262_144 },
      { kind: 'data', offset: 262_144, length: 65_536 },
      { kind: 'hole', offset: 327_680, length: 720_896 },
    ]);
    expect(
      compose(
        100,
        [{ from: 40, to: 60 }],
        [
          { from: 10, to: 50 },
          { from: 70, to: 200 },
        ],
      ),
    ).to.deep.equal([
      { kind: 'hole', offset: 0, length: 10 },
      { kind: 'zeros', offset: 10, length: 30 },
      { kind: 'data', offset: 40, length: 20 },
      { kind: 'hole', offset: 60, length: 10 },
      { kind: 'zeros', offset: 70, length: 30 },
    ]);
  });

  it('names of owners both ways, and none for an unknown number', () => {
    const names = new OwnerNames();
    const me = userInfo();
    expect(names.user(me.uid)).to.equal(me.username);
    expect(names.userId(me.username)).to.equal(me.uid);
    expect([names.user(0), names.group(0)]).to.deep.equal(['root', 'root']);
    expect([names.user(4_294_967_294), names.group(3_999_999_999)]).to.deep.equal(['', '']);
    expect([names.userId('no such user'), names.groupId('')]).to.deep.equal([undefined, undefined]);
    for (const line of readFileSync('/etc/group', 'utf8').trim().split('\n')) {
      const [name = '', , gid] = line.split(':');
      expect(names.groupId(name)).to.equal(Number(gid));
    }
  });

  it('25 opens a directory beyond PATH_MAX', () => {
    let fd = openDirectoryPath(dir);
    let path = dir;
    for (let level = 0; level < 30; level++) {
      const name = `${level}`.padEnd(250, 'x');
      expect(makeDirectoryAt(fd, name, 0o700)).to.equal(0);
      const next = openAt(fd, name, O_RDONLY | O_DIRECTORY);
      closeSync(fd);
      fd = next;
      path += `/${name}`;
    }
    const inode = new Statx();
    inode.of(fd);
    closeSync(fd);
    const again = openDirectoryPath(path);
    const found = new Statx();
    expect(found.of(again)).to.equal(0);
    closeSync(again);
    expect(found.inode64).to.equal(inode.inode64);
    expect(openDirectoryPath(`${path}/none`)).to.equal(-ENOENT);
    expect([splitPath('/'), splitPath('/a'), splitPath('/a/b/')].map(({ parent, name }) => `${parent} ${name}`)).to.deep.equal(['/ .', '/ a', '/a b']); // prettier-ignore
  });

  it('entries are made, linked, renamed and read by directory and name', () => {
    mkdirSync(`${dir}/sub`);
    withDescriptor(openAt(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY), (fd) => {
      expect(makeSymlinkAt('\xff/target', fd, 'link')).to.equal(0);
      expect(readLinkAt(fd, 'link')).to.equal('\xff/target');
      expect(linkAt(fd, 'link', fd, 'link 2')).to.equal(0);
      expect(lstatSync(`${dir}/link 2`).isSymbolicLink()).to.equal(true);
      expect(renameAt(fd, 'link 2', fd, 'link 3')).to.equal(0);
      expect(makeDirectoryAt(fd, 'sub', 0o700)).to.equal(-EEXIST);
    });
  });

  it('mounts are read from mountinfo by device number', () => {
    const types = parseMounts(
      '36 35 98:0 /m1 /m2 rw master:1 - ext3 /dev/root rw\n25 30 0:23 / /proc rw - proc proc rw\nrubbish\n',
    );
    expect([...types]).to.deep.equal([
      [98 * 2 ** 32, 'ext3'],
      [23, 'proc'],
    ]);
  });

  it('works in several threads at the same time', async () => {
    const code = `
      import { DirectoryListing } from ${JSON.stringify(new URL('./directory-listing.ts', import.meta.url).href)};
      import { openAt, closeFd } from ${JSON.stringify(new URL('./descriptors.ts', import.meta.url).href)};
      import { parentPort } from 'node:worker_threads';
      const listing = new DirectoryListing();
      let total = 0;
      for (let i = 0; i < 500; i++) {
        const fd = openAt(-100, '/usr/bin', 0);
        const names = [];
        if (listing.read(fd, names) !== 0) throw new Error('listing');
        closeFd(fd);
        total += names.length;
      }
      parentPort.postMessage(total);
    `;
    const before = openDescriptors();
    const totals = await Promise.all(
      [1, 2, 3].map(
        () =>
          new Promise<number>((resolve, reject) => {
            const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
            let total = 0;
            worker.once('message', (answer: number) => (total = answer));
            worker.once('exit', () => resolve(total));
            worker.once('error', reject);
          }),
      ),
    );
    expect(totals[0]).to.be.greaterThan(500);
    expect(new Set(totals).size).to.equal(1);
    expect(openDescriptors()).to.be.at.most(before + 3);
  });

  it('root alone: device numbers reach 4095:1048575', function () {
    if (!isRoot) this.skip(); // Making devices takes root.
    execFileSync('mknod', [`${dir}/device`, 'c', '4095', '1048575']);
    const statx = new Statx();
    const record = Buffer.from(new ArrayBuffer(64));
    expect(statx.at(AT_FDCWD, new CName().of(`${dir}/device`))).to.equal(0);
    statx.writeRecord(wordsOf(record));
    const { rdevMajor, rdevMinor } = decodeStat(record);
    expect([rdevMajor, rdevMinor]).to.deep.equal([4095, 1_048_575]);
  });
});

/** As `stat -c %.9Y` writes it: of −1 s and 999,999,999 ns that is −0.000000001. */
function statText(seconds: number, ns: number): string {
  const total = BigInt(seconds) * 1_000_000_000n + BigInt(ns);
  const positive = total < 0n ? -total : total;
  return `${total < 0n ? '-' : ''}${positive / 1_000_000_000n}.${String(positive % 1_000_000_000n).padStart(9, '0')}`;
}
