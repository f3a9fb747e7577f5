import { expect } from 'chai';
import { silentLog } from '@holdfast/shared/runtime/log';
import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import type { BackupJob, EngineSpec, JobOutcome } from '../jobs/job.ts';
import { EMPTY_SUMMARY, outcomeOfError, outcomeOfReport } from '../jobs/outcome.ts';
import type { SourceReport } from '../link/control-wire.ts';
import { testJobDeps } from '../testing/job-deps.ts';
import { MemoryVault } from '../testing/memory-vault.ts';
import type { Guard } from './engine.ts';
import { backUpEvery } from './rhythm.ts';

const HOUR = 3_600_000;
const source: EngineSpec = {
  type: 'engine',
  engine: { type: 'fake', settings: {} },
  sourceId: 's',
  name: 's',
  hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
  limitBytesPerSecond: 0,
  compression: { codec: 'zstd', level: 0 },
};

describe('backups in a rhythm', () => {
  let clock: ManualClock;
  let startedAt: number[];
  let reports: SourceReport[];
  let outcome: () => Promise<JobOutcome>;
  const done = outcomeOfReport({ summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 }, []);

  const start = (everyMs: number, random = 0.5): Guard =>
    backUpEvery(source, everyMs, {
      ...testJobDeps(new MemoryVault().client),
      identity: () => testJobDeps(new MemoryVault().client).identity,
      clock,
      random: () => random,
      log: silentLog,
      runBackup: (job: BackupJob) => {
        expect(job.source).to.equal(source);
        startedAt.push(clock.monotonicMs());
        return outcome();
      },
      report: (report) => void reports.push(report),
    });

  beforeEach(() => {
    clock = new ManualClock();
    startedAt = [];
    reports = [];
    outcome = () => Promise.resolve(done);
  });

  it('R1 R3 backs up soon after the start, at a moment of its own, and then every so often', async () => {
    const guard = start(24 * HOUR);
    await clock.advanceInTurns(49 * HOUR);
    expect(startedAt).to.deep.equal([15_000, 15_000 + 24 * HOUR, 15_000 + 48 * HOUR]);
    expect(reports).to.deep.equal([{ sourceId: 's', watching: 'scheduled', note: '' }]);
    await guard.stop();
  });

  it('R1 tries again soon after a failure, says so, and takes it back when it went well', async () => {
    outcome = () => Promise.resolve(outcomeOfError(new Error('no server'), false, 0, []));
    const guard = start(24 * HOUR);
    await clock.advanceInTurns(10 * 60_000);
    expect(startedAt.length).to.be.within(2, 10);
    expect(reports.at(-1)!.note).to.contain('no server');
    outcome = () => Promise.resolve(done);
    await clock.advanceInTurns(HOUR);
    expect(reports.at(-1)!.note).to.equal('');
    await guard.stop();
  });

  it('R2 waits for the backup under way when it stops, and starts no other', async () => {
    const work = Promise.withResolvers<JobOutcome>();
    outcome = () => work.promise;
    const guard = start(HOUR);
    await clock.advanceInTurns(HOUR / 2);
    let stopped = false;
    const stop = guard.stop().then(() => (stopped = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(stopped).to.equal(false);
    work.resolve(done);
    await stop;
    expect(clock.pending).to.equal(0);
  });

  it('does nothing by itself when it is switched off, and says so', async () => {
    const guard = start(0);
    await clock.advanceInTurns(100 * HOUR);
    expect(startedAt).to.deep.equal([]);
    expect(reports[0]).to.include({ watching: 'off' });
    await guard.stop();
  });
});
