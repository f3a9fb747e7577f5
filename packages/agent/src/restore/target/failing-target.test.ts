// Targets that fail: full, read-only, without rights (threats 2, 38).

import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { encodeStat, S_IFREG } from '@holdfast/shared/format/manifest/stat-record';
import { openDescriptors, removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { endsRestore, RestoreTarget, type EntryMetadata } from './restore-target.ts';

const canMount = process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;

function metadata(size: number): EntryMetadata {
  const stat = encodeStat({
    mode: S_IFREG | 0o600,
    uid: 0,
    gid: 0,
    nlink: 1,
    size,
    ino: 1n,
    mtimeSeconds: 1,
    mtimeNs: 0,
    ctimeSeconds: 0,
    ctimeNs: 0,
    rdevMajor: 0,
    rdevMinor: 0,
  });
  return { stat, user: '', group: '', xattrs: [], inodeFlags: 0 };
}

describe('failing target (root alone)', () => {
  let dir: string;
  let target: RestoreTarget | undefined;
  let mounted = false;

  before(function () {
    if (!canMount) this.skip(); // Mounting takes root with CAP_SYS_ADMIN.
  });
  beforeEach(() => {
    dir = `${scratchDirectory()}/mnt`;
    mkdirSync(dir);
  });
  afterEach(() => {
    target?.close();
    target = undefined;
    if (mounted) execFileSync('umount', [dir]);
    mounted = false;
    removeScratchDirectories();
  });

  function mount(options: string): void {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', dir]);
    mounted = true;
  }

  function write(path: string, bytes: number, use: 'write' | 'writeZeros' = 'write'): void {
    const file = target!.createFile(path, bytes);
    try {
      if (use === 'writeZeros') file.writeZeros(0, bytes);
      else file.write(Buffer.alloc(bytes, 'x'), 0, bytes, 0);
      file.finish(metadata(bytes));
    } catch (error) {
      file.abandon();
      throw error;
    }
  }

  function failure(act: () => void): HoldfastError {
    try {
      act();
    } catch (error) {
      if (error instanceof HoldfastError) return error;
      throw error;
    }
    throw new Error('it went through');
  }

  for (const into of ['fresh', 'merge'] as const) {
    it(`38 a full disk is STORAGE_FULL with the path, ends the restore, and leaves no half file (${into})`, () => {
      mount('size=1m');
      target = RestoreTarget.open(fromText(dir), { into, onWarning: () => undefined });
      write('small', 1000);
      for (const use of ['write', 'writeZeros'] as const) {
        const descriptors = openDescriptors();
        const error = failure(() => write('large', 4 * 2 ** 20, use));
        expect(error.code).to.equal('STORAGE_FULL');
        expect(error.details['path']).to.equal('large');
        expect(endsRestore(error)).to.equal(true);
        expect(openDescriptors()).to.equal(descriptors);
      }
      if (into === 'merge') {
        expect(failure(() => write('small', 4 * 2 ** 20)).code).to.equal('STORAGE_FULL');
        expect(readFileSync(`${dir}/small`, 'latin1'), 'the old file is whole').to.equal('x'.repeat(1000));
      }
      expect(readdirSync(dir)).to.deep.equal(['small']);
      write('goes on', 1000);
    });

    it(`38 no inode is left: the same (${into})`, () => {
      mount('nr_inodes=4');
      target = RestoreTarget.open(fromText(dir), { into, onWarning: () => undefined });
      write('a', 1);
      write('b', 1);
      write('c', 1);
      for (const act of [
        () => write('d', 1),
        () => target!.createDirectory('e'),
        () => target!.createSymlink('f', 'x', metadata(1)),
      ]) {
        expect(failure(act).code).to.equal('STORAGE_FULL');
      }
      expect(readdirSync(dir).toSorted()).to.deep.equal(['a', 'b', 'c']);
    });
  }

  it('38 a read-only target is said as such, and ends the restore', () => {
    mount('size=1m');
    execFileSync('mount', ['-o', 'remount,ro', dir]);
    target = RestoreTarget.open(fromText(dir), { into: 'merge', onWarning: () => undefined });
    const error = failure(() => write('a', 1));
    expect(error.message).to.include('read-only').and.to.include('a');
    expect(endsRestore(error)).to.equal(true);
    expect(failure(() => target!.createDirectory('d')).details['errno']).to.equal('EROFS');
  });

  it('38 another file system mounted in the target is written, and never removed', () => {
    mount('size=1m');
    const parent = dir.slice(0, dir.lastIndexOf('/'));
    target = RestoreTarget.open(fromText(parent), {
      into: 'merge',
      replaceOtherTypes: true,
      onWarning: () => undefined,
    });
    write('mnt/a', 1);
    write('mnt/a', 2);
    target.settle((path, error) => {
      throw new Error(path, { cause: error });
    });
    target.sync();
    expect(lstatSync(`${dir}/a`).size).to.equal(2);
    expect(failure(() => target!.remove('mnt')).code).to.equal('FAILED_PRECONDITION');
    expect(failure(() => write('mnt', 1)).code).to.equal('FAILED_PRECONDITION');
    expect(readdirSync(parent)).to.deep.equal(['mnt']);
  });
});
