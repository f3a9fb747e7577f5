import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { silentLog } from '@holdfast/shared/runtime/log';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import type { JobOutcome } from '../../../jobs/job.ts';
import { EMPTY_SUMMARY, outcomeOfError, outcomeOfReport } from '../../../jobs/outcome.ts';
import { mariadbSource } from '../testing/guard-fixture.ts';
import { BaseSchedule } from './base-schedule.ts';

const HOUR = 3_600_000;
const done = outcomeOfReport({ summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 }, []);

describe('when a log’s base is taken', () => {
  let clock: ManualClock;
  let stateDir: string;
  let taken: number;
  let outcome: JobOutcome;

  const schedule = (): BaseSchedule => {
    const bases = new BaseSchedule(mariadbSource({}), {
      clock,
      random: () => 0.5,
      log: silentLog,
      stateDir,
      runBackup: async () => {
        taken++;
        return outcome;
      },
      onNote: () => undefined,
    });
    bases.everyMs = 24 * HOUR;
    return bases;
  };

  beforeEach(() => {
    clock = new ManualClock();
    stateDir = mkdtempSync(join(tmpdir(), 'holdfast-bases-'));
    taken = 0;
    outcome = done;
  });
  afterEach(() => rmSync(stateDir, { recursive: true }));

  it('ever more slowly while it fails, however often the log begins again', async () => {
    outcome = outcomeOfError(new HoldfastError('UNREACHABLE', 'no'), false, 0, []);
    const bases = schedule();
    for (let second = 0; second < 60; second++) {
      bases.need(true);
      await clock.advanceInTurns(1000);
    }
    expect(taken).to.be.within(2, 6);
    expect(bases.note).to.contain('the last base failed');
    bases.stop();
  });

  it('every so often, also by an agent that is restarted more often than that', async () => {
    for (let hour = 0; hour < 50; hour += 10) {
      const bases = schedule();
      bases.need(hour === 0);
      await clock.advanceInTurns(10 * HOUR);
      bases.stop();
    }
    expect(taken).to.equal(3);
  });
});
