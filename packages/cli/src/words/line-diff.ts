// Two texts, line by line: what was taken away and what was added, with a few lines around it.
//
// By the longest common subsequence (Wagner and Fischer, 1974) of what is left between the common beginning and the common end. That takes the
// product of both lengths, so beyond DIFF_CELLS_MAX everything in between counts as replaced.
//
// Invariant (line-diff.property.test.ts): D1 the second text can be made from the first and the changes.
//
// Pure.

export interface DiffLine {
  readonly sign: ' ' | '-' | '+';
  readonly text: string;
  /** In the text that it is of; of the second where it is in both. From 1. */
  readonly line: number;
}

export interface Hunk {
  /** Where it begins in the second text, from 1. */
  readonly line: number;
  readonly lines: readonly DiffLine[];
}

const AROUND = 3;
const DIFF_CELLS_MAX = 25_000_000;

/** Every line of both, in order. */
export function diffLines(before: readonly string[], after: readonly string[]): DiffLine[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  const most = Math.min(before.length, after.length) - head;
  while (tail < most && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const same = (from: number, to: number): DiffLine[] =>
    after.slice(from, to).map((text, at) => ({ sign: ' ', text, line: from + at + 1 }));
  const middle = between(before.slice(head, before.length - tail), after.slice(head, after.length - tail));
  return [
    ...same(0, head),
    ...middle.map((each) => ({ ...each, line: each.line + head })),
    ...same(after.length - tail, after.length),
  ];
}

/** The changes, each with a few lines before and after. */
export function diffHunks(before: readonly string[], after: readonly string[]): Hunk[] {
  const all = diffLines(before, after);
  const near = new Set(all.flatMap(({ sign }, at) => (sign === ' ' ? [] : range(at - AROUND, at + AROUND))));
  const hunks: { line: number; lines: DiffLine[] }[] = [];
  all.forEach((line, at) => {
    if (!near.has(at)) return;
    if (!near.has(at - 1) || hunks.length === 0) hunks.push({ line: line.line, lines: [] });
    hunks.at(-1)!.lines.push(line);
  });
  return hunks;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, at) => from + at);
}

function between(before: readonly string[], after: readonly string[]): DiffLine[] {
  const removed = before.map((text, at): DiffLine => ({ sign: '-', text, line: at + 1 }));
  const added = after.map((text, at): DiffLine => ({ sign: '+', text, line: at + 1 }));
  const [rows, columns] = [before.length, after.length];
  if (rows === 0 || columns === 0 || rows * columns > DIFF_CELLS_MAX) return [...removed, ...added];
  const width = columns + 1;
  // common[i * width + j]: the length of what before[i…] and after[j…] have in common.
  const common = new Uint32Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      common[i * width + j] =
        before[i] === after[j]
          ? common[(i + 1) * width + j + 1]! + 1
          : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
    }
  }
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < rows || j < columns) {
    if (i < rows && j < columns && before[i] === after[j]) lines.push({ sign: ' ', text: after[j++]!, line: (i++, j) });
    else if (j >= columns || (i < rows && common[(i + 1) * width + j]! >= common[i * width + j + 1]!))
      lines.push(removed[i++]!);
    else lines.push(added[j++]!);
  }
  return lines;
}
