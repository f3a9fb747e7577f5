import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  ActOnRunRequest,
  DeepPartial,
  PlanInfo,
  RecoveryServiceImplementation,
  RunInfo,
  RunNews,
  StartRunRequest,
  StepInfo,
} from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { startFakeController, type FakeController } from '../testing/fake-controller.ts';
import { runCli, type CliOptions } from '../testing/run-cli.ts';
import { liveLines } from './live-table.ts';

const AT = Date.UTC(2026, 10, 23, 4);
const RUN = '7d0c2c9e-1111-4111-8111-111111111111';
const guide = readFileSync(new URL('../../../../docs/plans.md', import.meta.url), 'utf8');
const example = guide.split('```yaml\n')[1]!.split('```')[0]!;

const plan: DeepPartial<PlanInfo> = {
  id: 'p',
  name: 'shop',
  revision: 2,
  mode: 'automatic',
  primary: 'web-2',
  standby: 'web-1',
  epoch: 4n,
  state: 'ready',
  lease: 'open',
  verdict: 'alive',
  objectives: { rtoMs: 900_000n, rpoMs: 300_000n, forecastRtoMs: 17_000n, forecastRpoMs: 850n, measuredRtoMs: 16_400n },
  readiness: [
    {
      level: 'warning',
      subject: 'web-1/files',
      message: '6 min would be lost',
      remedy: 'holdfast source show web-1/files',
    },
    { level: 'ok', subject: 'witnesses', message: 'all 3 are connected' },
  ],
  lastDrillAtMs: BigInt(AT - 86_400_000 * 3),
  drillDueAtMs: BigInt(AT + 86_400_000 * 27),
};

function run(state: string, fields: DeepPartial<RunInfo> = {}): DeepPartial<RunInfo> {
  return {
    id: RUN,
    plan: 'shop',
    revision: 2,
    mode: 'unplanned',
    state,
    fromHost: 'web-1',
    toHost: 'web-2',
    epoch: 4n,
    startedBy: 'detection',
    startedAtMs: BigInt(AT + 12_000),
    times: { lastSignOfLifeMs: BigInt(AT), healthyMs: BigInt(AT + 16_400) },
    recoveryPointMs: BigInt(AT - 800),
    ...fields,
  };
}

function step(id: string, state: string, fields: DeepPartial<StepInfo> = {}): DeepPartial<StepInfo> {
  return { id, type: 'command', host: 'web-2', state, attempt: 1, startedAtMs: BigInt(AT + 12_000), ...fields };
}

const steps = [
  step('fence', 'ok', { type: 'fence', finishedAtMs: BigInt(AT + 12_100) }),
  step('start', 'failed', { attempt: 2, message: 'the disk is full', remedy: 'Make room, then retry.' }),
];
const events = [
  { sequence: 1n, atMs: BigInt(AT + 12_000), actor: 'engine', kind: 'state', message: 'running' },
  {
    sequence: 2n,
    atMs: BigInt(AT + 15_000),
    actor: 'operator erika',
    step: 'start',
    kind: 'action',
    message: 'retry: made room',
  },
];

describe('holdfast plan and run', () => {
  let controller: FakeController | undefined;
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-recovery-'));
  const file = join(directory, 'shop.yaml');
  before(() => writeFileSync(file, example));
  afterEach(() => controller?.stop());
  after(() => rmSync(directory, { recursive: true }));

  const cli = async (
    words: string,
    answers: Partial<RecoveryServiceImplementation>,
    options: Partial<CliOptions> = {},
  ) => {
    controller?.stop();
    controller = await startFakeController(
      { getStatus: () => Promise.resolve({ controllerVersion: '0.1.0' }), listHosts: () => Promise.resolve({}) },
      0,
      answers,
    );
    return await runCli(words.split(' '), { address: controller.address, nowMs: AT + 20_000, ...options });
  };
  const following = (...news: DeepPartial<RunNews>[]): Partial<RecoveryServiceImplementation> => ({
    startRun: () => Promise.resolve({ run: RUN }),
    getRun: () => Promise.resolve({ run: run('running'), steps, events }),
    watchRun: async function* watch() {
      yield* news;
    },
  });
  const runNews = (info: DeepPartial<RunInfo>): DeepPartial<RunNews> => ({ kind: { $case: 'run', value: info } });
  const stepNews = (info: DeepPartial<StepInfo>): DeepPartial<RunNews> => ({ kind: { $case: 'step', value: info } });

  it('plan ls and status show readiness, forecast against promise, and the last drill, in 80 columns', async () => {
    const answers = { listPlans: () => Promise.resolve({ plans: [plan] }) };
    const { stdout } = await cli('plan ls', answers, { outputTerminal: true });
    const [, line = ''] = stdout.split('\n');
    expect(line).to.match(/^shop +ready +web-2 +web-1 +.*17 s of 15 min +850 ms of 5 min +3 d$/);
    expect(line.length).to.be.at.most(80);
    expect(await cli('status', answers))
      .to.include({ code: 0 })
      .and.property('stdout')
      .contains('17 s of 15 min');
    const json = JSON.parse((await cli('plan ls --json', answers)).stdout) as unknown;
    expect(json).to.have.nested.property('plans[0].objectives.forecastRtoMs', 17_000);
    expect(json).to.have.nested.property('plans[0].objectives.measuredRpoMs', null);
    expect(json).to.have.nested.property('plans[0].ready', true);
  });

  it('status needs attention for a plan that is unready, would miss its objective, or whose drill is overdue', async () => {
    const unready = {
      ...plan,
      readiness: [{ level: 'error', subject: 'web-1', message: 'not connected', remedy: 'Start it.' }],
    };
    const cases: [DeepPartial<PlanInfo>, string][] = [
      [unready, '!! plan shop: web-1: not connected\n   Start it.'],
      [
        { ...plan, objectives: { rtoMs: 10_000n, forecastRtoMs: 17_000n } },
        ' ! plan shop: RTO: 17 s now, 10 s promised',
      ],
      [{ ...plan, drillDueAtMs: BigInt(AT) }, ' ! plan shop: a drill was due'],
      [{ ...plan, state: 'split-brain-suspected' }, '!! plan shop: two hosts claim to serve'],
    ];
    for (const [bad, words] of cases) {
      const { code, stdout } = await cli('status', { listPlans: () => Promise.resolve({ plans: [bad] }) });
      expect(code).to.equal(3);
      expect(stdout).to.contain(words);
    }
  });

  it('plan show says who serves now, what is ready and what is not, with what to do', async () => {
    const answers = {
      getPlan: () =>
        Promise.resolve({
          plan,
          document: example,
          revisions: [{ revision: 2, appliedAtMs: BigInt(AT), appliedBy: 'erika' }],
          runs: [run('done')],
        }),
    };
    const { stdout } = await cli('plan show shop', answers);
    expect(stdout)
      .to.contain('web-2, with web-1 as its standby; epoch 4')
      .and.contain('applied')
      .and.contain('by erika');
    expect(stdout).to.contain(' ! web-1/files: 6 min would be lost\n   holdfast source show web-1/files');
    expect(stdout).to.contain(' ✓ witnesses').and.contain('promised 15 min, now 17.0 s, last measured 16.4 s');
    expect((await cli('plan show shop --document', answers)).stdout).to.equal(example);
    const json = JSON.parse((await cli('plan show shop --json', answers)).stdout) as unknown;
    expect(json).to.include({ name: 'shop', primary: 'web-2', revision: 2, document: example });
    expect(json).to.have.nested.property('runs[0].rtoMs', 16_400);
  });

  it('plan check asks the controller when there is one, and does without', async () => {
    const asked: boolean[] = [];
    const answers: Partial<RecoveryServiceImplementation> = {
      checkPlan: ({ live }) => {
        asked.push(live);
        const level = live ? 'error' : 'warning';
        return Promise.resolve({
          plan: 'shop',
          steps: 13,
          findings: [{ level, subject: 'start', message: 'no such unit', remedy: 'Add it.' }],
        });
      },
    };
    expect(await cli(`plan check ${file}`, answers)).to.include({ code: 3 });
    const live = await cli(`plan check ${file} --live`, answers);
    expect(live).to.include({ code: 1 });
    expect(live.stdout).to.contain('start: no such unit\n   Add it.');
    expect(asked).to.deep.equal([false, true]);
    const alone = await runCli(['plan', 'check', file], { address: '127.0.0.1:1' });
    expect(alone).to.include({ code: 0 });
    expect(alone.stderr).to.contain('without a controller');
    const json = await runCli(['plan', 'check', file, '--json'], { address: '127.0.0.1:1' });
    expect(JSON.parse(json.stdout)).to.include({ checked: 'document', plan: 'shop' });
    expect(await runCli(['plan', 'check', file, '--live'], { address: '127.0.0.1:1' })).to.include({ code: 13 });
  });

  it('plan apply, rm and secrets send what they should, and never show a secret', async () => {
    const sent: unknown[] = [];
    const answers: Partial<RecoveryServiceImplementation> = {
      applyPlan: ({ document }) => (sent.push(document), Promise.resolve({ plan, changed: true })),
      setPlanSecret: ({ name, value }) => (sent.push([name, value.toString()]), Promise.resolve({})),
      removePlan: (request) => (sent.push(request.plan), Promise.resolve({})),
    };
    expect((await cli(`plan apply ${file}`, answers)).stdout).to.equal('Plan shop, revision 2, is applied.\n');
    expect(await cli('plan secret set db --json', answers, { input: 'hunter2\n' })).to.deep.equal({
      code: 0,
      stdout: '{"secret":"db","set":true}\n',
      stderr: '',
    });
    expect(await cli('plan secret set db', answers, { input: '' })).to.include({ code: 2 });
    await cli('plan secret rm db', answers);
    expect((await cli('plan rm shop', answers)).stdout).to.contain('stays on the standby');
    expect(sent).to.deep.equal([example, ['db', 'hunter2'], ['db', ''], 'shop']);
  });

  it('plan override names the host that is off, and says who goes on or what brings the application up', async () => {
    const asked: unknown[] = [];
    const answers = (goesOn: boolean): Partial<RecoveryServiceImplementation> => ({
      overridePlan: ({ plan: name, deadHost, reason }) => (
        asked.push([name, deadHost, reason]),
        Promise.resolve({ plan, survivor: 'web-1', goesOn, epoch: 1003n })
      ),
    });
    const on = await cli('plan override shop --dead web-2 --reason burnt', answers(true));
    expect(on.stdout).to.contain('web-2 is given up').and.contain('goes on under epoch 1003');
    const { stdout } = await cli('plan override shop --dead web-2', answers(false));
    expect(stdout).to.contain('holdfast plan run shop --mode unplanned --fence-confirmed');
    const json = await cli('plan override shop --dead web-2 --json', answers(false));
    expect(JSON.parse(json.stdout)).to.deep.equal({
      plan: 'shop',
      dead: 'web-2',
      survivor: 'web-1',
      goesOn: false,
      epoch: 1003,
    });
    expect(await cli('plan override shop', answers(true))).to.include({ code: 2 });
    expect(asked[0]).to.deep.equal(['shop', 'web-2', 'burnt']);
    expect(asked).to.have.length(3);
  });

  it('graph and runbook work on a file alone, and with the catalog’s roles on a plan’s name', async () => {
    const nobody = { getPlan: () => Promise.reject(new HoldfastError('NOT_FOUND', 'no such plan')) };
    const { code, stdout } = await cli(`plan graph ${file} --mode planned`, nobody);
    expect(code).to.equal(0);
    expect(stdout).to.contain('planned\n○').and.contain('├─╮');
    expect((await cli(`plan runbook ${file}`, nobody)).stdout)
      .to.contain('# Runbook: shop')
      .and.contain('Restore web-1/files to web-2.');
    const applied = { getPlan: () => Promise.resolve({ plan, document: example }) };
    expect((await cli('plan runbook shop --html', applied)).stdout)
      .to.contain('<!doctype html>')
      .and.contain('Restore web-2/files to web-1.');
    expect(await cli('plan graph nothing', nobody)).to.include({ code: 10 });
  });

  it('plan diff compares revisions, and a revision with a file', async () => {
    const answers: Partial<RecoveryServiceImplementation> = {
      getPlan: ({ revision }) =>
        Promise.resolve({
          plan,
          document: revision === 1 ? example.replace('rto: 15m', 'rto: 20m') : example,
          revisions: [{ revision: 2 }, { revision: 1 }],
        }),
    };
    const { stdout, stderr } = await cli('plan diff shop', answers);
    expect(stderr).to.contain('From shop revision 1 to shop revision 2');
    expect(stdout.split('\n').filter((line) => /^[-+]/.test(line))).to.deep.equal([
      '-objectives: {rto: 20m, rpo: 5m, drillEvery: 30d}',
      '+objectives: {rto: 15m, rpo: 5m, drillEvery: 30d}',
    ]);
    expect((await cli('plan diff shop 2 1', answers)).stdout).to.match(/^\+objectives: {rto: 20m/m);
    expect((await cli(`plan diff shop ${file}`, answers)).stdout).to.equal('');
    expect(await cli('plan diff shop nothing', answers)).to.include({ code: 2 });
  });

  it('plan run --json prints one document at the end, and the exit code says how it went', async () => {
    const started: StartRunRequest[] = [];
    const good = {
      ...following(runNews(run('running')), stepNews(steps[0]!), runNews(run('awaiting-commit'))),
      startRun: (request: StartRunRequest) => (started.push(request), Promise.resolve({ run: RUN })),
    };
    const { code, stdout, stderr } = await cli(
      'plan run shop --mode unplanned --at 2026-11-23T03:00:00Z --fence-confirmed --json',
      good,
    );
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    const document = JSON.parse(stdout) as unknown;
    expect(document).to.include({ id: RUN, state: 'awaiting-commit', rtoMs: 16_400, rpoMs: 800 });
    expect(document).to.have.nested.property('steps[0].id', 'fence');
    expect(document).to.have.nested.property('times.healthy', '2026-11-23T04:00:16.400Z');
    expect(started[0]).to.include({
      mode: 'unplanned',
      atMs: BigInt(AT - 3_600_000),
      fenceConfirmed: true,
      latestClean: false,
    });
    const codes = {
      done: 0,
      committed: 0,
      'clean-up-incomplete': 3,
      failed: 1,
      cancelled: 1,
      'rolled-back': 1,
      paused: 1,
      'awaiting-approval': 1,
      'split-brain-suspected': 1,
    };
    for (const [state, exit] of Object.entries(codes)) {
      expect(
        await cli('plan run shop --mode drill --json', following(runNews(run(state, { mode: 'drill' })))),
        state,
      ).to.include({ code: exit });
    }
    expect(await cli('plan run shop --mode drill --fence-confirmed', good)).to.include({ code: 2 });
    expect(await cli('plan run shop --mode sideways', good)).to.include({ code: 2 });
    expect(await cli('plan run shop --mode drill --detach', good)).to.deep.equal({
      code: 0,
      stdout: `${RUN}\n`,
      stderr: '',
    });
  });

  it('plan run on a terminal draws the steps in place, and leaves them there at the end', async () => {
    const news = following(
      runNews(run('running')),
      ...steps.map(stepNews),
      runNews(run('paused', { reason: 'start failed' })),
      runNews(run('awaiting-commit')),
    );
    const { stdout, stderr, code } = await cli('plan run shop --mode unplanned', news, {
      terminal: true,
      outputTerminal: true,
    });
    expect(code).to.equal(0);
    expect(stderr).to.contain('unplanned of shop, web-1 → web-2: paused: start failed').and.contain('\x1b[J');
    expect(stdout).to.contain('✗  start').and.contain('the disk is full').and.contain(`holdfast run commit ${RUN}`);
    for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(80);
  });

  it('what a host says can’t drive the terminal', async () => {
    const evil = step('start', 'failed', { message: 'line\n\u001b[2Jgone', remedy: '\u009b2J' });
    const { stdout } = await cli('run show 7d0c', {
      getRun: () => Promise.resolve({ run: run('paused', { reason: '\u001b]0;x\u0007' }), steps: [evil] }),
    });
    expect(stdout).to.contain('line \ufffd[2Jgone');
    for (const sign of ['\u001b', '\u009b', '\u0007']) expect(stdout).to.not.contain(sign);
  });

  it('the live table never is higher or wider than the terminal', () => {
    const many = Array.from({ length: 60 }, (_, at) =>
      step(`step-${at}`, at < 30 ? 'ok' : at < 32 ? 'running' : 'pending', { message: 'm'.repeat(200) }),
    );
    const followed = {
      run: run('running', { reason: '' }) as RunInfo,
      steps: new Map(many.map((each) => [each.id!, { ...each, finishedAtMs: 0n } as StepInfo])),
      events: [],
    };
    for (const rows of [5, 10, 24, 100]) {
      const lines = liveLines(followed, AT + 20_000, 80, rows);
      expect(lines.length).to.be.at.most(rows);
      expect(lines.join('\n')).to.contain('step-30');
      for (const line of lines) expect(line.length).to.be.at.most(79);
    }
  });

  it('run watch --json gives a line for each of the news, once, over a connection that breaks', async () => {
    let calls = 0;
    const after: bigint[] = [];
    const answers: Partial<RecoveryServiceImplementation> = {
      ...following(),
      watchRun: async function* watch(request) {
        after.push(request.after);
        calls += 1;
        yield runNews(run('running'));
        yield { kind: { $case: 'event', value: events[0]! } };
        if (calls === 1) throw new HoldfastError('UNREACHABLE', 'the controller stops');
        yield { kind: { $case: 'event', value: events[1]! } };
        yield runNews(run('done'));
      },
    };
    const { code, stdout } = await cli(`run watch ${RUN} --json`, answers);
    expect(code).to.equal(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; state?: string; sequence?: number });
    expect(lines.map((line) => [line.event, line.state ?? line.sequence])).to.deep.equal([
      ['run', 'running'],
      ['event', 1],
      ['event', 2],
      ['run', 'done'],
    ]);
    expect(after).to.deep.equal([0n, 1n]);
  });

  it('Ctrl-C leaves the run alone, and says that it goes on', async () => {
    let interrupt: (() => void) | undefined;
    const answers: Partial<RecoveryServiceImplementation> = {
      ...following(),
      watchRun: async function* watch(_, { signal }) {
        yield runNews(run('running'));
        interrupt?.();
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    };
    const { code, stderr } = await cli(`run watch ${RUN}`, answers, { onStart: (by) => (interrupt = by) });
    expect(code).to.equal(1);
    expect(stderr).to.contain('which goes on').and.contain(`holdfast run abort ${RUN}`);
  });

  it('every decision names run, step and reason', async () => {
    const asked: Partial<ActOnRunRequest>[] = [];
    const answers: Partial<RecoveryServiceImplementation> = {
      ...following(),
      actOnRun: ({ action, run: id, step: about, reason }) => (
        asked.push({ action, run: id, step: about, reason }),
        Promise.resolve({ run: run('running') })
      ),
    };
    for (const words of [
      'approve',
      'pause',
      'resume',
      'abort',
      'rollback',
      'commit',
      'confirm-fence',
      'retry',
      'done',
    ]) {
      expect(await cli(`run ${words} 7d0c --reason because`, answers), words).to.include({ code: 0 });
    }
    await cli('run skip 7d0c start --reason slow --json', answers);
    await cli('run retry 7d0c start', answers);
    expect(await cli('run skip 7d0c', answers)).to.include({ code: 2 });
    expect(asked).to.have.length(11);
    expect(asked[0]).to.deep.equal({ action: 'approve', run: RUN, step: '', reason: 'because' });
    expect(asked[9]).to.deep.equal({ action: 'skip', run: RUN, step: 'start', reason: 'slow' });
    expect(asked[10]).to.deep.equal({ action: 'retry', run: RUN, step: 'start', reason: '' });
  });

  it('run ls, show and timeline say what was measured, what is wrong, and when it happened', async () => {
    const answers = { ...following(), listRuns: () => Promise.resolve({ runs: [run('done')] }) };
    const { stdout } = await cli('run ls', answers, { outputTerminal: true });
    expect(stdout.split('\n')[1]).to.match(/^7d0c2c9e  shop +unplanned  done .*16\.4 s +0\.8 s/);
    for (const line of stdout.split('\n')) expect(line.length).to.be.at.most(80);
    const shown = await cli('run show 7d0c2c9e', answers);
    expect(shown.stdout).to.contain('failed (try 2)').and.contain('start: the disk is full\n   Make room, then retry.');
    expect(shown.stdout).to.contain('+3.0 s  start: retry: made room (operator erika)');
    const timeline = (await cli('run timeline 7d0c2c9e', answers)).stdout
      .split('\n')
      .slice(3, -1)
      .map((line) => line.trim());
    expect(timeline).to.deep.equal([
      '+0.0 s  ── last sign of life ──',
      '+12.0 s  running',
      '+15.0 s  start: retry: made room (operator erika)',
      '+16.4 s  ── healthy from outside ──',
    ]);
  });

  it('a preparation is told from a failover', async () => {
    const prepared = run('preparing', { ahead: true, times: {}, recoveryPointMs: 0n, startedAtMs: BigInt(AT) });
    const answers = {
      listRuns: () => Promise.resolve({ runs: [prepared] }),
      getRun: () => Promise.resolve({ run: prepared, steps: [], events: [] }),
    };
    expect((await cli('run ls', answers)).stdout.split('\n')[1]).to.match(/shop +ahead +preparing/);
    expect((await cli('run show 7d0c2c9e', answers)).stdout).to.match(/Of: +shop, revision 2, ahead\n/);
    expect(JSON.parse((await cli('run show 7d0c2c9e --json', answers)).stdout)).to.deep.include({
      ahead: true,
      rtoMs: null,
    });
  });

  it('completion knows plans, runs and modes', async () => {
    const answers = {
      listPlans: () => Promise.resolve({ plans: [plan] }),
      listRuns: () => Promise.resolve({ runs: [run('done')] }),
    };
    const words = async (typed: string) =>
      (await cli(`completion words -- ${typed}`, answers)).stdout.trim().split('\n');
    expect(await words('plan show ')).to.deep.equal(['shop']);
    expect(await words('plan run shop --mode ')).to.deep.equal(['drill', 'planned', 'unplanned']);
    expect(await words('plan graph ')).to.deep.equal(['shop']);
    expect(await words('run watch ')).to.deep.equal([RUN]);
    expect(await words('run c')).to.deep.equal(['commit', 'confirm-fence']);
    expect(await words('plan se')).to.deep.equal(['secret']);
  });
});
