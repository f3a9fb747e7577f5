import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import type { EngineSpec, JobOutcome } from '../../jobs/job.ts';
import { outcomeOfError } from '../../jobs/outcome.ts';
import { eventually } from '../../testing/eventually.ts';
import { DONE } from '../../testing/job-deps.ts';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { BaseKeeper } from './base-keeper.ts';
import { nextBaseInMs } from './base-schedule.ts';
import { noteBase, type BaseNotes } from './base-registry.ts';
import { pointAt } from './testing/point-at.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const stream = { systemIdentifier: '7', timeline: 1 };
const BEGIN = { stream, from: 100n };
const source: EngineSpec = {
  type: 'engine',
  sourceId: 's1',
  name: 'db',
  engine: { type: 'postgres', settings: {} },
  hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
  limitBytesPerSecond: 0,
  compression: { codec: 'zstd', level: 0 },
};

describe('the bases of a source', () => {
  let now: number;
  let taken: number;
  let notes: string[];
  let outcome: () => Promise<JobOutcome>;
  let stateDir: string;
  let random: number;
  let streaming: boolean;
  let made: BaseKeeper[];

  const clock: Clock = {
    monotonicMs: () => now,
    wallMs: () => now,
    after: () => ({ cancel: () => undefined }),
  };
  const keeper = (everyMs = DAY): BaseKeeper => {
    const bases = new BaseKeeper({
      clock,
      log: silentLog,
      source,
      everyMs,
      streaming: () => streaming,
      random: () => random,
      server: 'here',
      folder: stateDir,
      file: 's1.json',
      runBackup: () => {
        taken++;
        return outcome();
      },
      noted: (note) => notes.push(note),
    });
    made.push(bases);
    return bases;
  };

  const tickUntil = (bases: BaseKeeper, done: () => boolean): void => {
    for (bases.tick(); !done(); now += 1000) bases.tick();
  };

  beforeEach(() => {
    now = 1_000_000;
    taken = 0;
    notes = [];
    outcome = () => Promise.resolve(DONE);
    stateDir = scratchDirectory();
    random = 0.5;
    streaming = true;
    made = [];
  });
  afterEach(() => {
    for (const bases of made) bases.stop();
    removeScratchDirectories();
  });

  it('B1 are taken when one is needed and the log streams, one at a time', async () => {
    const running = Promise.withResolvers<JobOutcome>();
    outcome = () => running.promise;
    const bases = keeper();
    bases.need(BEGIN);
    bases.tick();
    now += 2000;
    streaming = false;
    bases.tick();
    expect(taken).to.equal(0);
    streaming = true;
    bases.tick();
    bases.need(BEGIN);
    bases.tick();
    expect(taken).to.equal(1);
    running.resolve(DONE);
    await eventually(() => notes.length === 1);
    bases.tick();
    now += 2000;
    bases.tick();
    expect(taken, 'what was found missing meanwhile needs another one').to.equal(2);
  });

  it('B2 are tried again, ever more slowly, and the note says why', async () => {
    outcome = () => Promise.resolve(outcomeOfError(new HoldfastError('UNREACHABLE', 'no server'), false, 0, []));
    const bases = keeper();
    bases.need(BEGIN);
    const gaps: number[] = [];
    for (let tries = 1; tries <= 6; tries++) {
      const from = now;
      tickUntil(bases, () => taken >= tries);
      gaps.push(now - from);
      await eventually(() => notes.length === tries);
    }
    expect(notes.at(-1)).to.equal('the last base failed: no server');
    expect(gaps.at(-1)).to.be.greaterThan(gaps[1]! * 5);
    outcome = () => Promise.reject(new Error('broken'));
    tickUntil(bases, () => taken >= 7);
    await eventually(() => notes.at(-1) === 'the last base failed: broken');
  });

  it('B2 are tried again ever more slowly however often the log begins again', async () => {
    outcome = () => Promise.resolve(outcomeOfError(new HoldfastError('UNREACHABLE', 'no'), false, 0, []));
    const bases = keeper();
    for (let second = 0; second < 60; second++, now += 1000) {
      const before = taken;
      bases.need(BEGIN);
      bases.tick();
      if (taken > before) await eventually(() => notes.length === taken);
    }
    expect(taken).to.be.within(2, 6);
    expect(notes.at(-1)).to.contain('the last base failed');
  });

  it('B3 come every so often, also by an agent that is restarted more often than that', async () => {
    for (let hour = 0; hour < 50; hour++, now += HOUR) {
      if (hour % 10 === 0) {
        made.at(-1)?.stop();
        keeper();
        if (hour === 0) made[0]!.need(BEGIN);
      }
      const before = taken;
      made.at(-1)!.tick();
      if (taken > before) await eventually(() => notes.length === taken);
    }
    expect(taken).to.equal(3);
  });

  it('B3 come once a day, also over restarts, spread over a tenth of it', async () => {
    const first = keeper();
    first.need(BEGIN);
    first.tick();
    now += 2000;
    first.tick();
    await eventually(() => notes.length === 1);
    const at = now;
    now += DAY / 2;
    const second = keeper();
    second.tick();
    now += DAY / 4;
    second.tick();
    expect(taken).to.equal(1);
    now = at + DAY * 1.06;
    second.tick();
    expect(taken).to.equal(2);
    const due = (chance: number): number =>
      nextBaseInMs({ lastAtMs: 0, failures: 0 }, { needed: false, everyMs: DAY, nowMs: 0, random: chance });
    expect(due(0)).to.equal(DAY * 0.95);
    expect(due(0.999)).to.be.closeTo(DAY * 1.05, DAY / 1000);
  });

  it('B4 come only when one is needed where that was asked for', async () => {
    const bases = keeper(0);
    bases.tick();
    now += 1000 * DAY;
    bases.tick();
    expect(taken).to.equal(0);
    bases.need(BEGIN);
    now += 2000;
    bases.tick();
    await eventually(() => notes.length === 1);
    now += 1000 * DAY;
    bases.tick();
    expect(taken).to.equal(1);
  });

  const otherBase = (): BaseNotes => noteBase('s1', 'here');

  it('B1 wait for one that somebody else takes, and it is the one that was needed', () => {
    const bases = keeper();
    bases.need(BEGIN);
    const other = otherBase();
    now += 2000;
    bases.tick();
    other.stored(pointAt(100n));
    other.end();
    now += DAY / 2;
    bases.tick();
    expect(taken).to.equal(0);
    now += DAY * 0.6;
    bases.tick();
    expect(taken, 'the next regular one counts from there').to.equal(1);
  });

  it('B1 are taken after one of somebody else that came to nothing', () => {
    const bases = keeper();
    const other = otherBase();
    bases.need(BEGIN);
    now += 2000;
    bases.tick();
    expect(taken).to.equal(0);
    other.end();
    bases.tick();
    expect(taken).to.equal(1);
  });

  it('B5 are taken all the same after one that begins before the log does, or is of another timeline', () => {
    for (const point of [pointAt(99n), pointAt(200n, 2)]) {
      taken = 0;
      const bases = keeper();
      bases.need(BEGIN);
      const other = otherBase();
      other.stored(point);
      other.end();
      now += 2000;
      bases.tick();
      expect(taken).to.equal(1);
    }
  });

  it('B5 of two beginnings the later one counts', () => {
    const bases = keeper();
    bases.need(BEGIN);
    bases.need({ stream, from: 300n });
    const other = otherBase();
    other.stored(pointAt(299n));
    other.end();
    now += 2000;
    bases.tick();
    expect(taken).to.equal(1);
  });
});
