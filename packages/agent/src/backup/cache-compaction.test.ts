import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { ManifestBuilder, type ManifestRoot } from '@holdfast/shared/format/manifest/builder';
import { newEntry } from '@holdfast/shared/format/manifest/entry';
import { streamSync } from '@holdfast/shared/format/manifest/node-store';
import { leaves } from '@holdfast/shared/format/manifest/reader';
import { encodeStat } from '@holdfast/shared/format/manifest/stat-record';
import { seal } from '@holdfast/shared/format/seal';
import { COMPACT_FROM_BYTES, compact, worthCompacting } from './cache-compaction.ts';
import { NodeCache } from './node-cache.ts';

const keys = deriveDomainKeys(Buffer.alloc(32, 3), 'domain', 0);

const stat = (mode: number, mtimeSeconds: number) =>
  encodeStat({
    mode,
    uid: 0,
    gid: 0,
    nlink: 1,
    size: 0,
    ino: 7n,
    mtimeSeconds,
    mtimeNs: 0,
    ctimeSeconds: mtimeSeconds,
    ctimeNs: 0,
    rdevMajor: 0,
    rdevMinor: 0,
  });

/** A manifest of `count` empty files, all of one time, into the cache. */
function build(cache: NodeCache, count: number, time: number): ManifestRoot {
  const builder = new ManifestBuilder({
    node: Buffer.from(keys.node),
    sealNode: (references, payload) => seal(keys, 2, references, payload),
    onNode: (node) => cache.append(node.sealed.id, node),
  });
  builder.add(newEntry('', stat(0o040755, time)));
  for (let i = 0; i < count; i++) builder.add(newEntry(`f${String(i).padStart(6, '0')}`, stat(0o100644, time)));
  return builder.finish();
}

describe('backup/cache-compaction', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'holdfast-compaction-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  it('drops what no root reaches, and nothing else', () => {
    const path = join(directory, 'nodes');
    const cache = new NodeCache(path);
    const roots = [1, 2, 3, 4, 5, 6].map((time) => build(cache, 3000, time));
    const before = cache.size;
    cache.close();
    compact(path, roots.slice(-2));
    const after = new NodeCache(path);
    expect(after.size).to.be.lessThan(before / 2);
    for (const root of roots.slice(-2)) {
      let entries = 0;
      for (const leaf of streamSync(after, leaves(root))) entries += leaf.count;
      expect(entries).to.equal(3001);
    }
    expect(() => [...streamSync(after, leaves(roots[0]!))]).to.throw('not in the cache');
    after.close();
  });

  it('a cache that lacks something is left as it is', () => {
    const path = join(directory, 'nodes');
    const cache = new NodeCache(path);
    const root = build(cache, 100, 1);
    const { size } = cache;
    cache.close();
    expect(() => compact(path, [root, { id: Buffer.alloc(32, 9), proof: Buffer.alloc(16) }])).to.throw(
      'not in the cache',
    );
    const again = new NodeCache(path);
    expect(again.size).to.equal(size);
    again.close();
  });

  it('is worth it for a large file of which little is needed', () => {
    const small = { entries: 1000, totalBytes: 0 };
    expect(worthCompacting(COMPACT_FROM_BYTES, small)).to.equal(false);
    expect(worthCompacting(COMPACT_FROM_BYTES + 1, small)).to.equal(true);
    expect(worthCompacting(90 * 1024 * 1024, { entries: 200_000, totalBytes: 0 })).to.equal(false);
    expect(worthCompacting(200 * 1024 * 1024, { entries: 200_000, totalBytes: 0 })).to.equal(true);
  });
});
