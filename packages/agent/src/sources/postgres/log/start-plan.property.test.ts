import { expect } from 'chai';
import fc from 'fast-check';
import type { LogEnd } from '@holdfast/shared/format/log-point';
import { positionOf } from './lsn.ts';
import { bytesInWords, planStart, successorOf, type ServerSight } from './start-plan.ts';

const FILE = 1 << 20;
const MIB = 1n << 20n;

const sight = (rest: Partial<ServerSight> = {}): ServerSight => ({
  systemIdentifier: '7',
  timeline: 1,
  end: 100n * MIB + 500n,
  history: [],
  fileBytes: FILE,
  slotStart: 99n * MIB + 77n,
  standby: false,
  ...rest,
});
const end = (order: bigint, timeline = 1, systemIdentifier = '7'): LogEnd => ({
  stream: { systemIdentifier, timeline },
  start: positionOf(0n),
  end: positionOf(order),
  completeToMs: 5,
});
const keep = { keepBytes: 16 * FILE, removed: undefined };
const fork = (parentTimeline: number, switchpoint: bigint) => ({ parentTimeline, switchpoint, reason: '' });

describe('where to go on reading a log', () => {
  it('begins a first stream with the whole file that the slot begins in, and wants a base', () => {
    expect(planStart(sight(), [], keep)).to.deep.equal({
      kind: 'follow',
      stream: { systemIdentifier: '7', timeline: 1 },
      from: 99n * MIB,
      gap: undefined,
      baseNeeded: true,
      note: '',
    });
  });

  it('S1 S2 goes on where the stored run ends, or says exactly what is missing', () => {
    const places = fc.record({
      stored: fc.bigInt({ min: 0n, max: 120n * MIB }),
      slot: fc.bigInt({ min: 0n, max: 100n * MIB }),
      keepBytes: fc.integer({ min: 1, max: 120 * FILE }),
      removed: fc.option(fc.bigInt({ min: 0n, max: 100n * MIB }), { nil: undefined }),
    });
    fc.assert(
      fc.property(places, ({ stored, slot, keepBytes, removed: before }) => {
        const server = sight({ slotStart: slot });
        const removed = before === undefined ? undefined : { before, reason: 'gone' };
        const plan = planStart(server, [end(stored)], { keepBytes, removed });
        if (plan.kind === 'wait') {
          expect(stored > server.end).to.equal(true);
          return;
        }
        if (plan.gap === undefined) {
          expect(plan.from).to.equal(stored);
          return;
        }
        expect(plan.gap.start.order).to.equal(stored);
        expect(plan.gap.end.order).to.equal(plan.from);
        expect(plan.from > stored).to.equal(true);
        expect(plan.from % MIB).to.equal(0n);
        expect(plan.baseNeeded).to.equal(true);
        const gone = before !== undefined && stored < before;
        expect(gone || server.end - stored > BigInt(keepBytes), 'a gap has a reason').to.equal(true);
      }),
    );
  });

  it('lets go of what is further behind than may be kept, in words', () => {
    const plan = planStart(sight(), [end(80n * MIB)], keep);
    expect(plan.kind === 'follow' && plan.gap?.reason).to.equal(
      'the server wrote 20 MiB of log since 0/5000000, and walKeep is 16 MiB',
    );
  });

  it('goes on behind another history with the next file, and waits until the server is there', () => {
    const removed = { before: 100n * MIB + 401n, reason: 'brought back', isOther: true };
    const waits = planStart(sight(), [end(100n * MIB + 400n)], { ...keep, removed });
    expect(waits).to.include({ kind: 'wait' });
    expect(waits.note).to.contain('pg_switch_wal()');
    const plan = planStart(sight({ end: 101n * MIB }), [end(100n * MIB + 400n)], { ...keep, removed });
    expect(plan).to.deep.include({ kind: 'follow', from: 101n * MIB, baseNeeded: true });
    expect(plan.kind === 'follow' && plan.gap).to.deep.include({
      start: positionOf(100n * MIB + 400n),
      end: positionOf(101n * MIB),
    });
  });

  it('waits for a server that is behind what is stored, and says why', () => {
    expect(planStart(sight(), [end(101n * MIB)], keep)).to.deep.include({ kind: 'wait' });
    const plan = planStart(sight({ standby: true }), [end(101n * MIB)], keep);
    expect(plan.note).to.contain('still catching up');
  });

  it('S3 reads the old timeline up to the promotion, and the new one from the file of the promotion', () => {
    const promoted = sight({ timeline: 2, history: [fork(1, 50n * MIB + 9n)] });
    const all = { keepBytes: 1000 * FILE, removed: undefined };
    expect(planStart(promoted, [end(49n * MIB)], all)).to.deep.include({
      stream: { systemIdentifier: '7', timeline: 1 },
      from: 49n * MIB,
      gap: undefined,
    });
    for (const stored of [50n * MIB + 9n, 60n * MIB]) {
      expect(planStart(promoted, [end(stored)], all)).to.deep.include({
        stream: { systemIdentifier: '7', timeline: 2 },
        from: 50n * MIB,
        gap: undefined,
      });
    }
    const lost = planStart(promoted, [end(49n * MIB)], { ...all, removed: { before: 49n * MIB + 1n, reason: 'gone' } });
    expect(lost).to.deep.include({ stream: { systemIdentifier: '7', timeline: 2 }, from: 99n * MIB, baseNeeded: true });
    expect(lost.kind === 'follow' && lost.gap).to.deep.include({
      start: positionOf(49n * MIB),
      end: positionOf(50n * MIB + 9n),
    });
  });

  it('S3 begins anew where not even the fork can be read: a server that was restored from a base of a later timeline', () => {
    const back = sight({ timeline: 3, history: [fork(1, 50n * MIB + 9n), fork(2, 60n * MIB)] });
    const all = { keepBytes: 1000 * FILE, removed: undefined };
    for (const stored of [50n * MIB + 9n, 55n * MIB]) {
      const tried = planStart(back, [end(stored)], all);
      expect(tried).to.deep.include({ stream: { systemIdentifier: '7', timeline: 2 }, from: 50n * MIB });
      // The server said that it has nothing of where reading began.
      const plan = planStart(back, [end(stored)], { ...all, removed: { before: 50n * MIB + 1n, reason: 'gone' } });
      expect(plan).to.deep.include({
        stream: { systemIdentifier: '7', timeline: 3 },
        from: 99n * MIB,
        baseNeeded: true,
      });
      expect(plan.kind === 'follow' && plan.gap).to.equal(undefined);
    }
  });

  it('S3 begins a timeline not before its fork, whatever of the one before the slot keeps', () => {
    const promoted = { timeline: 2, history: [fork(1, 50n * MIB + 9n)] };
    const from = (slotStart: bigint) => planStart(sight({ ...promoted, slotStart }), [], keep);
    expect(from(48n * MIB + 5n)).to.include({ from: 50n * MIB });
    expect(from(60n * MIB + 5n)).to.include({ from: 60n * MIB });
  });

  it('knows a newer stream of the server from an older one, and another cluster', () => {
    const server = sight({ timeline: 3, history: [fork(1, 10n * MIB), fork(2, 20n * MIB)] });
    const all = { keepBytes: 1000 * FILE, removed: undefined };
    expect(planStart(server, [end(15n * MIB, 2), end(10n * MIB, 1)], all)).to.deep.include({
      stream: { systemIdentifier: '7', timeline: 2 },
      from: 15n * MIB,
    });
    expect(planStart(server, [end(30n * MIB, 3), end(20n * MIB, 2)], all)).to.deep.include({
      from: 30n * MIB,
      note: '',
    });
    expect(planStart(server, [end(30n * MIB, 3, '8')], all).note).to.contain('another cluster');
    expect(planStart(sight(), [end(30n * MIB, 2)], all).note).to.contain('does not come from what is stored');
    expect([1, 2, 3].map((timeline) => successorOf(server, timeline))).to.deep.equal([2, 3, 3]);
  });

  it('puts bytes into words', () => {
    expect([0, 1023, 1536, 17.2 * 1024 ** 3].map(bytesInWords)).to.deep.equal([
      '0 bytes',
      '1023 bytes',
      '1.5 KiB',
      '17 GiB',
    ]);
  });
});
