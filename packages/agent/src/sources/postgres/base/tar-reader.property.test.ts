import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { removeScratchDirectories, scratchDirectory } from '../../../testing/scratch-directory.ts';
import { TarReader, type TarEntry } from './tar-reader.ts';

function read(archive: Buffer, cuts: readonly number[]): { entry: TarEntry; content: Buffer }[] {
  const found: { entry: TarEntry; parts: Buffer[]; whole: boolean }[] = [];
  const reader = new TarReader({
    entry: (entry) => void found.push({ entry, parts: [], whole: false }),
    data: (bytes) => void found.at(-1)!.parts.push(Buffer.from(bytes)),
    end: () => void (found.at(-1)!.whole = true),
  });
  let at = 0;
  for (let cut = 0; at < archive.length; cut++) {
    const length = cuts[cut % cuts.length]!;
    reader.write(archive.subarray(at, at + length));
    at += length;
  }
  reader.end();
  expect(found.every(({ whole }) => whole)).to.equal(true);
  return found.map(({ entry, parts }) => ({ entry, content: Buffer.concat(parts) }));
}

describe('tar archives of a server', () => {
  let archive: Buffer;
  const contents = new Map<string, Buffer>();

  before(() => {
    const directory = scratchDirectory();
    mkdirSync(join(directory, 'base/1'), { recursive: true });
    for (const [name, length] of [
      ['base/1/empty', 0],
      ['base/1/one', 1],
      ['base/1/block', 512],
      ['base/1/pages', 81_920],
      [`base/1/${'n'.repeat(90)}`, 777],
    ] as const) {
      contents.set(name, Buffer.from(seededBytes(name, length)));
      writeFileSync(join(directory, name), contents.get(name)!, { mode: 0o640 });
    }
    symlinkSync('/elsewhere', join(directory, 'base/link'));
    archive = execFileSync('tar', ['--format=ustar', '--owner=7', '--group=8', '-C', directory, '-cf', '-', 'base'], {
      maxBuffer: 1 << 24,
    });
  });
  after(removeScratchDirectories);

  it('come out as they are, in pieces of any size', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 5 }), (cuts) => {
        const found = read(archive, cuts);
        const files = found.filter(({ entry }) => entry.type === 'file');
        expect(files.map(({ entry }) => entry.path).toSorted()).to.deep.equal([...contents.keys()].toSorted());
        for (const { entry, content } of files) {
          expect(content.equals(contents.get(entry.path)!), entry.path).to.equal(true);
          expect(entry).to.include({ mode: 0o640, uid: 7, gid: 8, size: content.length });
        }
        expect(found.find(({ entry }) => entry.type === 'symlink')!.entry).to.include({
          path: 'base/link',
          linkTarget: '/elsewhere',
        });
      }),
      { numRuns: 30 },
    );
  });

  it('are refused when they break off, or a header was changed', () => {
    const headerEnd = 512;
    for (let at = 1; at < headerEnd; at += 37) {
      const changed = Buffer.from(archive);
      changed[at] = changed[at]! ^ 0x11;
      expect(() => read(changed, [4096]), `byte ${at}`).to.throw(HoldfastError);
    }
    const inPages = archive.indexOf(contents.get('base/1/pages')!) + 5000;
    expect(() => read(archive.subarray(0, inPages), [4096])).to.throw(HoldfastError, 'breaks off');
  });
});
