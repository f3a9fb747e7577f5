import { expect } from 'chai';
import fc from 'fast-check';
import type { StepAction } from '../recovery/contract.ts';
import { DEFAULT_QUEUE_LIMITS, hasRoom, startable } from './job-queue.ts';
import type { BackupJob, Job, SourceSpec, StepJob, VerifyJob } from './job.ts';

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

const step = (jobId: string, action: StepAction): StepJob => ({
  kind: 'step',
  jobId,
  step: {
    application: 'app',
    plan: 'shop',
    run: 'run-1',
    step: jobId,
    attempt: 1,
    term: 1,
    epoch: 1,
    action,
    spec: { id: jobId, type: 'render', files: [{ file: '/etc/shop', replace: {} }] },
    timeoutMs: 1000,
    sandbox: '',
    secrets: new Map(),
    services: {},
    resolved: {},
  },
});

const jobs = fc
  .array(fc.oneof(fc.constantFrom('a', 'b', 'c', 'd'), fc.constant(undefined)), { maxLength: 20 })
  .map((list) => list.map((name, i): Job => (name === undefined ? verify(`job-${i}`) : backup(`job-${i}`, name))));

describe('job queue', () => {
  it('Q1 Q2 Q3 runs every job once, in order within a source, within the limits, and starts whatever may start', () => {
    fc.assert(
      fc.property(jobs, fc.infiniteStream(fc.nat()), (all, ends) => {
        const limits = { backups: 2, reads: 2, looks: 1, steps: 1, waiting: 100 };
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

  it('Q5 starts a step whatever else runs or waits, and a question about it also beside as many steps as may run', () => {
    const limits = { ...DEFAULT_QUEUE_LIMITS, steps: 2, waiting: 3 };
    const busy = [backup('b1', 'a'), backup('b2', 'b'), verify('v1'), verify('v2')];
    const waiting: Job[] = [backup('b3', 'c'), backup('b4', 'd'), verify('v3')];
    expect(hasRoom(backup('b5', 'e'), waiting, limits)).to.equal(false);
    expect(hasRoom(step('s1', 'apply'), waiting, limits)).to.equal(true);
    const steps = [step('s1', 'apply'), step('s2', 'undo'), step('s3', 'verify')];
    expect(startable([...waiting, ...steps, step('s4', 'probe')], busy, limits).map((job) => job.jobId)).to.deep.equal([
      's1',
      's2',
      's4',
    ]);
    expect(hasRoom(step('s5', 'apply'), steps, limits)).to.equal(false);
  });
});
