// "Did you mean …": the names that somebody who typed another one may have meant.
//
// By optimal string alignment (Damerau–Levenshtein without overlapping edits, https://en.wikipedia.org/wiki/Damerau–Levenshtein_distance):
// letters missing, too many, wrong or swapped. A suggestion that is far off only confuses, so a third of the letters may be
// wrong, and no more than three. Names that differ in case alone, or of which the beginning was typed, are near as well.
//
// Pure. Tested in near-names.test.ts.

/** Longer names are no typing, and the cost grows with the square. */
const NAME_MAX = 200;
const WRONG_MAX = 3;

/** The nearest first, at most `count`; empty when nothing is near, or when `typed` is one of them. */
export function nearNames(typed: string, names: Iterable<string>, count = 3): string[] {
  const wanted = typed.toLowerCase();
  if (wanted === '' || wanted.length > NAME_MAX) return [];
  const limit = Math.min(WRONG_MAX, Math.max(1, Math.floor(wanted.length / 3)));
  const found = new Map<string, number>();
  for (const name of names) {
    if (name === typed) return [];
    const candidate = name.toLowerCase();
    if (candidate.length > NAME_MAX) continue;
    const begun = wanted.length >= 2 && candidate.startsWith(wanted);
    const distance = begun ? 1 : distanceWithin(wanted, candidate, limit);
    if (distance !== undefined) found.set(name, distance);
  }
  return [...found]
    .toSorted(([nameA, a], [nameB, b]) => a - b || (nameA < nameB ? -1 : 1))
    .slice(0, count)
    .map(([name]) => name);
}

/** "Did you mean a, b or c?"; empty for nothing. */
export function didYouMean(names: readonly string[]): string {
  if (names.length === 0) return '';
  const last = names.at(-1)!;
  const before = names.slice(0, -1).join(', ');
  return `Did you mean ${before === '' ? last : `${before} or ${last}`}?`;
}

/** Edits from `a` to `b`; undefined when they are more than `limit`. */
function distanceWithin(a: string, b: string, limit: number): number | undefined {
  if (Math.abs(a.length - b.length) > limit) return undefined;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    if (Math.min(...row) > limit) return undefined;
    before = last;
    last = row;
  }
  const distance = last[b.length]!;
  return distance <= limit ? distance : undefined;
}
