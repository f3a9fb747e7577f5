import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { JobOutcome } from './job.ts';
import { EMPTY_SUMMARY, outcomeOfError, outcomeOfReport } from './outcome.ts';
import { openResultStore } from './result-store.ts';

const warning = { code: 'unreadable', path: 'a\xff\n', message: 'EACCES' };
const outcome: JobOutcome = outcomeOfReport(
  { summary: { ...EMPTY_SUMMARY, snapshotId: Buffer.alloc(32, 4), files: 2 }, warnings: [warning], warningsTotal: 1 },
  [],
);

describe('result store', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-results-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('S1 keeps results as they were, in order, over a restart, until they were received', () => {
    const store = openResultStore(dir);
    const failed = outcomeOfError(new HoldfastError('STORAGE_FULL', 'full', { hint: 'make room' }), false, 5, []);
    store.begun('job-1');
    store.begun('job-2');
    store.finished('job-2', failed);
    store.finished('job-1', outcome);
    const again = openResultStore(dir);
    expect(again.pending()).to.deep.equal([
      { jobId: 'job-1', outcome },
      { jobId: 'job-2', outcome: failed },
    ]);
    again.received('job-1');
    again.received('never heard of');
    expect(
      openResultStore(dir)
        .pending()
        .map(({ jobId }) => jobId),
    ).to.deep.equal(['job-2']);
  });

  it('S2 makes a failed result of a job that was running', () => {
    openResultStore(dir).begun('job-1');
    const [result] = openResultStore(dir).pending();
    expect(result?.outcome.result).to.equal('failed');
    expect(result?.outcome.failure?.message).to.contain('restarted');
    expect(openResultStore(dir).pending()).to.have.length(1);
  });

  it('S3 never makes a path of an id', () => {
    const store = openResultStore(dir);
    for (const jobId of ['../../etc/passwd', '/etc/passwd', 'a\0b', '', '.']) store.finished(jobId, outcome);
    expect(readdirSync(dir)).to.deep.equal(['jobs']);
    expect(readdirSync(join(dir, 'jobs')).every((name) => /^[0-9a-f]{64}\.json$/.test(name))).to.equal(true);
  });

  it('S4 keeps the newest of too many, and drops a note that it cannot read', () => {
    const store = openResultStore(dir, 3);
    for (let i = 0; i < 10; i++) store.finished(`job-${i}`, outcome);
    writeFileSync(join(dir, 'jobs', `${'0'.repeat(64)}.json`), '{"torn');
    const kept = openResultStore(dir, 3).pending();
    expect(kept.map(({ jobId }) => jobId)).to.deep.equal(['job-7', 'job-8', 'job-9']);
    expect(readdirSync(join(dir, 'jobs'))).to.have.length(3);
  });
});
