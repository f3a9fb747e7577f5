import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import type { AgentIdentity } from '../link/identity.ts';
import type { VaultClient } from '../link/vault-port.ts';
import { eventually } from '../testing/eventually.ts';
import { newJobRunner, type JobRunner } from './job-runner.ts';
import type { BackupJob, Hooks, JobOutcome, JobReport, RunBackup } from './job.ts';
import { EMPTY_SUMMARY } from './outcome.ts';
import { openResultStore } from './result-store.ts';

const report: JobReport = { summary: EMPTY_SUMMARY, warnings: [], warningsTotal: 0 };
const identity: AgentIdentity = {
  hostId: 'h',
  hostName: 'h',
  domainId: 'd',
  domainName: 'd',
  keyEpoch: 1,
  domainSecret: undefined,
  recordKeyPem: '',
  tlsKeyPem: '',
  certificateChainPem: '',
  caCertificatePem: '',
  controllerAddress: '',
};
const nobody = (): never => {
  throw new HoldfastError('UNREACHABLE', 'no vault in this test');
};
const vault: VaultClient = {
  openBackup: nobody,
  openRead: nobody,
  grantOwn: nobody,
  openLog: nobody,
  openLogRead: nobody,
};

describe('job runner', () => {
  let dir: string;
  let backup: RunBackup;
  let outcomes: Map<string, JobOutcome>;
  let runner: JobRunner;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-runner-'));
    outcomes = new Map();
    backup = () => Promise.resolve(report);
    runner = newJobRunner(
      {
        identity,
        vault,
        clock: systemClock,
        log: silentLog,
        stateDir: dir,
        results: openResultStore(dir),
        limits: { backups: 1, reads: 1, looks: 1, steps: 1, waiting: 2 },
        pipelines: {
          backup: () => Promise.resolve((...args) => backup(...args)),
          restore: () => Promise.resolve(() => Promise.resolve(report)),
          verify: () => Promise.resolve(() => Promise.resolve(report)),
          look: () => Promise.resolve(() => Promise.resolve(report)),
          step: () => Promise.resolve(() => Promise.resolve(report)),
          sandbox: () => Promise.resolve(() => Promise.resolve(report)),
        },
      },
      { onProgress: () => {}, onFinished: (jobId, outcome) => void outcomes.set(jobId, outcome) },
    );
  });
  afterEach(async () => {
    await runner.stop();
    rmSync(dir, { recursive: true });
  });

  const job = (jobId: string, hooks: Partial<Hooks> = {}): BackupJob => ({
    kind: 'backup',
    jobId,
    fullRead: false,
    source: {
      sourceId: 's',
      name: 'site',
      type: 'files',
      files: {
        paths: ['/srv'],
        excludes: [],
        includes: [],
        oneFileSystem: false,
        excludeCaches: false,
        continuous: false,
        scanEverySeconds: 0,
      },
      hooks: { before: [], after: [], timeoutSeconds: 5, requireBefore: false, ...hooks },
      limitBytesPerSecond: 0,
      compression: { codec: 'zstd', level: 0 },
    },
  });
  const script = (name: string, text: string): string => {
    const path = join(dir, name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const outcomeOf = async (taken: BackupJob): Promise<JobOutcome | undefined> => {
    runner.take(taken);
    await eventually(() => outcomes.has(taken.jobId));
    return outcomes.get(taken.jobId);
  };

  it('J4 runs `after` with the result, whatever became of the backup', async () => {
    const said = join(dir, 'said');
    const after = [script('after', `echo "$HOLDFAST_HOOK $HOLDFAST_RESULT $HOLDFAST_SOURCE" >>${said}`)];
    expect((await outcomeOf(job('job-1', { after })))?.result).to.equal('done');
    backup = () => Promise.reject(new HoldfastError('STORAGE_FULL', 'full'));
    expect((await outcomeOf(job('job-2', { after })))?.failure?.code).to.equal('STORAGE_FULL');
    backup = (_job, _deps, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new HoldfastError('CANCELLED', 'stopped')));
        runner.cancel('job-3');
      });
    expect((await outcomeOf(job('job-3', { after })))?.result).to.equal('cancelled');
    expect(readFileSync(said, 'utf8')).to.equal('after done site\nafter failed site\nafter cancelled site\n');
  });

  it('warns of a failing `before`, or fails without backing up when it is required', async () => {
    let runs = 0;
    backup = () => {
      runs++;
      return Promise.resolve(report);
    };
    const before = [script('before', 'echo no lock; exit 3')];
    const warned = await outcomeOf(job('job-1', { before }));
    expect(warned?.result).to.equal('warnings');
    expect(warned?.warnings[0]?.message).to.contain('no lock');
    const failed = await outcomeOf(job('job-2', { before, requireBefore: true }));
    expect(failed?.failure?.code).to.equal('FAILED_PRECONDITION');
    expect(runs).to.equal(1);
  });

  it('Q4 refuses what is too much to keep, and cancels everything when it stops', async () => {
    backup = (_job, _deps, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new HoldfastError('CANCELLED', 'stopped'))),
      );
    for (const jobId of ['job-1', 'job-2', 'job-3', 'job-4']) runner.take(job(jobId));
    expect(outcomes.get('job-4')?.failure?.code).to.equal('BUSY');
    await runner.stop();
    for (const jobId of ['job-1', 'job-2', 'job-3']) expect(outcomes.get(jobId)?.result).to.equal('cancelled');
    expect((await runner.runOwn(job(''))).result).to.equal('cancelled');
  });
});
