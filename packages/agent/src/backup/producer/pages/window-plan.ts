// What to do with the pages of one window of a page file: which stay where they are, which are written, which are nothing.
//
// Hazard: a file that changes a little every day falls into ever more, ever shorter extents, and old chunks stay in use for a
// page each. So a window that would have too many extents is written again whole: many changes pay for one rewriting
// (simulated in docs/repository-format.md, Page files).
//
// Pure. Invariants (window-plan.property.test.ts):
//   W1 the runs cover all pages, in order; a page of zeros is never written, a new page always;
//   W2 no window has more data extents than `mostExtents`, whatever changed;
//   W3 a window under the bound writes nothing but its new pages.

/** A page of zeros; one that stands in an old chunk as it is; one that must be written. */
export const ZERO = 0;
export const KEPT = 1;
export const NEW = 2;

export interface PageRun {
  readonly kind: typeof ZERO | typeof KEPT | typeof NEW;
  /** First page, from the window's start. */
  readonly at: number;
  readonly pages: number;
}

/** Three quarters of a window's pages; small windows are left alone. */
export function mostExtents(pages: number): number {
  return Math.max(8, Math.floor((pages * 3) / 4));
}

/** `states`: of each page; `pieces`: for kept pages, which old extent they are of. Pages of one old extent lie one behind the other in its chunk. */
export function planWindow(states: Uint8Array, pieces: Int32Array, pages: number): PageRun[] {
  const runs = runsOf(states, pieces, pages);
  const extents = runs.reduce((count, { kind }) => (kind === ZERO ? count : count + 1), 0);
  if (extents <= mostExtents(pages)) return runs;
  const rewritten = states.slice(0, pages).map((state) => (state === ZERO ? ZERO : NEW));
  return runsOf(rewritten, pieces, pages);
}

function runsOf(states: Uint8Array, pieces: Int32Array, pages: number): PageRun[] {
  const runs: PageRun[] = [];
  for (let at = 0; at < pages;) {
    const kind = states[at]!;
    let end = at + 1;
    const piece = pieces[at];
    while (end < pages && states[end] === kind && (states[end] !== KEPT || pieces[end] === piece)) end++;
    runs.push({ kind: kind === ZERO ? ZERO : kind === KEPT ? KEPT : NEW, at, pages: end - at });
    at = end;
  }
  return runs;
}
