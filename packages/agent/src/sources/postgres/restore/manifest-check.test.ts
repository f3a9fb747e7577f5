import { createHash } from 'node:crypto';
import { fromText } from '@holdfast/shared/base/byte-string';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { expect } from 'chai';
import { parseManifest } from './manifest-check.ts';

const FILES = [
  { Path: 'base/1/1', Size: 8192, 'Checksum-Algorithm': 'CRC32C', Checksum: '839206e3' },
  { Path: 'pg_tblspc/16384/PG_15_202209061/5/7', Size: 0, 'Checksum-Algorithm': 'CRC32C', Checksum: '00000000' },
  { 'Encoded-Path': Buffer.from('é\xff', 'latin1').toString('hex'), Size: 1 },
];

/** As a server lays it out: a checksum of all before it on a line of its own. */
function manifestOf(files: readonly object[]): Buffer {
  const text = `{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [\n${files.map((file) => JSON.stringify(file)).join(',\n')}\n],\n`;
  return Buffer.from(`${text}"Manifest-Checksum": "${createHash('sha256').update(text).digest('hex')}"}\n`);
}

describe('the manifest that a server writes of a base', () => {
  it('names files where the snapshot has them, with size and checksum', () => {
    expect(parseManifest(manifestOf(FILES))).to.deep.equal([
      { path: 'data/base/1/1', sizeBytes: 8192, checksum: 0xe306_9283 },
      { path: 'tablespaces/16384/PG_15_202209061/5/7', sizeBytes: 0, checksum: 0 },
      { path: 'data/\xe9\xff', sizeBytes: 1, checksum: undefined },
    ]);
    expect(parseManifest(manifestOf([{ Path: 'é', Size: 1 }]))[0]!.path).to.equal(`data/${fromText('é')}`);
  });

  it('is damaged with any byte changed, cut off, or of another form', () => {
    const good = manifestOf(FILES);
    for (const at of [3, 60, good.length - 20]) {
      const bad = Buffer.from(good);
      bad[at] = bad[at]! ^ 1;
      expectError(() => parseManifest(bad), 'DAMAGED');
    }
    expectError(() => parseManifest(good.subarray(0, 100)), 'DAMAGED');
    expectError(() => parseManifest(Buffer.alloc(0)), 'DAMAGED');
    expectError(() => parseManifest(manifestOf([{ Path: 'x', Size: -1 }])), 'DAMAGED');
  });
});
