// What a source, and whoever may write into it, can do to its backup: it is named, and never silently less.

import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { fromText } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { JobReport } from '../jobs/job.ts';
import { openAt } from '../os/descriptors.ts';
import { makeDirectoryAt } from '../os/directory-entries.ts';
import { O_DIRECTORY } from '../os/flags.ts';
import { BackupFixture } from '../testing/backup-fixture.ts';

const LONG_NAME = 'd'.repeat(250);
const named = ({ warnings }: JobReport) => warnings.map(({ code, path }) => `${code} ${path}`);

describe('backup of a source with faults', function () {
  this.timeout(60_000);
  let fixture: BackupFixture;
  let source: string;

  beforeEach(() => {
    fixture = new BackupFixture();
    ({ source } = fixture);
  });
  afterEach(() => fixture.remove());

  describe('of several paths', () => {
    let paths: string[];
    beforeEach(() => {
      for (const name of ['one', 'two']) {
        mkdirSync(join(source, name));
        writeFileSync(join(source, name, 'file'), name);
      }
      paths = ['one', 'two'].map((name) => fromText(join(source, name)));
    });

    it('names a path that is not there, and the snapshot is partial', async () => {
      rmSync(join(source, 'two'), { recursive: true });
      const report = await fixture.backUp({ paths });
      expect(named(report)).to.deep.equal([`missing ${paths[1]!.slice(1)}`]);
      expect(report.summary.partial).to.equal(true);
      expect(report.summary.files).to.equal(1);
    });

    it('fails when none of them is there', async () => {
      await fixture.backUp({ paths });
      rmSync(source, { recursive: true });
      mkdirSync(source);
      const failure = await fixture.backUp({ paths }).catch((error: unknown) => error);
      expect((failure as HoldfastError).code).to.equal('NOT_FOUND');
      expect(fixture.vault.snapshots).to.have.length(1);
    });

    it('names a path behind a link, which it does not follow, and a path that is a link', async () => {
      symlinkSync('.', join(source, 'link'));
      const behind = [fromText(join(source, 'link/one')), paths[1]!];
      const report = await fixture.backUp({ paths: behind });
      expect(named(report)).to.deep.equal([`missing ${behind[0]!.slice(1)}`]);
      expect(report.summary.partial).to.equal(true);
      const itself = [fromText(join(source, 'link')), paths[1]!];
      expect(named(await fixture.backUp({ paths: itself }))).to.deep.equal([`left-out ${itself[0]!.slice(1)}`]);
    });
  });

  it('says when no file is left of what the snapshot before had', async () => {
    writeFileSync(join(source, 'file'), 'x');
    await fixture.backUp();
    rmSync(join(source, 'file'));
    expect(named(await fixture.backUp())).to.deep.equal(['emptied ']);
    expect(named(await fixture.backUp())).to.deep.equal([]);
  });

  it('(25) a path longer than any manifest holds costs itself, not the backup', async () => {
    let fd = openSync(source, 'r');
    for (let level = 0; level < 540; level++) {
      makeDirectoryAt(fd, LONG_NAME, 0o700);
      const next = openAt(fd, LONG_NAME, O_DIRECTORY);
      closeSync(fd);
      fd = next;
    }
    closeSync(fd);
    writeFileSync(join(source, 'other'), 'other');
    const report = await fixture.backUp();
    expect(report.warnings.map(({ code }) => code)).to.deep.equal(['unreadable']);
    expect(report.summary.partial).to.equal(true);
    expect(fixture.vault.contents(fixture.keys).get('other')!.content!.toString()).to.equal('other');
    // Deeper than Node goes.
    execFileSync('rm', ['-rf', source]);
  });

  it('(8) a node that the cache lost while a file is read again costs a reading, not the file', async () => {
    // So many segments that they have nodes of their own.
    const bytes = Buffer.alloc(24 * 1024 * 1024);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at);
    writeFileSync(join(source, 'large'), bytes);
    await fixture.backUp();
    const cache = join(fixture.work, 'state/cache/source-1/nodes');
    const nodes = readFileSync(cache);
    // The first record is the file's own; its length stands first.
    nodes[100]! ^= 1;
    writeFileSync(cache, nodes);
    bytes[5_000_000]! ^= 1;
    writeFileSync(join(source, 'large'), bytes);
    const report = await fixture.backUp();
    expect(named(report)).to.deep.equal([]);
    expect(fixture.vault.contents(fixture.keys).get('large')!.content!.equals(bytes)).to.equal(true);
  });
});
