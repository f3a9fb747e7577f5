import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { expectError } from '../testing/expect-error.ts';
import { makeDirectory } from './make-directory.ts';

describe('making a directory', () => {
  let dir: string;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'holdfast-make-'))));
  afterEach(() => rmSync(dir, { recursive: true }));

  it('makes what is missing, with its mode, and leaves what is there', () => {
    makeDirectory(join(dir, 'a/b/c'), 0o700);
    expect(statSync(join(dir, 'a/b/c')).mode & 0o777).to.equal(0o700);
    makeDirectory(join(dir, 'a/b'), 0o755);
    expect(statSync(join(dir, 'a/b')).mode & 0o777).to.equal(0o700);
  });

  it('refuses at once, and says where, what can’t be made', () => {
    writeFileSync(join(dir, 'file'), '');
    symlinkSync('nowhere', join(dir, 'dangling'));
    for (const path of ['/proc/holdfast', '/proc/holdfast/data', join(dir, 'file/x'), join(dir, 'dangling/x')]) {
      const error = expectError(() => makeDirectory(path, 0o700), 'FAILED_PRECONDITION');
      expect(error.message).to.contain(path);
    }
    expect(expectError(() => makeDirectory(join(dir, 'file/x'), 0o700), 'FAILED_PRECONDITION').message).to.contain(
      'file is not a directory',
    );
  });
});
