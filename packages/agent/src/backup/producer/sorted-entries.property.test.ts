import { expect } from 'chai';
import fc from 'fast-check';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { comparePaths } from '@holdfast/shared/base/byte-string';
import { newEntry } from '@holdfast/shared/format/manifest/entry';
import { STAT_BYTES } from '@holdfast/shared/format/manifest/stat-record';
import { SortedEntries } from './sorted-entries.ts';

describe('sorted entries', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'holdfast-sorted-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  it('E1 E2 E3 come out in manifest order, whatever went to files, and leave no file', () => {
    const paths = fc.uniqueArray(fc.stringMatching(/^[a-c./\xff]{1,8}$/), { maxLength: 300 });
    fc.assert(
      fc.property(paths, fc.integer({ min: 300, max: 30_000 }), (given, bound) => {
        const sorted = new SortedEntries(directory, bound);
        for (const [i, path] of given.entries()) sorted.add(newEntry(path, Buffer.alloc(STAT_BYTES, i)));
        const out = [...sorted.inOrder()];
        expect(out.map(({ path }) => path)).to.deep.equal(given.toSorted(comparePaths));
        for (const { path, stat } of out)
          expect(stat.equals(Buffer.alloc(STAT_BYTES, given.indexOf(path)))).to.equal(true);
        sorted.close();
        expect(readdirSync(directory)).to.deep.equal([]);
      }),
      { numRuns: 60 },
    );
  });

  it('E2 merges its files when there are many, and holds little in memory', () => {
    const sorted = new SortedEntries(directory, 4_000);
    const count = 5_000;
    for (let i = 0; i < count; i++) sorted.add(newEntry(`p${(i * 7919) % count}`, Buffer.alloc(STAT_BYTES)));
    expect(sorted.spilled).to.equal(true);
    let last = '';
    let seen = 0;
    for (const { path } of sorted.inOrder()) {
      expect(comparePaths(last, path)).to.be.lessThan(0);
      last = path;
      seen++;
    }
    expect(seen).to.equal(count);
    sorted.close();
  });

  it('E1 refuses a path that came twice, also in different files', () => {
    const sorted = new SortedEntries(directory, 1_000);
    for (const path of ['a', 'b', 'c', 'd', 'e', 'a']) sorted.add(newEntry(path, Buffer.alloc(STAT_BYTES)));
    expect(() => [...sorted.inOrder()]).to.throw(/"a" was written twice/);
    sorted.close();
  });
});
