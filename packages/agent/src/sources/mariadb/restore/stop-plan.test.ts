import { expect } from 'chai';
import type { RecoveryTarget } from '@holdfast/shared/format/log-point';
import { momentsIn, StopPlan, type FoundTransaction } from './stop-plan.ts';

const file = 'mysql-bin.000003';
const base = { position: { file, offset: 1000 }, gtid: '0-7-10' };
const at = (offset: number) => ({ file, offset });
/** The n-th after the base: 100 bytes each, in the second given. */
const found = (n: number, second: number, exact = false): FoundTransaction => ({
  gtid: `0-7-${10 + n}`,
  atMs: second * 1000,
  exact,
  start: at(900 + 100 * n),
  end: at(1000 + 100 * n),
});
const taken = (
  target: RecoveryTarget,
  transactions: readonly FoundTransaction[],
  marks: readonly string[] = [],
): number => {
  const plan = new StopPlan(target, momentsIn(marks), base);
  const stop = transactions.findIndex((transaction) => !plan.takes(transaction));
  return stop < 0 ? transactions.length : stop;
};

describe('where a replay of a binary log ends', () => {
  const five = [found(1, 100), found(2, 100), found(3, 101), found(4, 101), found(5, 102)];

  it('T1 takes what was written in the second of the target, and nothing of a later one', () => {
    expect(taken({ kind: 'time', atMs: 99_999 }, five)).to.equal(0);
    expect(taken({ kind: 'time', atMs: 100_500 }, five)).to.equal(2);
    expect(taken({ kind: 'time', atMs: 101_000 }, five)).to.equal(4);
    expect(taken({ kind: 'time', atMs: 200_000 }, five)).to.equal(5);
  });

  it('T1 a moment between two transactions of one second tells them apart', () => {
    expect(taken({ kind: 'time', atMs: 101_600 }, five, [`clock=101500@${file}:1300`])).to.equal(4);
    expect(taken({ kind: 'time', atMs: 101_500 }, five, [`clock=101500@${file}:1300`])).to.equal(3);
  });

  it('T1 a statement that began before the target and was committed after it is left out', () => {
    const long = [found(1, 100), found(2, 50)];
    expect(taken({ kind: 'time', atMs: 110_000 }, long)).to.equal(2);
    expect(taken({ kind: 'time', atMs: 110_000 }, long, [`clock=120000@${file}:1100`])).to.equal(1);
  });

  it('T1 a transaction with a clock of its own is included when a moment proves it', () => {
    const ahead = [found(1, 500)];
    expect(taken({ kind: 'time', atMs: 110_000 }, ahead)).to.equal(0);
    expect(taken({ kind: 'time', atMs: 110_000 }, ahead, [`clock=105000@${file}:1100`])).to.equal(1);
  });

  it('ends after a GTID, or at a position, and takes all for the latest, none for the base', () => {
    expect(taken({ kind: 'gtid', gtid: '0-7-13' }, five)).to.equal(3);
    expect(taken({ kind: 'position', text: `${file}:1299` }, five)).to.equal(2);
    expect(taken({ kind: 'position', text: `${file}:1300` }, five)).to.equal(3);
    expect(taken({ kind: 'latest' }, five)).to.equal(5);
    expect(taken({ kind: 'base' }, five)).to.equal(0);
  });

  it('refuses what lies before the base, what was not reached, and names', () => {
    expect(() => new StopPlan({ kind: 'gtid', gtid: '0-7-9' }, [], base)).to.throw('before this snapshot');
    expect(() => new StopPlan({ kind: 'position', text: `${file}:900` }, [], base)).to.throw('before this snapshot');
    expect(() => new StopPlan({ kind: 'name', name: 'release' }, [], base)).to.throw('no named restore points');
    const plan = new StopPlan({ kind: 'gtid', gtid: '0-7-12' }, [], base);
    plan.takes(found(1, 100));
    expect(() => plan.assertReached()).to.throw('before 0-7-12');
    plan.takes(found(2, 100));
    plan.assertReached();
  });

  it('a target in several domains is reached when each is', () => {
    const plan = new StopPlan({ kind: 'gtid', gtid: '0-7-11,1-3-5' }, [], base);
    expect(plan.takes(found(1, 100))).to.equal(true);
    expect(plan.complete).to.equal(false);
    expect(plan.takes({ ...found(2, 100), gtid: '1-3-5' })).to.equal(true);
    expect(plan.complete).to.equal(true);
    expect(plan.takes(found(3, 100))).to.equal(false);
  });
});
