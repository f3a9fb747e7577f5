// Globs over byte strings, in time that a pattern can't blow up.
//
// Hazard: a pattern made into a regular expression with many stars can take minutes on one name. Here a segment is matched
// by going back to the last star only, and `**` by a table: at most pattern × name steps.
//
// `*` any bytes but '/'; `?` one character (one byte where it is not UTF-8); `[a-z]`, `[!a]` one byte; `**` any number of
// whole segments; `\` takes the next byte as it is. A pattern without '/' is matched against the last segment.
//
// Tested in glob.property.test.ts.

import { fromText, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

const PATTERN_MAX_BYTES = 4096;

/** A function that tells whether a path matches. Throws INVALID_ARGUMENT for an empty or giant pattern. */
export function compileGlob(pattern: string): (path: ByteString) => boolean {
  const bytes = fromText(pattern);
  if (bytes === '' || bytes.length > PATTERN_MAX_BYTES) {
    throw new HoldfastError('INVALID_ARGUMENT', `a pattern has 1 to ${PATTERN_MAX_BYTES} bytes`);
  }
  if (!bytes.includes('/')) return (path) => matchSegment(bytes, path.slice(path.lastIndexOf('/') + 1));

  const segments = bytes.replace(/^\//, '').split('/');
  return (path) => matchSegments(segments, path.split('/'));
}

/** Row by row: `reach[j]` says whether the pattern's first i segments match the path's first j. */
function matchSegments(pattern: readonly string[], path: readonly string[]): boolean {
  let reach: boolean[] = path.map(() => false);
  reach = [true, ...reach];
  for (const segment of pattern) {
    const next: boolean[] = [segment === '**' && reach[0] === true];
    for (let j = 1; j <= path.length; j++) {
      next[j] =
        segment === '**'
          ? reach[j] === true || next[j - 1] === true
          : reach[j - 1] === true && matchSegment(segment, path[j - 1] ?? '');
    }
    reach = next;
  }
  return reach[path.length] === true;
}

function matchSegment(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let starAt = -1;
  let retryFrom = 0;
  while (n < name.length) {
    if (pattern[p] === '*') {
      starAt = p++;
      retryFrom = n;
      continue;
    }
    const step = p < pattern.length ? matchOne(pattern, p, name, n) : undefined;
    if (step !== undefined) {
      p = step.pattern;
      n = step.name;
    } else if (starAt >= 0) {
      p = starAt + 1;
      n = ++retryFrom;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** Where pattern and name go on after one matched item; undefined when it does not match. */
function matchOne(pattern: string, p: number, name: string, n: number): { pattern: number; name: number } | undefined {
  const token = pattern[p];
  if (token === '?') return { pattern: p + 1, name: afterCharacter(name, n) };
  if (token === '[') {
    const close = pattern.indexOf(']', p + 2);
    if (close > 0) {
      return inClass(pattern.slice(p + 1, close), name.charCodeAt(n)) ? { pattern: close + 1, name: n + 1 } : undefined;
    }
  }
  const literal = token === '\\' && p + 1 < pattern.length ? p + 1 : p;
  return pattern[literal] === name[n] ? { pattern: literal + 1, name: n + 1 } : undefined;
}

function afterCharacter(name: string, n: number): number {
  let next = n + 1;
  if (name.charCodeAt(n) >= 0xc0) while (next < name.length && (name.charCodeAt(next) & 0xc0) === 0x80) next++;
  return next;
}

function inClass(members: string, byte: number): boolean {
  const negated = members.startsWith('!') || members.startsWith('^');
  const list = negated ? members.slice(1) : members;
  let found = false;
  for (let i = 0; i < list.length; i++) {
    const low = list.charCodeAt(i);
    const isRange = list[i + 1] === '-' && i + 2 < list.length;
    const high = isRange ? list.charCodeAt(i + 2) : low;
    if (byte >= low && byte <= high) found = true;
    if (isRange) i += 2;
  }
  return found !== negated;
}
