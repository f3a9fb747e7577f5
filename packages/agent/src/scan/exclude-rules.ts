// Which paths a source leaves out: rules in gitignore syntax, and includes that bring some of it back.
//
// Semantics: a path is left out when gitignore would ignore it under the excludes (in their order, with their own `!` rules, and
// with everything beneath an ignored directory), unless an include matches it or a directory above it. So an include
// is stronger than any exclude, and unlike a `!` rule it also reaches into a directory that was left out: such a
// directory is searched as far as an include could match in it, and becomes an entry if something beneath it does.
//
// Names are bytes. Patterns are text, taken as their UTF-8 bytes: `?` and `[…]` stand for one byte. Case counts.
//
// Invariants (exclude-rules.test.ts): X1 no rule, no cost; X2 a rule set agrees with `git check-ignore` where there are no
// includes; X3 `within` is answered for every left-out directory above something that an include brings back.

import ignore, { type Ignore } from 'ignore';
import { fromText, type ByteString } from '@holdfast/shared/base/byte-string';

/** `within`: left out itself, but something beneath it may be brought back by an include. */
export type Decision = 'keep' | 'leave-out' | 'within';

export class ExcludeRules {
  readonly #excludes: Rules | undefined;
  readonly #includes: Rules | undefined;
  readonly #reaches: readonly Reach[];

  /** Patterns as text, relative to the root of the walk. Empty lines and comments count for nothing. */
  constructor(excludes: readonly string[], includes: readonly string[] = []) {
    const meant = excludes.filter(isPattern);
    const kept = includes.filter(isPattern);
    this.#excludes = meant.length === 0 ? undefined : new Rules(meant);
    this.#includes = kept.length === 0 ? undefined : new Rules(kept);
    this.#reaches = kept.map((pattern) => new Reach(pattern));
  }

  /** Whether `decide` can answer anything but `keep`. */
  get decideAnything(): boolean {
    return this.#excludes !== undefined;
  }

  /** Of an entry whose parent was kept or is `within`. The root is always kept. */
  decide(path: ByteString, isDirectory: boolean): Decision {
    if (this.#excludes === undefined || path === '') return 'keep';
    const asked = isDirectory ? `${path}/` : path;
    if (!this.#excludes.match(asked)) return 'keep';
    if (this.#includes === undefined) return 'leave-out';
    if (this.#includes.match(asked)) return 'keep';
    if (!isDirectory) return 'leave-out';
    const names = path.split('/');
    return this.#reaches.some((reach) => reach.mayMatchBeneath(names)) ? 'within' : 'leave-out';
  }
}

function isPattern(line: string): boolean {
  return line.trim() !== '' && !line.startsWith('#');
}

/** The matcher, without the memory that it would otherwise keep of every path ever asked about. */
class Rules {
  readonly #compiled: Ignore;
  #asking: Ignore;
  #asked = 0;

  constructor(patterns: readonly string[]) {
    this.#compiled = newMatcher().add(patterns.map(fromText));
    this.#asking = newMatcher().add(this.#compiled);
  }

  match(path: ByteString): boolean {
    if (++this.#asked > ASKED_BEFORE_FORGETTING) {
      this.#asking = newMatcher().add(this.#compiled);
      this.#asked = 0;
    }
    return this.#asking.ignores(path);
  }
}

const ASKED_BEFORE_FORGETTING = 10_000;

function newMatcher(): Ignore {
  return ignore({ ignorecase: false });
}

/** How far down an include may match: whether a directory can have something beneath it that the pattern names. */
class Reach {
  /** undefined: anywhere. */
  readonly #segments: readonly ((name: ByteString) => boolean)[] | undefined;
  readonly #anywhereFrom: number;

  constructor(pattern: string) {
    const bare = pattern.replace(/\/$/, '');
    const anchored = bare.includes('/');
    const names = fromText(bare.replace(/^\//, '')).split('/');
    const globstar = names.findIndex((name) => name.startsWith('**'));
    this.#anywhereFrom = globstar < 0 ? Number.POSITIVE_INFINITY : globstar;
    this.#segments = anchored ? names.map(segmentMatcher) : undefined;
  }

  mayMatchBeneath(directory: readonly ByteString[]): boolean {
    if (this.#segments === undefined) return true;
    for (const [depth, name] of directory.entries()) {
      if (depth >= this.#anywhereFrom) return true;
      const segment = this.#segments[depth];
      if (segment === undefined || !segment(name)) return false;
    }
    return directory.length < this.#segments.length;
  }
}

function segmentMatcher(segment: ByteString): (name: ByteString) => boolean {
  if (!/[*?[\\]/.test(segment)) return (name) => name === segment;
  const matcher = newMatcher().add(`/${segment}`);
  return (name) => matcher.ignores(name);
}
