import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { NodeCache, compactNodeCache } from './node-cache.ts';

const id = (n: number) => Buffer.alloc(32, n);
const node = (n: number) => ({ references: Buffer.alloc(32 * (n % 3), n), payload: Buffer.alloc(100 + n, n) });

describe('backup/node-cache', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-cache-'));
    path = join(directory, 'nodes');
    const cache = new NodeCache(path);
    for (let n = 1; n <= 5; n++) cache.append(id(n), node(n));
    cache.close();
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** Ids that load, after checking that each gives what was appended. */
  function loadable(): number[] {
    const cache = new NodeCache(path);
    try {
      return [1, 2, 3, 4, 5].filter((n) => {
        if (!cache.has(id(n))) return false;
        try {
          expect(cache.load({ id: id(n) })).to.deep.equal(node(n));
          return true;
        } catch (error) {
          expect((error as { code?: string }).code).to.equal('NOT_FOUND');
          return false;
        }
      });
    } finally {
      cache.close();
    }
  }

  it('N1 gives back what was appended, after it was opened again', () => {
    expect(loadable()).to.deep.equal([1, 2, 3, 4, 5]);
    expect(statSync(path).mode & 0o777).to.equal(0o600);
  });

  it('N1 N2 cut anywhere, it gives the whole records before the cut and nothing else', () => {
    const whole = readFileSync(path);
    for (let length = whole.length; length >= 0; length -= 7) {
      writeFileSync(path, whole);
      truncateSync(path, length);
      const found = loadable();
      expect(found).to.deep.equal([1, 2, 3, 4, 5].slice(0, found.length));
    }
  });

  it('N1 a flipped bit anywhere never gives other bytes', () => {
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at++) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 0x10;
      writeFileSync(path, damaged);
      expect(loadable().length).to.be.lessThan(5);
    }
  });

  it('goes on after a torn tail', () => {
    appendFileSync(path, Buffer.alloc(17, 9));
    const cache = new NodeCache(path);
    cache.append(id(6), node(6));
    cache.close();
    expect(loadable()).to.deep.equal([1, 2, 3, 4, 5]);
    const again = new NodeCache(path);
    expect(again.load({ id: id(6) })).to.deep.equal(node(6));
    again.close();
  });

  it('keeps only what is asked for when it is written anew', () => {
    compactNodeCache(path, new Set([2, 4].map((n) => id(n).toString('latin1'))));
    expect(loadable()).to.deep.equal([2, 4]);
  });
});
