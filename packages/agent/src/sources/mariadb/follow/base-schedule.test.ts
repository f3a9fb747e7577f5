import { expect } from 'chai';
import { silentLog } from '@holdfast/shared/runtime/log';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { outcomeOfError } from '../../../jobs/outcome.ts';
import { mariadbSource } from '../testing/guard-fixture.ts';
import { BaseSchedule } from './base-schedule.ts';

describe('when a log’s base is taken', () => {
  it('ever more slowly while it fails, however often the log begins again', async () => {
    const clock = new ManualClock();
    let taken = 0;
    const bases = new BaseSchedule(mariadbSource({}), {
      clock,
      random: () => 0.5,
      log: silentLog,
      runBackup: async () => {
        taken++;
        return outcomeOfError(new HoldfastError('UNREACHABLE', 'no'), false, 0, []);
      },
      onNote: () => undefined,
    });
    for (let second = 0; second < 60; second++) {
      bases.need(true);
      await clock.advanceInTurns(1000);
    }
    expect(taken).to.be.within(2, 6);
    expect(bases.note).to.contain('the last base failed');
    bases.stop();
  });
});
