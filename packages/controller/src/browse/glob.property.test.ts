import { fromText } from '@holdfast/shared/base/byte-string';
import { expect } from 'chai';
import fc from 'fast-check';

import { compileGlob } from './glob.ts';

const cases: readonly [pattern: string, path: string, matches: boolean][] = [
  ['*.conf', 'etc/apt/apt.conf', true],
  ['*.conf', 'etc/apt.conf/x', false],
  ['etc/*.conf', 'etc/apt/apt.conf', false],
  ['etc/**/*.conf', 'etc/apt/apt.conf', true],
  ['etc/**/*.conf', 'etc/apt.conf', true],
  ['**', 'a/b/c', true],
  ['/etc/passwd', 'etc/passwd', true],
  ['b?ll', 'bell', true],
  ['caf?', 'caf\u00e9', true],
  ['[a-c]x', 'bx', true],
  ['[!a-c]x', 'bx', false],
  ['a\\*', 'a*', true],
  ['a\\*', 'ab', false],
  ['[', '[', true],
  ['', '', false],
];

describe('globs', () => {
  for (const [pattern, path, matches] of cases) {
    if (pattern === '') continue;
    it(`${pattern} ${matches ? 'matches' : 'does not match'} ${path}`, () => {
      expect(compileGlob(pattern)(fromText(path))).to.equal(matches);
    });
  }

  it('a path matches itself when its special bytes are escaped', () => {
    const name = fc.string({ minLength: 1, maxLength: 20 }).filter((text) => !text.includes('/'));
    fc.assert(
      fc.property(name, (text) => compileGlob(text.replace(/[*?[\\]/g, '\\$&'))(fromText(text))),
      { numRuns: 500 },
    );
  });

  it('agrees with a regular expression for patterns of stars and letters', () => {
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*'), minLength: 1, maxLength: 8 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 10 });
    fc.assert(
      fc.property(pattern, name, (glob, text) => {
        const expected = new RegExp(`^${glob.replaceAll('*', '.*')}$`).test(text);
        return compileGlob(glob)(text) === expected;
      }),
      { numRuns: 1000 },
    );
  });

  it('answers at once for a pattern that would take a backtracking matcher for ever', () => {
    expect(compileGlob('*a'.repeat(100))('a'.repeat(255).slice(0, 90) + 'b'.repeat(165))).to.equal(false);
    expect(compileGlob(`${'**/'.repeat(50)}x`)('a/'.repeat(400))).to.equal(false);
  });

  it('refuses an empty and a giant pattern', () => {
    expect(() => compileGlob('')).to.throw();
    expect(() => compileGlob('x'.repeat(5000))).to.throw();
  });
});
