import { expect } from 'chai';

import type { LogGap, LogPosition, LogStatus } from '@holdfast/shared/format/log-point';

import type { StoredLog } from './log-summary.ts';
import { BEHIND_MS, findingsOf, stateOf, type SourceFacts } from './source-state.ts';

const stream = { systemIdentifier: 's', timeline: 1 };

function at(order: number): LogPosition {
  return { order: BigInt(order), text: `0/${order}` };
}

function run(start: number, end: number) {
  return { stream, start: at(start), end: at(end), completeToMs: end * 10 };
}

function base(end: number, change: { suspect?: boolean; damaged?: boolean; hasLog?: boolean } = {}) {
  const { suspect = false, damaged = false, hasLog = true } = change;
  const times = { startAtMs: end * 10, endAtMs: end * 10 };
  const point = { stream, start: at(end), end: at(end), ...times, serverVersion: '15', suspect, hasLog, gtid: '' };
  return { snapshotId: Buffer.alloc(32, end), sequence: end, committedAtMs: 0, point, damaged };
}

const gap: LogGap = { stream, start: at(20), end: at(30), fromMs: 200, toMs: 300, reason: 'the slot was dropped' };

function log(change: Partial<StoredLog> = {}): StoredLog {
  return { runs: [run(10, 20)], forks: [], gaps: [], newGaps: [], pieces: [], names: [], bases: [base(12)], ...change };
}

const following: LogStatus = {
  state: 'following',
  stream,
  stored: at(20),
  lagBytes: 0,
  lagMs: 0,
  completeToMs: 200,
  slot: undefined,
  note: '',
};

function facts(change: Partial<SourceFacts> = {}): SourceFacts {
  const newest = { ageMs: 5000, durationMs: 700, suspect: false };
  return { log: log(), status: following, reportAgeMs: 40_000, hostAgeMs: 3000, newest, ...change };
}

function said(given: SourceFacts): string[] {
  return findingsOf('web-1/db', given, stateOf(given)).map(({ level, message }) => `${level}: ${message}`);
}

describe('how well a source is protected', () => {
  it('a file tree: by its newest snapshot, whose age and duration are what would be lost', () => {
    const files = { log: undefined, status: undefined, reportAgeMs: undefined };
    expect(stateOf(facts(files))).to.deep.equal({ state: 'protected', rpoMs: 5700, recoverable: undefined });
    expect(stateOf(facts({ ...files, newest: undefined }))).to.deep.include({ state: 'unprotected', rpoMs: undefined });
    expect(said(facts(files))).to.deep.equal([]);
  });

  it('a followed log that has nothing to add: only the time since its agent was heard of counts', () => {
    expect(stateOf(facts())).to.deep.include({ state: 'protected', rpoMs: 3000 });
    expect(stateOf(facts({ hostAgeMs: undefined }))).to.deep.include({ state: 'protected', rpoMs: 40_000 });
    expect(said(facts())).to.deep.equal([]);
  });

  it('a watched tree in which nothing changed is as new as the last word of its host, never older than its snapshot', () => {
    const tree = { log: undefined, status: undefined };
    const newest = { ageMs: 90_000, durationMs: 1000, suspect: false };
    expect(stateOf(facts({ ...tree, newest })).rpoMs).to.equal(91_000);
    expect(stateOf(facts({ ...tree, newest, quietAgeMs: 15_000 })).rpoMs).to.equal(15_000);
    expect(stateOf(facts({ ...tree, newest, quietAgeMs: 200_000 })).rpoMs).to.equal(91_000);
    expect(stateOf(facts({ ...tree, newest: undefined, quietAgeMs: 15_000 })).rpoMs).to.equal(undefined);
  });

  it('I7 lag and the age of the report are added, each measured by one clock', () => {
    const behind = facts({ status: { ...following, lagMs: 50_000 } });
    expect(stateOf(behind)).to.deep.include({ state: 'behind', rpoMs: 90_000 });
    expect(said(behind)).to.deep.equal(['warning: its log is behind: the last 90 s would be lost']);
    const far = facts({ reportAgeMs: 20 * 60_000, hostAgeMs: undefined });
    expect(said(far)).to.deep.equal(['critical: its log is behind: the last 20 min would be lost']);
    const stopped = facts({ status: { ...following, state: 'waiting' }, reportAgeMs: BEHIND_MS + 1 });
    expect(stateOf(stopped).state).to.equal('behind');
  });

  it('an agent that never spoke of its log is behind, whatever is stored', () => {
    expect(stateOf(facts({ status: undefined, reportAgeMs: undefined }))).to.deep.include({
      state: 'behind',
      rpoMs: undefined,
    });
  });

  it('a gap since the newest base is a gap until a base comes; then it is a hole in what can be reached', () => {
    const gapped = facts({ log: log({ runs: [run(30, 40), run(10, 20)], gaps: [gap] }) });
    expect(stateOf(gapped)).to.deep.include({ state: 'gap', rpoMs: undefined });
    expect(said(gapped)).to.deep.equal([
      'critical: its log has a gap from 0/20 to 0/30 (the slot was dropped), and no base was taken since',
    ]);
    const healed = facts({ log: log({ runs: [run(30, 40), run(10, 20)], gaps: [gap], bases: [base(33), base(12)] }) });
    expect(stateOf(healed).state).to.equal('protected');
    const today = { ...healed, log: { ...healed.log!, newGaps: [gap] } };
    expect(said(today)).to.deep.equal(['warning: its log got a gap today, from 0/20 to 0/30: the slot was dropped']);
    expect(said(healed)).to.deep.equal([]);
    expect(stateOf(healed).recoverable).to.deep.include({ fromMs: 120, toMs: 400 });
    expect(stateOf(healed).recoverable?.gaps).to.deep.equal([{ ...gap, fromMs: 200, toMs: 330 }]);
  });

  it('a base that ends later than its log was last said to be complete makes no hole: the log is one run', () => {
    const late = base(18);
    const ahead = { ...late, point: { ...late.point, endAtMs: 250 } };
    const { recoverable } = stateOf(facts({ log: log({ bases: [ahead, base(12)] }) }));
    expect(recoverable).to.deep.include({ fromMs: 120, toMs: 250, gaps: [] });
  });

  it('without a whole base nothing can be reached; with a suspect one alone it is suspect', () => {
    const damaged = facts({ log: log({ bases: [base(12, { damaged: true })] }) });
    expect(stateOf(damaged)).to.deep.include({ state: 'unprotected', rpoMs: undefined });
    expect(said(damaged)).to.deep.equal(['critical: nothing of it can be reached: no whole base with its log']);
    const suspect = facts({ log: log({ bases: [base(12, { suspect: true })] }) });
    expect(stateOf(suspect).state).to.equal('suspect');
    expect(said(suspect)).to.deep.equal(['critical: its newest base is suspect: the server found damaged pages']);
  });

  it('a slot near its bound, lost, or soon dropped by the server is said before it is too late', () => {
    const slot = { name: 'hf', state: 'active' as const, retainedBytes: 80, keepBytes: 100, safeBytes: undefined };
    const withSlot = (change: Partial<NonNullable<LogStatus['slot']>>): string[] =>
      said(facts({ status: { ...following, slot: { ...slot, ...change } } }));
    expect(withSlot({})[0]).to.contain('critical: its slot hf keeps 80 %');
    expect(withSlot({ retainedBytes: 10 })).to.deep.equal([]);
    expect(withSlot({ state: 'lost' })).to.deep.equal(['critical: its replication slot hf is lost']);
    expect(withSlot({ retainedBytes: 60, safeBytes: 10 })).to.deep.equal([
      'warning: the server will soon drop what its slot hf needs',
    ]);
  });
});
