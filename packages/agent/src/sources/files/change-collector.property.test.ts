import { expect } from 'chai';
import fc from 'fast-check';
import { comparePaths } from '@holdfast/shared/base/byte-string';
import {
  dueAt,
  giveBack,
  MAX_PATHS,
  MAX_WAIT_MS,
  noteChanges,
  QUIET_MS,
  takenPaths,
  type Changes,
} from './change-collector.ts';

const path = fc
  .array(fc.constantFrom('a', 'b', 'a-b', 'a b', '\xff'), { minLength: 1, maxLength: 4 })
  .map((names) => names.join('/'));
const notes = fc.array(fc.record({ paths: fc.array(path, { maxLength: 5 }), afterMs: fc.nat(4000) }), { minLength: 1 });

const covers = (taken: readonly string[] | undefined, wanted: string): boolean =>
  taken === undefined || taken.some((each) => wanted === each || wanted.startsWith(`${each}/`));

describe('change collector', () => {
  it('K1 K3 K4 covers what was noted, in its time, sorted and without overlap', () => {
    fc.assert(
      fc.property(notes, (list) => {
        let changes: Changes | undefined;
        let now = 1000;
        for (const { paths, afterMs } of list) changes = noteChanges(changes, paths, (now += afterMs));
        if (changes === undefined) return;
        const taken = takenPaths(changes);
        for (const { paths } of list) for (const each of paths) expect(covers(taken, each)).to.equal(true);
        const sorted = taken?.toSorted(comparePaths);
        expect(taken).to.deep.equal(sorted);
        for (const [i, each] of (taken ?? []).entries()) {
          expect((taken ?? []).some((other, j) => i !== j && covers([other], each))).to.equal(false);
        }
        expect(dueAt(changes)).to.be.at.most(changes.firstAtMs + MAX_WAIT_MS);
        expect(dueAt(changes)).to.be.at.least(changes.firstAtMs + QUIET_MS);
      }),
    );
  });

  it('K2 becomes one word when there are too many to name', () => {
    const many = Array.from({ length: MAX_PATHS + 1 }, (_, i) => `f${i}`);
    const changes = noteChanges(undefined, many, 0);
    expect(changes.paths.size).to.equal(0);
    expect(takenPaths(changes)).to.equal(undefined);
    expect(takenPaths(noteChanges(changes, ['a'], 1))).to.equal(undefined);
  });

  it('gives back what a failed backup had taken', () => {
    const taken = noteChanges(undefined, ['a', 'b/c'], 0);
    const since = noteChanges(undefined, ['b'], 5);
    expect(takenPaths(giveBack(taken, since, 9))).to.deep.equal(['a', 'b']);
    expect(takenPaths(giveBack(noteChanges(undefined, 'everything', 0), since, 9))).to.equal(undefined);
  });
});
