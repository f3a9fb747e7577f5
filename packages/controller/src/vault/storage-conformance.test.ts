// What every target must do, run against the local directory and against the double that the other tests stand on.

import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';

import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { codeOf } from '../testing/vault-fixture.ts';
import { openLocalDirectory, storageError } from './local-directory.ts';
import type { VaultStorage } from './storage.ts';

const directories: string[] = [];
const targets: Record<string, () => Promise<VaultStorage>> = {
  'a local directory': () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-target-'));
    directories.push(directory);
    return openLocalDirectory(join(directory, 'vault'));
  },
  'the disk in memory': () => Promise.resolve(new MemoryDisk().mount(new Faults())),
};

describe('storage targets', () => {
  after(() => {
    for (const directory of directories) rmSync(directory, { recursive: true });
  });

  for (const [label, open] of Object.entries(targets)) {
    describe(label, () => {
      let storage: VaultStorage;
      beforeEach(async () => {
        storage = await open();
      });
      afterEach(() => storage.close());

      const write = async (name: string, ...parts: readonly string[]): Promise<void> => {
        const file = await storage.create(name);
        await file.append(
          parts.map((part) => Buffer.from(part)),
          0,
        );
        await file.sync();
        await file.close();
        await storage.syncDirectoryOf(name);
      };

      it('says how much room there is', async () => {
        const { freeBytes, totalBytes } = await storage.space();
        expect(freeBytes).to.be.within(1, totalBytes);
      });

      it('reads ranges of what was appended, shorter at the end', async () => {
        const parts = Array.from({ length: 3000 }, (_, index) => `part ${index};`);
        await write('d/aa/x.pack', ...parts, '');
        const all = parts.join('');
        expect((await storage.read('d/aa/x.pack', 0, all.length)).toString()).to.equal(all);
        expect((await storage.read('d/aa/x.pack', 5, 10)).toString()).to.equal(all.slice(5, 15));
        expect((await storage.read('d/aa/x.pack', all.length - 3, 10)).toString()).to.equal(all.slice(-3));
        expect(await storage.read('d/aa/x.pack', all.length + 5, 10)).to.have.length(0);
        expect(await storage.size('d/aa/x.pack')).to.equal(all.length);
      });

      it('appends at a position, truncates, and never creates what exists', async () => {
        const file = await storage.create('x.pack');
        await file.append([Buffer.from('0123456789')], 0);
        await file.truncate(4);
        await file.append([Buffer.from('ab'), Buffer.from('cd')], 4);
        await file.sync();
        expect((await storage.read('x.pack', 0, 100)).toString()).to.equal('0123abcd');
        expect(await codeOf(storage.create('x.pack'))).to.equal('STORAGE_FAILED');
        await file.close();
      });

      it('renames over, and a reader then sees the new file while the old writer keeps the old one', async () => {
        await write('a/old.pack', 'old');
        expect((await storage.read('a/old.pack', 0, 10)).toString()).to.equal('old');
        const writer = await storage.create('a/late.pack');
        await write('a/new.pack.copy', 'new');
        await storage.rename('a/new.pack.copy', 'a/old.pack');
        await storage.rename('a/old.pack', 'a/late.pack');
        await writer.append([Buffer.from('zombie')], 0);
        await writer.close();
        expect((await storage.read('a/late.pack', 0, 10)).toString()).to.equal('new');
        expect(await storage.list()).to.deep.equal(['a/late.pack']);
      });

      it('says what is not there', async () => {
        expect(await storage.size('no.pack')).to.equal(undefined);
        expect(await codeOf(storage.read('no.pack', 0, 1))).to.equal('NOT_FOUND');
        await write('gone.pack', 'x');
        await storage.read('gone.pack', 0, 1);
        await storage.remove('gone.pack');
        expect(await codeOf(storage.read('gone.pack', 0, 1))).to.equal('NOT_FOUND');
        expect(await storage.list()).to.deep.equal([]);
      });

      it('reads many files, more than it keeps open, at once', async () => {
        const names = Array.from({ length: 150 }, (_, index) => `d/${index}.pack`);
        for (const name of names) await write(name, name);
        const read = await Promise.all([...names, ...names].map((name) => storage.read(name, 0, 100)));
        expect(read.map(String)).to.deep.equal([...names, ...names]);
      });
    });
  }

  it('a local directory takes no name that leaves it, and lists only its own files', async () => {
    const storage = await targets['a local directory']!();
    for (const name of ['../x', '/etc/passwd', 'a/../b', 'a//b', '.', '', 'a/.', 'A', 'a\0b', 'a/./b']) {
      expect(await codeOf(storage.size(name).then(() => storage.create(name))), name).to.equal('PATH_ESCAPES');
    }
    const root = join(directories.at(-1)!, 'vault');
    symlinkSync('/etc', join(root, 'link'));
    writeFileSync(join(root, 'here'), 'x');
    expect(await storage.list()).to.deep.equal(['here']);
    expect(readdirSync(root)).to.include('link');
    await storage.close();
  });

  it('system errors become the codes that callers act on', () => {
    const failure = (code: string) => storageError('write', 'x', Object.assign(new Error(code), { code })).code;
    expect(['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'EACCES', 'ENOENT'].map(failure)).to.deep.equal([
      'STORAGE_FULL',
      'STORAGE_FULL',
      'STORAGE_FAILED',
      'STORAGE_FAILED',
      'STORAGE_FAILED',
      'NOT_FOUND',
    ]);
  });
});
