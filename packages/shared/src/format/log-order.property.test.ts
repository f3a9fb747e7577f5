import { expect } from 'chai';
import fc from 'fast-check';
import { expectError } from '../testing/expect-error.ts';
import { checkMerge, headAfterGap, headAfterSegment, type LogHead } from './log-order.ts';
import { PLAIN_RANGE, type LogGap, type LogPosition, type LogRange } from './log-point.ts';

const stream = { systemIdentifier: 's', timeline: 1 };

function at(order: number | bigint): LogPosition {
  return { order: BigInt(order), text: `0/${order.toString(16)}` };
}

function piece(start: number | bigint, end: number | bigint, change: Partial<LogRange> = {}): LogRange {
  return {
    ...PLAIN_RANGE,
    stream,
    start: at(start),
    end: at(end),
    ...change,
  };
}

function gapOf(start: number | bigint, end: number | bigint): LogGap {
  return { stream, start: at(start), end: at(end), fromMs: 0, toMs: 0, reason: 'test' };
}

type Move = { readonly kind: 'piece' | 'gap'; readonly from: number; readonly length: number };

const move: fc.Arbitrary<Move> = fc.record({
  kind: fc.constantFrom('piece', 'piece', 'piece', 'gap'),
  from: fc.integer({ min: -3, max: 3 }),
  length: fc.integer({ min: 0, max: 4 }),
});

describe('the order of a stored log', () => {
  it('O1, O2 whatever is sent, what is taken are unbroken runs with exactly a gap between two of them', () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 40 }), (moves) => {
        let head: LogHead | undefined;
        const taken: { kind: 'piece' | 'gap'; start: bigint; end: bigint }[] = [];
        for (const { kind, from, length } of moves) {
          const start = (head?.end.order ?? 100n) + BigInt(from);
          const end = start + BigInt(length);
          try {
            head = kind === 'piece' ? headAfterSegment(head, piece(start, end)) : headAfterGap(head, gapOf(start, end));
          } catch {
            continue;
          }
          // A gap that is told again takes the earlier word's place.
          const last = taken.at(-1);
          if (kind === 'gap' && last?.kind === 'gap' && last.start === start) taken.pop();
          taken.push({ kind, start, end });
        }
        for (const [index, { start }] of taken.entries()) {
          if (index > 0) expect(start).to.equal(taken[index - 1]!.end);
        }
        const lastGap = taken.findLastIndex(({ kind }) => kind === 'gap');
        const run = taken.slice(lastGap + 1);
        expect(head?.start.order).to.equal(run[0]?.start ?? taken.at(-1)?.end);
        expect(head?.end.order).to.equal(taken.at(-1)?.end);
      }),
    );
  });

  it('O2 a piece that leaves something out is refused, until a gap says so', () => {
    const head = headAfterSegment(undefined, piece(10, 20));
    expectError(() => headAfterSegment(head, piece(21, 30)), 'FAILED_PRECONDITION');
    const behind = headAfterGap(head, gapOf(20, 21));
    expect(behind.start.order).to.equal(21n);
    expect(headAfterSegment(behind, piece(21, 30)).start.order).to.equal(21n);
  });

  it('O2 a gap is told again while nothing is stored behind it, and never over what is stored', () => {
    const open = headAfterGap(headAfterSegment(undefined, piece(10, 20)), gapOf(20, 20));
    const known = headAfterGap(open, gapOf(20, 33));
    expect(known.end.order).to.equal(33n);
    const after = headAfterSegment(known, piece(33, 40));
    expectError(() => headAfterGap(after, gapOf(20, 40)), 'FAILED_PRECONDITION');
    expectError(() => headAfterGap(after, gapOf(39, 50)), 'FAILED_PRECONDITION');
  });

  it('O3 what is stored is not taken twice', () => {
    const head = headAfterSegment(undefined, piece(10, 20));
    expectError(() => headAfterSegment(head, piece(10, 20)), 'FAILED_PRECONDITION');
    expectError(() => headAfterSegment(head, piece(19, 25)), 'FAILED_PRECONDITION');
  });

  it('O3 a merged piece covers whole pieces, all that lie within it, and more than one', () => {
    const pieces = [
      { start: 0n, end: 4n },
      { start: 4n, end: 5n },
      { start: 5n, end: 9n },
    ];
    checkMerge(piece(0, 9), pieces);
    expectError(() => checkMerge(piece(0, 10), pieces), 'FAILED_PRECONDITION');
    expectError(() => checkMerge(piece(1, 9), pieces), 'FAILED_PRECONDITION');
    expectError(() => checkMerge(piece(0, 9), [pieces[0]!, pieces[2]!]), 'FAILED_PRECONDITION');
    expectError(() => checkMerge(piece(0, 4), [pieces[0]!]), 'FAILED_PRECONDITION');
  });

  it('a piece that says nothing of the time leaves what was known', () => {
    const head = headAfterSegment(undefined, piece(0, 4, { completeToMs: 50 }));
    expect(headAfterSegment(head, piece(4, 5)).completeToMs).to.equal(50);
    expect(headAfterSegment(head, piece(4, 5, { completeToMs: 60 })).completeToMs).to.equal(60);
  });
});
