import { expect } from 'chai';
import fc from 'fast-check';
import { startable } from './job-queue.ts';
import type { BackupJob, Job, SourceSpec, VerifyJob } from './job.ts';

const source = (sourceId: string): SourceSpec => ({
  sourceId,
  name: sourceId,
  type: 'files',
  files: {
    paths: ['/'],
    excludes: [],
    includes: [],
    oneFileSystem: false,
    excludeCaches: false,
    continuous: false,
    scanEverySeconds: 0,
  },
  hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
  limitBytesPerSecond: 0,
  compression: { codec: 'zstd', level: 0 },
});
const backup = (jobId: string, sourceId: string): BackupJob => ({
  kind: 'backup',
  jobId,
  source: source(sourceId),
  fullRead: false,
});
const verify = (jobId: string): VerifyJob => ({
  kind: 'verify',
  jobId,
  grant: Buffer.alloc(0),
  paths: [],
  limitBytesPerSecond: 0,
});

const jobs = fc
  .array(fc.oneof(fc.constantFrom('a', 'b', 'c', 'd'), fc.constant(undefined)), { maxLength: 20 })
  .map((list) => list.map((name, i): Job => (name === undefined ? verify(`job-${i}`) : backup(`job-${i}`, name))));

describe('job queue', () => {
  it('Q1 Q2 Q3 runs every job once, in order within a source, within the limits, and starts whatever may start', () => {
    fc.assert(
      fc.property(jobs, fc.infiniteStream(fc.nat()), (all, ends) => {
        const limits = { backups: 2, reads: 2, looks: 1, waiting: 100 };
        let waiting = all;
        let running: Job[] = [];
        const started: Job[] = [];
        while (waiting.length > 0 || running.length > 0) {
          const chosen = startable(waiting, running, limits);
          started.push(...chosen);
          waiting = waiting.filter((job) => !chosen.includes(job));
          running = [...running, ...chosen];
          const backups = running.flatMap((job) => (job.kind === 'backup' ? [job.source.sourceId] : []));
          const reads = running.length - backups.length;
          expect(new Set(backups).size).to.equal(backups.length);
          expect(backups.length).to.be.at.most(2);
          expect(reads).to.be.at.most(2);
          expect(running.length).to.be.greaterThan(0);
          if (waiting.some((job) => job.kind === 'verify')) expect(reads).to.equal(2);
          const ended = running[(ends.next().value ?? 0) % running.length];
          running = running.filter((job) => job !== ended);
        }
        expect(started.length).to.equal(all.length);
        for (const name of ['a', 'b', 'c', 'd']) {
          const of = (list: readonly Job[]): string[] =>
            list.filter((job) => job.kind === 'backup' && job.source.sourceId === name).map((job) => job.jobId);
          expect(of(started)).to.deep.equal(of(all));
        }
      }),
    );
  });
});
