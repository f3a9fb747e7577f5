import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Job as WireJob } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog, type Log } from '@holdfast/shared/runtime/log';
import { startAgent, type Agent } from './agent.ts';
import type { JobReport, RunBackup } from './jobs/job.ts';
import { registryOf } from './sources/registry.ts';
import { EMPTY_SUMMARY } from './jobs/outcome.ts';
import { openResultStore } from './jobs/result-store.ts';
import { loadIdentity, prepareStateDir, saveIdentity } from './link/identity.ts';
import { signingRequest } from './link/signing-request.ts';
import { eventually } from './testing/eventually.ts';
import { ScriptedControl } from './testing/scripted-control.ts';
import { startTestController, testIdentity, type TestController } from './testing/test-controller.ts';

const report: JobReport = { summary: { ...EMPTY_SUMMARY, files: 3 }, warnings: [], warningsTotal: 0 };

function backupJob(jobId: string, sourceId = 'source-1'): WireJob {
  const files = {
    paths: ['/srv/site'],
    excludes: [],
    includes: [],
    oneFileSystem: false,
    excludeCaches: false,
    continuous: false,
    scanEverySeconds: 0,
  };
  const source = {
    sourceId,
    name: 'site',
    type: { $case: 'files', value: files } as const,
    hooks: undefined,
    limitBytesPerSecond: 0n,
    compression: undefined,
  };
  return { jobId, kind: { $case: 'backup', value: { source, fullRead: false } } };
}

describe('agent', () => {
  let stateDir: string;
  let control: ScriptedControl;
  let controller: TestController;
  let agent: Agent | undefined;
  let renewals = 0;
  let backup: RunBackup;
  let logged: string[];

  const log: Log = {
    ...silentLog,
    error: (event) => void logged.push(event),
    warn: (event) => void logged.push(event),
  };
  const engines = registryOf({
    files: () =>
      Promise.resolve({
        type: 'files',
        settings: [],
        discover: () => Promise.resolve([]),
        check: () => Promise.resolve([]),
        base: (...args) => backup(...args),
        restore: () => Promise.resolve(report),
        verify: () => Promise.resolve(report),
      }),
  });
  const start = (): Agent =>
    (agent = startAgent({
      stateDir,
      controllerAddress: undefined,
      engines,
      clock: systemClock,
      random: () => 0.1,
      log,
      keepalive: { everyMs: 300, timeoutMs: 300 },
    }));

  beforeEach(async () => {
    stateDir = mkdtempSync(join(tmpdir(), 'holdfast-agent-'));
    prepareStateDir(stateDir);
    control = new ScriptedControl();
    logged = [];
    renewals = 0;
    backup = () => Promise.resolve(report);
    controller = await startTestController({
      control: control.service(),
      enrolment: {
        enrol: () => Promise.reject(new HoldfastError('NOT_ALLOWED', 'not here')),
        renew: async (request) => {
          renewals++;
          control.renew = false;
          const leaf = await controller.authority.sign(request.signingRequest, 'host-1');
          return { certificateChain: [leaf], caCertificate: Buffer.alloc(0) };
        },
      },
    });
    saveIdentity(stateDir, controller.identity);
  });
  afterEach(async () => {
    await agent?.stop();
    agent = undefined;
    await controller.close();
    rmSync(stateDir, { recursive: true, force: true });
  });

  it('C1 says hello first, beats, and does a job with one result', async () => {
    start();
    await eventually(() => control.conversations.length === 1);
    const { latest } = control;
    latest.say({ $case: 'job', value: backupJob('job-1') });
    await eventually(() => control.finished().length === 1);
    await eventually(() => latest.heard.filter(({ kind }) => kind?.$case === 'heartbeat').length > 1);
    expect(latest.heard[0]?.kind?.$case).to.equal('hello');
    expect(control.finished()[0]?.outcome?.result).to.equal('done');
    expect(control.finished()[0]?.outcome?.summary?.files).to.equal(3n);
  });

  it('S1 sends a result again after a reconnect and after a restart, until it was received (threat 15)', async () => {
    control.acknowledge = false;
    start();
    await eventually(() => control.conversations.length === 1);
    control.latest.say({ $case: 'job', value: backupJob('job-1') });
    await eventually(() => control.finished().length === 1);
    controller.relay.cut();
    await eventually(() => control.finished().length === 2);
    await agent?.stop();
    control.acknowledge = true;
    start();
    await eventually(() => control.finished().length === 3);
    await eventually(() => openResultStore(stateDir).pending().length === 0);
    expect(new Set(control.finished().map(({ jobId }) => jobId))).to.deep.equal(new Set(['job-1']));
  });

  it('J3 does the same job once, however often it comes (threat 18)', async () => {
    let runs = 0;
    const go = Promise.withResolvers<undefined>();
    backup = async () => {
      runs++;
      await go.promise;
      return report;
    };
    control.acknowledge = false;
    start();
    await eventually(() => control.conversations.length === 1);
    control.latest.say({ $case: 'job', value: backupJob('job-1') });
    control.latest.say({ $case: 'job', value: backupJob('job-1') });
    await eventually(() => runs === 1);
    go.resolve(undefined);
    await eventually(() => control.finished().length === 1);
    control.latest.say({ $case: 'job', value: backupJob('job-1') });
    await eventually(() => control.finished().length === 2);
    expect(runs).to.equal(1);
  });

  for (const direction of ['both', 'to-server', 'to-client'] as const) {
    it(`finds that the line swallows everything (${direction}) and calls again, its jobs still running (threats 14, 15)`, async () => {
      const go = Promise.withResolvers<undefined>();
      let runs = 0;
      backup = async () => {
        runs++;
        await go.promise;
        return report;
      };
      start();
      await eventually(() => control.conversations.length === 1);
      control.latest.say({ $case: 'job', value: backupJob('job-1') });
      await eventually(() => runs === 1);
      const before = controller.relay.connections();
      controller.relay.lose(direction);
      await eventually(() => controller.relay.connections() > before);
      controller.relay.heal();
      controller.relay.cut();
      await eventually(() => control.conversations.length > 1);
      await eventually(() => control.latest.heard.length > 0);
      const hello = control.latest.heard[0]?.kind;
      expect(hello?.$case === 'hello' && hello.value.runningJobs).to.deep.equal(['job-1']);
      go.resolve(undefined);
      await eventually(() => control.finished().length === 1);
    });
  }

  it('J5 cancels a running job and one that waits', async () => {
    backup = (_job, _deps, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new HoldfastError('CANCELLED', 'stopped'))),
      );
    start();
    await eventually(() => control.conversations.length === 1);
    control.latest.say({ $case: 'job', value: backupJob('job-1') });
    control.latest.say({ $case: 'job', value: backupJob('job-2') });
    control.latest.say({ $case: 'cancel', value: { jobId: 'job-2' } });
    await eventually(() => control.finished().length === 1);
    control.latest.say({ $case: 'cancel', value: { jobId: 'job-1' } });
    await eventually(() => control.finished().length === 2);
    expect(control.finished().map(({ jobId, outcome }) => [jobId, outcome?.result])).to.deep.equal([
      ['job-2', 'cancelled'],
      ['job-1', 'cancelled'],
    ]);
  });

  it('C3 thins progress out and sends the last of it before the result', async () => {
    backup = (_job, _deps, _signal, onProgress) => {
      for (let filesDone = 1; filesDone <= 5000; filesDone++) {
        const none = { filesTotal: 0, bytesDone: 0, bytesTotal: 0, bytesNew: 0, bytesStored: 0, currentPath: 'a\xff' };
        onProgress({ phase: 'read', filesDone, ...none });
      }
      return Promise.resolve(report);
    };
    start();
    await eventually(() => control.conversations.length === 1);
    control.latest.say({ $case: 'job', value: backupJob('job-1') });
    await eventually(() => control.finished().length === 1);
    const progress = control.latest.heard.flatMap(({ kind }) => (kind?.$case === 'progress' ? [kind.value] : []));
    expect(progress.map(({ filesDone }) => filesDone)).to.deep.equal([1n, 5000n]);
    expect(progress[0]?.currentPath).to.equal('a\\xff');
  });

  it('S2 reports a job that died with the process as failed (threat 21)', async () => {
    openResultStore(stateDir).begun('job-1');
    start();
    await eventually(() => control.finished().length === 1);
    expect(control.finished()[0]?.outcome?.errorMessage).to.contain('the agent was restarted');
  });

  it('C4 answers a job that it does not know, and goes on', async () => {
    start();
    await eventually(() => control.conversations.length === 1);
    control.latest.say({ $case: 'job', value: { jobId: 'job-1', kind: undefined } });
    control.latest.say({ $case: 'job', value: backupJob('job-2') });
    await eventually(() => control.finished().length === 2);
    const [first, second] = control.finished();
    expect([first?.jobId, first?.outcome?.result, second?.outcome?.result]).to.deep.equal(['job-1', 'failed', 'done']);
  });

  it('W3 says clearly that it is refused, and does not insist (threat 44)', async () => {
    control.refuse = new HoldfastError('UNAUTHENTICATED', 'this host was revoked');
    start();
    await eventually(() => logged.includes('control.refused'));
    expect(controller.relay.connections()).to.equal(1);
  });

  it('N2 renews its certificate when the controller asks, with a new key, and calls again with it', async () => {
    control.renew = true;
    start();
    await eventually(() => control.conversations.length === 2);
    const now = loadIdentity(stateDir);
    expect(renewals).to.equal(1);
    expect(now?.tlsKeyPem).to.not.equal(controller.identity.tlsKeyPem);
    expect(now?.recordKeyPem).to.equal(controller.identity.recordKeyPem);
    expect(await signingRequest(now?.tlsKeyPem ?? '', 'web-1')).to.be.instanceOf(Buffer);
  });

  it('N1 renews by itself from two thirds of the life on', async () => {
    const day = 86_400_000;
    const life = { notBefore: new Date(Date.now() - 21 * day), notAfter: new Date(Date.now() + 9 * day) };
    saveIdentity(stateDir, await testIdentity(controller.authority, controller.relay.address, life));
    start();
    await eventually(() => renewals === 1 && control.conversations.length >= 1);
  });

  it('ends its jobs and its stream in good order', async () => {
    let started = false;
    let cancelled = false;
    backup = (_job, _deps, signal) =>
      new Promise((_resolve, reject) => {
        started = true;
        signal.addEventListener('abort', () => {
          cancelled = true;
          reject(new HoldfastError('CANCELLED', 'stopped'));
        });
      });
    start();
    await eventually(() => control.conversations.length === 1);
    control.latest.say({ $case: 'job', value: backupJob('job-1') });
    await eventually(() => started);
    await agent?.stop();
    await eventually(() => control.latest.ended);
    expect(cancelled).to.equal(true);
    expect(control.finished()[0]?.outcome?.result).to.equal('cancelled');
  });

  it('lets one agent alone have a state directory, and refuses to run without an identity', () => {
    start();
    expect(() => startAgent({ ...optionsOf(stateDir), log })).to.throw(HoldfastError, 'another agent runs');
    const empty = mkdtempSync(join(tmpdir(), 'holdfast-agent-'));
    expect(() => startAgent({ ...optionsOf(empty), log })).to.throw(HoldfastError, 'not enrolled');
    rmSync(empty, { recursive: true });
  });

  function optionsOf(directory: string): Omit<Parameters<typeof startAgent>[0], 'log'> {
    return {
      stateDir: directory,
      controllerAddress: undefined,
      engines,
      clock: systemClock,
      random: () => 0.1,
    };
  }
});
