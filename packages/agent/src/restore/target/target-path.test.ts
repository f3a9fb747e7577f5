import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { permittedMode, refusedXattr } from './metadata-rights.ts';
import { RestoreTarget } from './restore-target.ts';
import { splitTargetPath } from './target-path.ts';
import { isTemporaryName, temporaryName } from './temporary-name.ts';

const hostile = [
  '..',
  '.',
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '../a',
  'a/..',
  'a/../b',
  'a/./b',
  './a',
  'a\0b',
  'a/b\0',
  '\0',
];

describe('target path', () => {
  afterEach(removeScratchDirectories);

  it('40 refuses what is not a sequence of plain names, at the split or at the open', () => {
    const target = RestoreTarget.open(scratchDirectory(), { into: 'fresh', onWarning: () => undefined });
    for (const path of hostile) {
      expect(() => target.createFile(path, 0), JSON.stringify(path))
        .to.throw(HoldfastError)
        .with.property('code', 'PATH_ESCAPES');
      if (path !== '') expect(() => target.createDirectory(path), JSON.stringify(path)).to.throw(HoldfastError);
      expect(() => target.hardLink('x', path)).to.throw(HoldfastError);
    }
    expect(target.list('')).to.deep.equal([]);
    target.close();
  });

  it('takes every other name apart', () => {
    expect(splitTargetPath('a')).to.deep.equal({ parent: '', name: 'a' });
    expect(splitTargetPath('a/b/...')).to.deep.equal({ parent: 'a/b', name: '...' });
    expect(splitTargetPath('__proto__/-rf\n')).to.deep.equal({ parent: '__proto__', name: '-rf\n' });
  });

  it('M1 39 setuid, setgid and capabilities are for root, and only when asked', () => {
    const asked = { isRoot: true, setuid: true };
    const notAsked = { isRoot: true, setuid: false };
    expect(permittedMode(0o106755, asked)).to.equal(0o6755);
    expect(permittedMode(0o106755, notAsked)).to.equal(0o755);
    expect(permittedMode(0o101777, notAsked)).to.equal(0o1777);
    expect(permittedMode(0o042775, notAsked), 'of a directory it only says which group files get').to.equal(0o2775);
    expect(refusedXattr('security.capability', notAsked)).to.be.a('string');
    expect(refusedXattr('security.capability', asked)).to.equal(undefined);
    expect(refusedXattr('trusted.x', { isRoot: false, setuid: false })).to.be.a('string');
    expect(refusedXattr('user.x', { isRoot: false, setuid: false })).to.equal(undefined);
  });

  it('temporary names are told from all others', () => {
    expect(isTemporaryName(temporaryName())).to.equal(true);
    expect(temporaryName()).not.to.equal(temporaryName());
    expect(isTemporaryName('.holdfast-notes')).to.equal(false);
  });
});
