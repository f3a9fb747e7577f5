import { expect } from 'chai';
import fc from 'fast-check';
import { KEPT, mostExtents, NEW, planWindow, ZERO } from './window-plan.ts';

const page = fc.record({ state: fc.constantFrom(ZERO, KEPT, KEPT, KEPT, NEW), piece: fc.nat(1) });

describe('plan of a window of pages', () => {
  it('W1 W2 W3 covers all pages, keeps to the bound, and rewrites only beyond it', () => {
    fc.assert(
      fc.property(fc.array(page, { minLength: 1, maxLength: 256 }), (drawn) => {
        const states = Uint8Array.from(drawn, ({ state }) => state);
        // Old extents come one behind the other: a new number now and then.
        let piece = 0;
        const pieces = Int32Array.from(drawn, (one) => (piece += one.piece));
        const runs = planWindow(states, pieces, drawn.length);
        let at = 0;
        for (const run of runs) {
          expect(run.at).to.equal(at);
          for (let i = at; i < at + run.pages; i++) {
            if (states[i] === ZERO) expect(run.kind).to.equal(ZERO);
            if (states[i] === NEW) expect(run.kind).to.equal(NEW);
            if (run.kind === KEPT) expect(pieces[i]).to.equal(pieces[at]);
          }
          at += run.pages;
        }
        expect(at).to.equal(drawn.length);
        const extents = runs.filter(({ kind }) => kind !== ZERO).length;
        // Pages of zeros cut what is written, too: at most every second page is one.
        expect(extents).to.be.at.most(Math.max(mostExtents(drawn.length), Math.ceil(drawn.length / 2)));
        const rewritten = states.some(
          (state, i) => state === KEPT && runs.some((run) => run.kind === NEW && run.at <= i && i < run.at + run.pages),
        );
        const untouched = states.reduce((count, state, i) => {
          const same = i > 0 && states[i - 1] === state && (state !== KEPT || pieces[i - 1] === pieces[i]);
          return state === ZERO || same ? count : count + 1;
        }, 0);
        expect(rewritten).to.equal(untouched > mostExtents(drawn.length) && states.includes(KEPT));
      }),
      { numRuns: 2_000 },
    );
  });
});
