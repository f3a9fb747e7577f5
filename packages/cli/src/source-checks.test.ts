import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import {
  SourceInfo,
  type AddSourceRequest,
  type CheckSourceRequest,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { startFakeController, type FakeController } from './testing/fake-controller.ts';
import { runCli } from './testing/run-cli.ts';

const level = (name: string, remedy = '') => ({ level: name, subject: 'wal_level', message: 'is minimal', remedy });

describe('asking the host before a source is added', () => {
  let controller: FakeController;
  let outcome: Parameters<typeof JobOutcome.fromPartial>[0];
  let checked: CheckSourceRequest[];
  let added: AddSourceRequest[];

  beforeEach(async () => {
    checked = [];
    added = [];
    outcome = { result: 'done', findings: [] };
    controller = await startFakeController({
      checkSource: (request) => {
        checked.push(request);
        return Promise.resolve({ jobId: 'job-1', snapshotId: Buffer.alloc(0) });
      },
      discoverSources: () => Promise.resolve({ jobId: 'job-1', snapshotId: Buffer.alloc(0) }),
      addSource: (request) => {
        added.push(request);
        return Promise.resolve({ source: SourceInfo.fromPartial({ host: 'web-1', name: 'db', type: 'postgres' }) });
      },
      getSource: ({ source }) => {
        if (source !== 'web-1/db') throw new HoldfastError('NOT_FOUND', `there is no source ${source}`);
        const spec = { name: 'db', type: { $case: 'engine' as const, value: { type: 'postgres', settings: [] } } };
        return Promise.resolve({ source: SourceInfo.fromPartial({ host: 'web-1', name: 'db', spec }) });
      },
      async *watchJob() {
        yield { kind: { $case: 'outcome', value: JobOutcome.fromPartial(outcome) } };
      },
    });
  });
  afterEach(() => controller.stop());

  const add = (...more: string[]) =>
    runCli(
      ['source', 'add', 'db', '--host', 'web-1', '--type', 'postgres', '--dsn', 'host=/run/pg user=x', ...more],
      controller,
    );

  it('adds it when nothing stands against it, and shows what it warned of with what to run', async () => {
    outcome = {
      result: 'done',
      findings: [level('ok'), level('warning', 'alter system set …;\nselect pg_reload_conf();')],
    };
    const { code, stdout } = await add();
    expect(code).to.equal(0);
    expect(checked[0]).to.deep.equal(added[0]);
    expect(stdout.split('\n').slice(0, 4)).to.deep.equal([
      '  ! wal_level: is minimal',
      '      alter system set …;',
      '      select pg_reload_conf();',
      '  ✔ wal_level: is minimal',
    ]);
  });

  it('does not add what could not be backed up, unless told so', async () => {
    outcome = { result: 'done', findings: [level('error', 'alter system set wal_level = replica;')] };
    const refused = await add();
    expect(refused.code).to.equal(1);
    expect(refused.stdout).to.contain('✘ wal_level').and.to.contain('alter system set wal_level = replica;');
    expect(refused.stderr).to.contain('--no-check');
    expect(added).to.deep.equal([]);
    expect((await add('--no-check')).code).to.equal(0);
    expect(added.length).to.equal(1);
    expect(checked.length).to.equal(1);
  });

  it('says the host’s own error when it cannot look at all', async () => {
    outcome = { result: 'failed', errorCode: 'INVALID_ARGUMENT', errorMessage: 'this agent knows no such type' };
    const { code, stderr } = await add();
    expect(code).to.equal(2);
    expect(stderr).to.contain('this agent knows no such type');
    expect(added).to.deep.equal([]);
  });

  it('checks a source again, with an exit code that a monitor can use and one document', async () => {
    outcome = { result: 'done', findings: [level('warning')] };
    const { code, stdout } = await runCli(['source', 'check', 'web-1/db', '--json'], controller);
    expect(code).to.equal(3);
    expect(JSON.parse(stdout)).to.deep.equal({ source: 'web-1/db', findings: [level('warning')] });
  });

  it('proposes what a host has, as commands for that host', async () => {
    const command = 'holdfast source add pg --host HOST --type postgres';
    outcome = { result: 'done', discovered: [{ type: 'postgres', name: 'pg', description: 'PostgreSQL 15', command }] };
    const { stdout } = await runCli(['source', 'discover', 'web-1'], controller);
    expect(stdout).to.equal('PostgreSQL 15\n    holdfast source add pg --host web-1 --type postgres\n');
  });
});
