// A model of a database's history: a commit at every position, at ten times the position. What the decider chooses is held against
// what is stored, position by position.

import { expect } from 'chai';
import fc from 'fast-check';

import type { LogGap, LogPosition, LogStream, RecoveryTarget } from '@holdfast/shared/format/log-point';

import type { StoredBase } from '../vault/log-bases.ts';
import type { StoredRun } from '../vault/log-reach.ts';
import type { LogPiece, LogSummary } from './recovery-facts.ts';
import { choosePoint, type ChosenPoint } from './recovery-point.ts';

const first: LogStream = { systemIdentifier: 's', timeline: 1 };
const second: LogStream = { systemIdentifier: 's', timeline: 2 };

function at(order: number): LogPosition {
  return { order: BigInt(order), text: `0/${order.toString(16)}` };
}

interface Extent {
  readonly from: number;
  readonly to: number;
}

/** Pieces of each stream, which are stored of them, and bases. */
interface History {
  readonly one: readonly { readonly length: number; readonly stored: boolean }[];
  /** Where the second stream leaves the first, and how much before that its own pieces begin. */
  readonly fork: { readonly at: number; readonly overlap: number; readonly lengths: readonly number[] } | undefined;
  readonly bases: readonly {
    readonly onSecond: boolean;
    readonly start: number;
    readonly length: number;
    readonly suspect: boolean;
    readonly damaged: boolean;
  }[];
}

const lengths = fc.integer({ min: 1, max: 5 });
const history: fc.Arbitrary<History> = fc.record({
  one: fc.array(fc.record({ length: lengths, stored: fc.integer({ min: 0, max: 6 }).map((lost) => lost > 0) }), {
    minLength: 4,
    maxLength: 12,
  }),
  fork: fc.option(
    fc.record({
      at: fc.integer({ min: 5, max: 30 }),
      overlap: fc.integer({ min: 0, max: 4 }),
      lengths: fc.array(lengths, { minLength: 1, maxLength: 5 }),
    }),
    { nil: undefined },
  ),
  bases: fc.array(
    fc.record({
      onSecond: fc.integer({ min: 0, max: 3 }).map((one) => one === 0),
      start: fc.integer({ min: 0, max: 25 }),
      length: fc.integer({ min: 0, max: 4 }),
      suspect: fc.integer({ min: 0, max: 2 }).map((one) => one === 0),
      damaged: fc.integer({ min: 0, max: 3 }).map((one) => one === 0),
    }),
    { minLength: 1, maxLength: 5 },
  ),
});

interface Model {
  readonly log: LogSummary;
  readonly bases: StoredBase[];
  /** Stored extents of each stream. */
  readonly stored: ReadonlyMap<LogStream, readonly Extent[]>;
}

function modelOf({ one, fork, bases }: History): Model {
  const pieces: (LogPiece & { stored: boolean })[] = [];
  let position = 0;
  const add = (stream: LogStream, length: number, stored: boolean): void => {
    const end = position + length;
    pieces.push({
      stream,
      start: at(position),
      end: at(end),
      lastCommitAtMs: (end - 1) * 10,
      marks: [`name=p${end}`],
      stored,
    });
    position = end;
  };
  for (const { length, stored } of one) add(first, length, stored);
  const length = position;
  const forkAt = fork === undefined ? 0 : Math.min(fork.at, length);
  if (fork !== undefined) {
    position = Math.max(0, forkAt - fork.overlap);
    for (const more of fork.lengths) add(second, more, true);
  }
  const stored = new Map([first, second].map((stream) => [stream, extentsOf(pieces, stream)]));
  const runs: StoredRun[] = [...stored]
    .toReversed()
    .flatMap(([stream, extents]) =>
      extents.map(({ from, to }) => ({ stream, start: at(from), end: at(to), completeToMs: to * 10 - 1 })),
    );
  const gaps: LogGap[] = pieces
    .filter((piece) => !piece.stored)
    .map(({ stream, start, end }) => ({
      stream,
      start,
      end,
      reason: 'lost',
      fromMs: Number(start.order) * 10,
      toMs: Number(end.order) * 10,
    }));
  const kept = bases.flatMap((base, index): StoredBase[] => {
    const stream = base.onSecond ? second : first;
    const end = base.start + base.length;
    const isStored = (stored.get(stream) ?? []).some(({ from, to }) => from <= base.start && end <= to);
    if (!isStored) return [];
    const times = { startAtMs: base.start * 10, endAtMs: end * 10 };
    const point = { stream, start: at(base.start), end: at(end), ...times, serverVersion: '', hasLog: true, gtid: '' };
    const ids = { snapshotId: Buffer.alloc(32, index), sequence: index + 1, committedAtMs: 0 };
    return [{ ...ids, point: { ...point, suspect: base.suspect }, damaged: base.damaged }];
  });
  const forks = fork === undefined ? [] : [{ stream: second, parent: first, position: at(forkAt) }];
  return { log: { runs, forks, gaps, pieces: pieces.filter((piece) => piece.stored), names: [] }, bases: kept, stored };
}

function extentsOf(pieces: readonly (LogPiece & { stored: boolean })[], stream: LogStream): Extent[] {
  const extents: Extent[] = [];
  for (const piece of pieces) {
    if (piece.stream !== stream || !piece.stored) continue;
    const [from, to] = [Number(piece.start.order), Number(piece.end.order)];
    const last = extents.at(-1);
    if (last?.to === from) extents[extents.length - 1] = { from: last.from, to };
    else extents.push({ from, to });
  }
  return extents;
}

/** RP1: legs follow each other without a hole, and every position of a leg is stored in its stream. */
function expectStored({ stored, log }: Model, { base, log: chosen }: ChosenPoint): void {
  const way = chosen!.way;
  expect(way[0]!.stream).to.equal(base.point.stream);
  let position = base.point.start.order;
  for (const [index, leg] of way.entries()) {
    expect(leg.from.order).to.equal(position);
    const extents = stored.get(leg.stream) ?? [];
    expect(extents.some(({ from, to }) => BigInt(from) <= leg.from.order && leg.to.order <= BigInt(to))).to.equal(true);
    const fork = log.forks.find((one) => one.stream === way[index + 1]?.stream);
    if (fork !== undefined) expect(leg.to.order <= fork.position.order).to.equal(true);
    position = leg.to.order;
  }
  expect(position).to.equal(chosen!.end.order);
  expect(base.point.end.order <= way[0]!.to.order).to.equal(true);
}

const RUNS = { numRuns: 2000 };

describe('choosing a recovery point', () => {
  it('RP1, RP2 a time is reached along stored log that holds every commit up to it, and it is known where to stop', () => {
    let reached = 0;
    let forked = 0;
    fc.assert(
      fc.property(history, fc.integer({ min: -5, max: 400 }), (given, atMs) => {
        const model = modelOf(given);
        const choice = choosePoint(model.bases, model.log, { kind: 'time', atMs });
        if (choice.kind === 'refused') return;
        expectStored(model, choice);
        expect(choice.base.point.endAtMs <= atMs).to.equal(true);
        expect(choice.base.damaged).to.equal(false);
        const { end, stream } = choice.log!;
        // The position behind the last commit up to the time.
        const behind = Math.floor(atMs / 10) + 1;
        expect(Number(end.order)).to.be.at.least(behind);
        // A piece of both histories may hold a commit behind the target: then recovery is told where to stop.
        const ofBoth = choice
          .log!.way.slice(0, -1)
          .some((leg) =>
            model.log.pieces.some(
              ({ stream: of, start, end: to }) =>
                of === leg.stream && start.order < leg.to.order && leg.to.order < to.order,
            ),
          );
        if (choice.toEndOfLog || !ofBoth) expect(choice.toEndOfLog).to.equal(Number(end.order) === behind);
        const fork = model.log.forks[0];
        if (stream === first && fork !== undefined) expect(behind).to.be.at.most(Number(fork.position.order));
        reached++;
        if (choice.log!.way.length > 1) forked++;
      }),
      RUNS,
    );
    expect(reached).to.be.greaterThan(100);
    expect(forked).to.be.greaterThan(5);
  });

  it('RP3, RP4 without forks exactly what is stored behind a whole base is reached, from a suspect one at the last', () => {
    let reached = 0;
    fc.assert(
      fc.property(history, fc.integer({ min: -5, max: 400 }), (given, atMs) => {
        const model = modelOf({ ...given, fork: undefined });
        const behind = Math.floor(atMs / 10) + 1;
        const serving = model.bases.filter(({ point, damaged }) => {
          if (damaged || point.endAtMs > atMs) return false;
          const start = Number(point.start.order);
          return (model.stored.get(first) ?? []).some(({ from, to }) => from <= start && behind <= to);
        });
        const choice = choosePoint(model.bases, model.log, { kind: 'time', atMs });
        expect(choice.kind).to.equal(serving.length === 0 ? 'refused' : 'chosen');
        if (choice.kind === 'refused') return;
        reached++;
        const trusted = serving.filter(({ point }) => !point.suspect);
        const best = (trusted.length === 0 ? serving : trusted).at(-1);
        expect(choice.base).to.equal(best);
      }),
      RUNS,
    );
    expect(reached).to.be.greaterThan(100);
  });

  it('RP1, RP3 positions and names are reached exactly when the log from a base to them is stored', () => {
    fc.assert(
      fc.property(history, fc.integer({ min: 0, max: 50 }), (given, position) => {
        const model = modelOf({ ...given, fork: undefined });
        const serves = (beyond: number): boolean =>
          model.bases.some(({ point, damaged }) => {
            const [start, end] = [Number(point.start.order), Number(point.end.order)];
            return (
              !damaged &&
              end <= beyond &&
              (model.stored.get(first) ?? []).some(({ from, to }) => from <= start && position <= to)
            );
          });
        const choice = choosePoint(model.bases, model.log, { kind: 'position', text: at(position).text });
        expect(choice.kind).to.equal(serves(position) ? 'chosen' : 'refused');
        if (choice.kind === 'chosen') expectStored(model, choice);

        const marked = model.log.pieces.find(({ marks }) => marks.includes(`name=p${position}`));
        const named = choosePoint(model.bases, model.log, { kind: 'name', name: `p${position}` });
        const reachable = marked !== undefined && serves(Number(marked.start.order));
        expect(named.kind).to.equal(reachable ? 'chosen' : 'refused');
        if (named.kind === 'chosen') expectStored(model, named);
      }),
      RUNS,
    );
  });

  it('RP1 the latest is the end of the newest run of the newest history, or nothing', () => {
    fc.assert(
      fc.property(history, (given) => {
        const model = modelOf(given);
        const choice = choosePoint(model.bases, model.log, { kind: 'latest' });
        if (choice.kind === 'refused') return;
        expectStored(model, choice);
        const newest = given.fork === undefined ? first : second;
        expect(choice.log!.stream).to.equal(newest);
        expect(Number(choice.log!.end.order)).to.equal((model.stored.get(newest) ?? []).at(-1)!.to);
        expect(choice.toEndOfLog).to.equal(true);
      }),
      RUNS,
    );
  });

  it('every refusal says why, and what can be reached', () => {
    const kinds: fc.Arbitrary<RecoveryTarget> = fc.oneof(
      fc.integer({ min: -5, max: 400 }).map((atMs) => ({ kind: 'time' as const, atMs })),
      fc.integer({ min: 0, max: 50 }).map((position) => ({ kind: 'position' as const, text: at(position).text })),
      fc.constant({ kind: 'latest' as const }),
      fc.constant({ kind: 'base' as const }),
      fc.constant({ kind: 'name' as const, name: 'nobody' }),
      fc.constant({ kind: 'gtid' as const, gtid: '0-1-5' }),
    );
    fc.assert(
      fc.property(history, kinds, (given, target) => {
        const { bases, log } = modelOf(given);
        const choice = choosePoint(bases, log, target);
        if (choice.kind === 'chosen') return;
        expect(choice.message).to.match(/^\S.{10,}$/);
        expect(choice.hint).to.match(/What can be reached: from|Take a base|take a base/);
      }),
      RUNS,
    );
  });
});
