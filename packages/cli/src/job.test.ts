import { expect } from 'chai';
import { startFakeController, type FakeController } from './testing/fake-controller.ts';
import { runCli } from './testing/run-cli.ts';

describe('holdfast job', () => {
  const job = { kind: 'restore', host: 'database-server-12', source: 'database-server-11/customers-and-orders' };
  const jobs = [
    { ...job, id: '7d0c2c9e-1111-4111-8111-111111111111', state: 'cancelled', createdAtMs: 1_790_000_000_000n },
    { ...job, id: '7d0c2c9e-2222-4222-8222-222222222222', state: 'warnings', createdAtMs: 1_790_000_000_000n },
    { ...job, id: 'aaaaaaaa-3333-4333-8333-333333333333', state: 'running', createdAtMs: 1_790_000_000_000n },
  ];
  let controller: FakeController;
  let cancelled: string[];
  beforeEach(async () => {
    cancelled = [];
    controller = await startFakeController({
      listJobs: () => Promise.resolve({ jobs }),
      cancelJob: ({ jobId }) => (cancelled.push(jobId), Promise.resolve({})),
    });
  });
  afterEach(() => controller.stop());

  it('ls fits into a terminal of 80 columns, and holds nothing back where nobody looks at columns', async () => {
    const shown = await runCli(['job', 'ls'], { address: controller.address, outputTerminal: true });
    const lines = shown.stdout.trimEnd().split('\n');
    expect(lines).to.have.length(4);
    for (const line of lines) expect(line.length, line).to.be.at.most(80);
    expect(lines[1]).to.match(/^7d0c2c9e {2}restore {2}database-/);
    const { stdout } = await runCli(['job', 'ls'], { address: controller.address });
    expect(stdout).to.contain('7d0c2c9e-1111-4111-8111-111111111111').and.contain(job.source).and.contain(job.host);
  });

  it('is named by the beginning of its id, unless that is short, unknown or of several', async () => {
    const cancel = async (id: string) => await runCli(['job', 'cancel', id], { address: controller.address });
    expect(await cancel('aaaaaaaa')).to.include({ code: 0 });
    expect(await cancel('AAAAAAAA-33')).to.include({ code: 0 });
    expect(await cancel('7d0c2c9e')).to.include({ code: 2 });
    expect(await cancel('aaaa')).to.include({ code: 10 });
    expect(await cancel('bbbbbbbb')).to.include({ code: 10 });
    // A whole id may be older than those that are searched.
    const old = 'bbbbbbbb-3333-4333-8333-333333333333';
    expect(await cancel(old)).to.include({ code: 0 });
    expect(cancelled).to.deep.equal([jobs[2]!.id, jobs[2]!.id, old]);
  });
});
