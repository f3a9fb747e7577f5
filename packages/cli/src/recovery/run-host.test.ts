import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  DeepPartial,
  RecoveryServiceImplementation,
  RunInfo,
  StartRunRequest,
} from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { startFakeController, type FakeController } from '../testing/fake-controller.ts';
import { runCli, type CliOptions, type CliRun } from '../testing/run-cli.ts';

const document = (name: string, more: string): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: ${name}, owner: ops@plik.example, ${more}}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [site]
steps: [{id: fence, type: fence, in: [planned, unplanned]}]
`;

interface Given {
  readonly metadata?: string;
  readonly primary?: string;
  readonly runs?: readonly DeepPartial<RunInfo>[];
}

describe('holdfast plan run --host', () => {
  let controller: FakeController | undefined;
  afterEach(() => controller?.stop());

  const started: StartRunRequest[] = [];
  const cli = async (
    words: string,
    plans: Record<string, Given>,
    options: Partial<CliOptions> = {},
    refuse: (plan: string) => HoldfastError | undefined = () => undefined,
  ): Promise<CliRun> => {
    controller?.stop();
    started.length = 0;
    const infoOf = ([name, { primary = 'web-1', runs = [] }]: [string, Given]) => {
      const state = runs.some(({ finishedAtMs }) => finishedAtMs === undefined) ? 'running' : 'ready';
      return { name, primary, standby: primary === 'web-1' ? 'web-2' : 'web-1', state };
    };
    const answers: Partial<RecoveryServiceImplementation> = {
      listPlans: () => Promise.resolve({ plans: Object.entries(plans).map(infoOf) }),
      getPlan: ({ plan }) => {
        const given = plans[plan]!;
        return Promise.resolve({
          plan: infoOf([plan, given]),
          document: document(plan, given.metadata ?? ''),
          runs: [...(given.runs ?? [])],
        });
      },
      startRun: (request) => {
        const error = refuse(request.plan);
        if (error !== undefined) return Promise.reject(error);
        started.push(request);
        return Promise.resolve({ run: `run-of-${request.plan}` });
      },
    };
    const hosts = ['web-1', 'web-2', 'db-1'].map((name) => ({ name }));
    controller = await startFakeController({ listHosts: () => Promise.resolve({ hosts }) }, 0, answers);
    return await runCli(words.split(' '), { address: controller.address, ...options });
  };
  const lines = ({ stdout }: CliRun): Record<string, unknown>[] =>
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const run = (fields: DeepPartial<RunInfo>): DeepPartial<RunInfo> => ({
    id: '7d0c2c9e-1111-4111-8111-111111111111',
    mode: 'unplanned',
    state: 'running',
    fromHost: 'web-1',
    toHost: 'web-2',
    ...fields,
  });

  const SITE: Record<string, Given> = {
    blog: { metadata: 'priority: 900' },
    dns: {},
    shop: { metadata: 'priority: 1, dependsOn: [dns, store]' },
    store: { metadata: 'dependsOn: [dns]' },
    elsewhere: { primary: 'web-2' },
  };

  it('starts the plans that the host serves, in their order, with what was said, and reports each', async () => {
    const said = await cli(
      'plan run --host web-1 --mode unplanned --fence-confirmed --latest-clean --yes --json',
      SITE,
    );
    expect(said).to.include({ code: 0, stderr: '' });
    expect(started.map(({ plan }) => plan)).to.deep.equal(['dns', 'store', 'shop', 'blog']);
    for (const request of started)
      expect(request).to.include({ mode: 'unplanned', fenceConfirmed: true, latestClean: true, atMs: 0n });
    expect(lines(said)[2]).to.deep.equal({
      plan: 'shop',
      from: 'web-1',
      to: 'web-2',
      mode: 'unplanned',
      outcome: 'started',
      run: 'run-of-shop',
      state: null,
      reason: null,
      hint: null,
    });
    const words = await cli('plan run --host web-1 --mode planned --yes', SITE);
    expect(words.stdout.split('\n')[0]).to.equal('dns: run run-of-dns started, to web-2');
    expect(words.stderr).to.equal('See how they go with: holdfast run ls\n');
  });

  it('asks a person once, naming what begins in which order; anything but yes starts nothing, and no program is asked', async () => {
    const asked = await cli('plan run --host web-1 --mode unplanned --fence-confirmed', SITE, {
      inputTerminal: true,
      input: 'yes\n',
    });
    expect(asked.code).to.equal(0);
    expect(asked.stderr).to.contain('   1  dns    to web-2\n').and.contain('   3  shop   to web-2, after dns, store\n');
    expect(asked.stderr).to.contain('Start 4 unplanned runs: dns, store, shop, blog? You vouch that web-1 is off.');
    expect(started).to.have.length(4);
    for (const input of ['y\n', '', 'no\nyes\n']) {
      const refused = await cli('plan run --host web-1 --mode planned', SITE, { inputTerminal: true, input });
      expect(refused).to.include({ code: 1, stdout: '' });
      expect(refused.stderr).to.contain('nothing was started');
      expect(started).to.have.length(0);
    }
    expect(await cli('plan run --host web-1 --mode planned --json', SITE, { input: 'yes\n' })).to.include({ code: 2 });
    expect(started).to.have.length(0);
  });

  it('said again, names what goes on and starts nothing beside it, nor asks', async () => {
    const again = await cli('plan run --host web-1 --mode unplanned --json', {
      dns: { primary: 'web-2', runs: [run({ state: 'awaiting-commit' })] },
      shop: { runs: [run({})] },
      wiki: { primary: 'web-2', runs: [run({ finishedAtMs: 1n })] },
      back: { primary: 'web-2', runs: [run({ mode: 'planned' })] },
    });
    expect(again).to.include({ code: 0, stderr: '' });
    expect(lines(again).map(({ plan, outcome, state }) => [plan, outcome, state].join(' '))).to.deep.equal([
      'dns goes-on awaiting-commit',
      'shop goes-on running',
    ]);
    expect(started).to.have.length(0);
    const racing: Record<string, Given> = { dns: {} };
    const raced = await cli('plan run --host web-1 --mode unplanned --yes', racing, {}, () => {
      racing['dns'] = { runs: [run({ state: 'prechecking' })] };
      return new HoldfastError('BUSY', 'a run of dns goes on');
    });
    expect(raced).to.include({
      code: 0,
      stdout: 'dns: run 7d0c2c9e-1111-4111-8111-111111111111 goes on: prechecking\n',
    });
  });

  it('goes on behind a plan that is refused, says why and what to do, and exits with 1', async () => {
    const said = await cli(
      'plan run --host web-1 --mode unplanned --yes',
      {
        ...SITE,
        ops: { runs: [run({ mode: 'planned', state: 'paused' })] },
        wiki: { runs: [run({ mode: 'drill' }), run({ ahead: true, state: 'preparing' })] },
      },
      {},
      (plan) =>
        plan === 'dns'
          ? new HoldfastError('FAILED_PRECONDITION', 'web-2 is offline', { hint: 'Start it.' })
          : undefined,
    );
    expect(said.code).to.equal(1);
    expect(said.stdout).to.contain('dns: refused: web-2 is offline\n   Start it.\n');
    expect(said.stdout).to.contain(
      'ops: refused: another run goes on: planned, web-1 → web-2, paused\n   holdfast run commit 7d0c2c9e, or: holdfast run abort 7d0c2c9e\n',
    );
    expect(said.stderr).to.contain("2 of 6 plans can't be started now");
    expect(started.map(({ plan }) => plan)).to.deep.equal(['store', 'shop', 'wiki', 'blog']);
    const drills = await cli('plan run --host web-1 --mode drill --yes', { wiki: { runs: [run({ mode: 'drill' })] } });
    expect(drills.stdout).to.contain('wiki: run 7d0c2c9e-1111-4111-8111-111111111111 goes on: running');
  });

  it('a host that there is not is not found; one that serves nothing is fine', async () => {
    const wrong = await cli('plan run --host wbe-1 --mode unplanned --yes', SITE);
    expect(wrong).to.include({ code: 10 });
    expect(wrong.stderr).to.contain('Did you mean web-1');
    const none = await cli('plan run --host db-1 --mode unplanned --yes', SITE);
    expect(none).to.include({ code: 0, stdout: '' });
    expect(none.stderr).to.contain('No plan is served by db-1');
    for (const words of ['plan run --mode unplanned', 'plan run shop --host web-1 --mode unplanned'])
      expect(await cli(words, SITE), words).to.include({ code: 2 });
  });

  it('completion offers the hosts', async () => {
    expect((await cli('completion words -- plan run --host w', SITE)).stdout).to.equal('web-1\nweb-2\n');
    expect((await cli('completion words -- plan run --h', SITE)).stdout).to.contain('--host\n');
  });
});
