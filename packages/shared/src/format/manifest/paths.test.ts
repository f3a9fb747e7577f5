import { expect } from 'chai';
import fc from 'fast-check';
import { comparePaths } from '../../base/byte-string.ts';
import {
  Ancestors,
  ascends,
  endOfSubtree,
  isWithin,
  lowerBound,
  pathFault,
  PathWriter,
  readPaths,
  sharedLength,
} from './paths.ts';
import { WireReader, WireWriter } from './wire.ts';

const name = fc
  .array(
    fc.integer({ min: 1, max: 255 }).filter((code) => code !== 0x2f),
    { minLength: 1, maxLength: 4 },
  )
  .map((codes) => String.fromCharCode(...codes))
  .filter((text) => text !== '.' && text !== '..');
const path = fc.array(name, { maxLength: 5 }).map((names) => names.join('/'));

function encode(paths: readonly string[]): Buffer {
  const writer = new PathWriter();
  for (const each of paths) writer.add(each);
  return Buffer.from(writer.peek());
}

function decode(bytes: Buffer, count: number): readonly string[] {
  return readPaths(new WireReader(bytes), count);
}

/** Front coding by hand, for what the writer would never write. */
function raw(...parts: readonly (readonly [shared: number, rest: string])[]): Buffer {
  const writer = new WireWriter();
  for (const [shared, rest] of parts) {
    writer.varint(shared);
    writer.varint(rest.length);
    writer.text(rest);
  }
  return writer.copy();
}

describe('paths of a manifest', () => {
  it('24: come back byte for byte, whatever bytes they have', () => {
    fc.assert(
      fc.property(fc.uniqueArray(path), (paths) => {
        const sorted = paths.toSorted(comparePaths);
        expect(decode(encode(sorted), sorted.length)).to.deep.equal(sorted);
      }),
    );
  });

  it('25: may be 400 levels of 255 bytes', () => {
    const deep = Array.from({ length: 400 }, () => 'x'.repeat(255)).join('/');
    expect(deep).to.have.length(102_399);
    expect(decode(encode(['', deep]), 2)[1]).to.equal(deep);
  });

  it('order and sharing agree with the order of paths', () => {
    fc.assert(
      fc.property(path, path, (a, b) => {
        expect(ascends(a, b, sharedLength(a, b))).to.equal(comparePaths(a, b) < 0);
        const end = endOfSubtree(a);
        expect(isWithin(b, a)).to.equal(comparePaths(a, b) <= 0 && (end === undefined || comparePaths(b, end) < 0));
      }),
    );
  });

  it('lowerBound finds the first path at or after one', () => {
    fc.assert(
      fc.property(fc.uniqueArray(path), path, (paths, wanted) => {
        const sorted = paths.toSorted(comparePaths);
        const at = sorted.findIndex((each) => comparePaths(each, wanted) >= 0);
        expect(lowerBound(sorted, wanted)).to.equal(at === -1 ? sorted.length : at);
      }),
    );
  });

  for (const bad of [
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    'a/.',
    '../a',
    'a/../b',
    'a/./b',
    'a\0b',
    '\0',
    `a/${'x'.repeat(1021)}`,
  ]) {
    it(`40: refuses ${JSON.stringify(bad.slice(0, 12))}`, () => {
      expect(pathFault(bad)).to.be.a('string');
      expect(() => decode(raw([0, bad]), 1))
        .to.throw()
        .with.property('code', 'PATH_ESCAPES');
    });
  }

  it('40: refuses a bad component that begins in the shared part', () => {
    expect(() => decode(raw([0, 'a/.x'], [3, '.']), 2)).to.throw("'..'");
    expect(() => decode(raw([0, 'a.'], [1, '/b'], [2, '/c']), 3)).to.throw();
    expect(() => decode(raw([0, 'a'], [1, '/']), 2)).to.throw('empty component');
  });

  it('40: takes names that only look like dots', () => {
    for (const good of ['...', '.a', '..a', 'a..', 'a/...', '.../.b']) expect(pathFault(good)).to.equal(undefined);
  });

  it('refuses paths that are out of order, twice there, or coded in another way', () => {
    for (const [bytes, why] of [
      [raw([0, 'b'], [0, 'a']), 'out of order'],
      [raw([0, 'a'], [1, '']), 'out of order'],
      [raw([0, 'a'], [0, '']), 'out of order'],
      [raw([0, 'a!'], [1, '/b']), 'out of order'],
      [raw([0, 'ab'], [0, 'ac']), 'share more'],
      [raw([0, 'a'], [2, 'b']), 'beyond its node'],
      [raw([0, 'a'], [1, 'b'], [0, 'c']), 'behind the last'],
    ] as const) {
      expect(() => decode(bytes, 2))
        .to.throw(why)
        .with.property('code', 'DAMAGED');
    }
  });

  it('41: refuses a path or a sum of paths beyond the bound before it makes them', () => {
    const long = Array.from({ length: 511 }, () => 'x'.repeat(255)).join('/');
    const parts: [number, string][] = [
      [0, long],
      [long.length, '/A'],
    ];
    for (let i = 1; i < 40; i++) parts.push([long.length + 1, String.fromCharCode(0x41 + i)]);
    expect(() => decode(raw(...parts), parts.length)).to.throw('too long');
    const claim = new WireWriter();
    claim.varint(0);
    claim.varint(2 ** 32);
    expect(() => decode(claim.copy(), 1)).to.throw('beyond its node');
  });

  it('ancestors hold a path only below a directory that came before it', () => {
    const ancestors = new Ancestors();
    const steps: [string, boolean, boolean][] = [
      ['', true, true],
      ['a', true, true],
      ['a/b', false, true],
      ['a/b/c', false, false],
      ['a/c/d', false, false],
      ['a!', true, true],
      ['a!/x', true, true],
      ['ab/x', false, false],
      ['b', false, true],
    ];
    let last = '';
    for (const [next, isDirectory, held] of steps) {
      expect(ancestors.holds(next, sharedLength(last, next)), next).to.equal(held);
      if (!held) continue;
      ancestors.enter(next, isDirectory);
      last = next;
    }
  });
});
