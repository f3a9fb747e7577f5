import { createRpcClient } from '@holdfast/shared/rpc/channel';
import { failoverToWire } from '@holdfast/shared/rpc/failover-wire';
import { decodeHostStep } from '@holdfast/shared/recovery/host-step';
import type { AgentMessage, DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { RecoveryDefinition, type RecoveryClient, type RunNews } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import type { StepJob } from '@holdfast/shared/rpc/gen/holdfast/v1/step';
import { expect } from 'chai';
import pg from 'pg';

import { insertOperator, insertToken, setRole } from '../fleet/operators.ts';
import type { Role } from '../fleet/roles.ts';
import { ScriptedAgent } from '../testing/scripted-agent.ts';
import { codeOf, startTestController, type TestController, type TestHost } from '../testing/test-controller.ts';
import { LEAST_RECOVERY_ROLE, type RecoveryCall } from './permissions.ts';

const PLAN = (name = 'shop', more = ''): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: ${name}, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], vars: {web-1: {bind: 10.0.0.1}, web-2: {bind: 10.0.0.2}}}
secrets: [shop-key]
sources: [site]
${more}
steps:
  - {id: look, type: check.command, run: [/bin/look, "\${bind}"]}
  - {id: warm-up, type: command, run: [/bin/warm, "\${bind}"], needs: [look]}
`;

type Answers = (step: StepJob) => string;

/** Works on every step as it is told, and keeps what came. */
class StepAgent {
  readonly agent: ScriptedAgent;
  readonly steps: StepJob[] = [];
  answers: Answers = () => 'ok';

  constructor(test: TestController, host: TestHost, name: string) {
    this.agent = new ScriptedAgent(test, host, name);
    void this.#work();
  }

  async #work(): Promise<void> {
    for (;;) {
      const job = await this.agent.next('job').catch(() => undefined);
      if (job === undefined) return;
      const state = job.kind?.$case === 'step' ? this.answers(job.kind.value) : 'ok';
      if (job.kind?.$case === 'step') this.steps.push(job.kind.value);
      const outcome = { result: 'done', step: { state, message: state === 'failed' ? 'it is not there' : '' } };
      const said: DeepPartial<AgentMessage>['kind'] = { $case: 'finished', value: { jobId: job.jobId, outcome } };
      this.agent.say(said);
    }
  }
}

describe('the Recovery service', () => {
  let test: TestController;
  let pool: pg.Pool;
  let owner: RecoveryClient;
  const agents: StepAgent[] = [];

  const recovery = (token: string): RecoveryClient =>
    createRpcClient(RecoveryDefinition, test.track({ address: test.address, caCertificatePem: test.caPem }), {
      bearerToken: token,
    });

  beforeEach(async () => {
    test = await startTestController();
    pool = new pg.Pool({ ...test.database, max: 2 });
    owner = recovery(test.ownerToken);
    for (const name of ['web-1', 'web-2']) {
      const host = await test.enrolHost(name);
      agents.push(new StepAgent(test, host, name));
    }
    const spec = { name: 'site', type: { $case: 'files' as const, value: { paths: ['/srv'] } } };
    await test.owner.addSource({ host: 'web-1', spec });
  });
  afterEach(async () => {
    for (const { agent } of agents.splice(0)) agent.outbox.end();
    await pool.end();
    await test.close();
  });

  const driving = async (plan: string): Promise<void> => {
    for (;;) {
      const { rows } = await pool.query(
        `select 1 from application a join plan p on p.id = a.plan_id where p.name = $1 and a.driver <> ''`,
        [plan],
      );
      if (rows.length > 0) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const followed = async (run: string): Promise<RunNews[]> => {
    const all: RunNews[] = [];
    for await (const news of owner.watchRun({ run })) all.push(news);
    return all;
  };

  it('PA1 applies a plan with its faults in words, makes no revision of the same document, and shows it', async () => {
    const first = await owner.applyPlan({ document: PLAN() });
    expect(first).to.deep.include({ changed: true });
    expect(first.plan).to.deep.include({ name: 'shop', revision: 1, primary: 'web-1', standby: 'web-2', epoch: 1n });
    expect(first.findings.map(({ message }) => message)).to.deep.equal(['the secret shop-key has no value']);
    expect((await owner.applyPlan({ document: PLAN() })).changed).to.equal(false);
    expect((await owner.applyPlan({ document: PLAN('shop', 'limits: {parallel: 2}') })).plan?.revision).to.equal(2);
    const shown = await owner.getPlan({ plan: 'shop', revision: 1 });
    expect(shown.document).to.equal(PLAN());
    expect(shown.revisions.map(({ revision, appliedBy }) => `${revision} ${appliedBy}`)).to.deep.equal([
      '2 operator admin',
      '1 operator admin',
    ]);
    const bad = PLAN().replace('web-2]', 'web-9]').replaceAll('web-2:', 'web-9:').replace('[site]', '[sites]');
    const { findings } = await owner.checkPlan({ document: bad });
    expect(
      findings.filter(({ level }) => level === 'error').map(({ line, subject }) => `${line} ${subject}`),
    ).to.deep.equal(['6 placement.hosts[1]', '8 sources[0]']);
    expect(await codeOf(owner.applyPlan({ document: bad }))).to.equal('INVALID_ARGUMENT');
  });

  it('warns of plans that it depends on and that there are not, and of a circle among those that are applied', async () => {
    const needs = (name: string, needed: string): string =>
      PLAN().replace('name: shop,', `name: ${name}, dependsOn: [${needed}],`);
    const found = async (document: string): Promise<string[]> =>
      (await owner.checkPlan({ document })).findings.flatMap(({ level, line, subject, message, remedy }) =>
        subject.startsWith('metadata') ? [`${level} ${line} ${subject}: ${message} (${remedy})`] : [],
      );
    const { findings } = await owner.applyPlan({ document: needs('shop', 'dns, store') });
    expect(findings.filter(({ message }) => message.includes('nothing waits for it'))).to.have.length(2);
    await owner.applyPlan({ document: PLAN('store') });
    expect(await found(needs('shop', 'dns, store'))).to.deep.equal([
      'warning 4 metadata.dependsOn[0]: there is no plan "dns" yet: until there is, nothing waits for it (apply dns, or leave it out)',
    ]);
    expect((await found(needs('wiki', 'stroe')))[0]).to.contain('(Did you mean store?)');
    expect(await found(needs('store', 'shop'))).to.deep.equal([
      'warning 4 metadata.dependsOn[0]: these depend on each other, and none will wait for the other: store → shop → store (leave one of them out of dependsOn)',
    ]);
    expect(await found(needs('shop', 'shop'))).to.deep.equal([
      "error 4 metadata.dependsOn[0]: a plan can't depend on itself ()",
    ]);
    const { plan } = await owner.getPlan({ plan: 'shop' });
    expect(plan?.readiness.filter(({ subject }) => subject === 'plan dns').map(({ level }) => level)).to.deep.equal([
      'warning',
    ]);
  });

  it('PA2 an apply of the first document, after a failover, moves nobody back; other hosts are refused', async () => {
    await owner.applyPlan({ document: PLAN() });
    await pool.query(
      `update application set primary_host = standby_host, standby_host = primary_host, epoch = 2, next_epoch = 3`,
    );
    const again = await owner.applyPlan({ document: PLAN('shop', 'limits: {parallel: 3}') });
    expect(again.plan).to.deep.include({ primary: 'web-2', standby: 'web-1', epoch: 2n });
    await test.enrolHost('web-3');
    const said = async (document: string) =>
      String(await owner.applyPlan({ document }).catch((error: unknown) => error));
    // web-2 serves now.
    expect(await said(PLAN().replaceAll('web-2', 'web-3'))).to.contain('leaves out the host that serves now');
    const source = { name: 'site', type: { $case: 'files' as const, value: { paths: ['/srv'] } } };
    await test.owner.addSource({ host: 'web-3', spec: source });
    expect(await said(PLAN().replaceAll('web-1', 'web-3'))).to.contain('with another standby');
    expect((await owner.getPlan({ plan: 'shop' })).plan).to.include({
      primary: 'web-2',
      standby: 'web-1',
      revision: 2,
    });
  });

  it('checks every step on its host, and keeps what it found', async () => {
    await owner.applyPlan({ document: PLAN() });
    await owner.setPlanSecret({ name: 'shop-key', value: Buffer.from('open sesame') });
    agents[1]!.answers = (step) => (step.step === 'look' ? 'failed' : 'ok');
    const bad = await owner.checkPlan({ document: PLAN(), live: true });
    expect(bad.findings.map(({ level, subject, message }) => `${level} ${subject} ${message}`)).to.deep.equal([
      'error look web-2: it is not there',
      'ok warm-up web-2: could work now',
    ]);
    expect((await owner.listPlans({})).plans[0]?.readiness.map(({ message }) => message).join()).to.include(
      'it is not there',
    );
    agents[1]!.answers = () => 'ok';
    await owner.checkPlan({ document: PLAN(), live: true });
    const { rows } = await pool.query('select verified_at is not null as verified from plan');
    expect(rows).to.deep.equal([{ verified: true }]);
    expect(agents[1]!.steps.map(({ action }) => action)).to.deep.equal([
      'precheck',
      'precheck',
      'precheck',
      'precheck',
    ]);
  });

  it('runs a plan through the hosts’ streams in well under a second a step, with secrets that no row holds', async () => {
    await owner.applyPlan({ document: PLAN() });
    await owner.setPlanSecret({ name: 'shop-key', value: Buffer.from('open sesame') });
    await driving('shop');
    const { run } = await owner.startRun({ plan: 'shop', mode: 'unplanned' });
    const watching = followed(run);
    for (;;) {
      const { run: info } = await owner.getRun({ run });
      if (info?.state === 'awaiting-commit') break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await owner.actOnRun({ run: run.slice(0, 8), action: 'commit' });
    const news = await watching;
    expect(news[0]?.kind?.$case).to.equal('run');
    const states = news.flatMap(({ kind }) =>
      kind?.$case === 'event' && kind.value.kind === 'state' && kind.value.step === '' ? [kind.value.message] : [],
    );
    expect(states).to.include('running → verifying').and.include('committed → done');
    const applied = agents[1]!.steps.filter(({ action }) => action === 'apply');
    expect(applied.map(({ step }) => step)).to.deep.equal(['look', 'warm-up']);
    const warmUp = decodeHostStep(applied[1]!.spec);
    expect(warmUp.type === 'command' && warmUp.run).to.deep.equal(['/bin/warm', '10.0.0.2']);
    expect(applied[1]!.secrets.map(({ name, value }) => `${name}=${value.toString()}`)).to.deep.equal([
      'shop-key=open sesame',
    ]);
    const leaks = await pool.query(`select 1 from job where position('open sesame'::bytea in request) > 0`);
    expect(leaks.rowCount).to.equal(0);
    const latency = await pool.query<{ ms: number }>(
      `select max(extract(epoch from sent_at - created_at) * 1000)::float8 as ms from job where kind = 'step'`,
    );
    expect(latency.rows[0]!.ms, 'not by the sweep').to.be.lessThan(10_000);
    const report = await owner.getReport({ run });
    expect(report.signature).to.have.length(64);
  });

  it('what is silent is prepared for: it is no failover, leaves no report, and does not keep the plan from being removed', async () => {
    const ahead = '  - {id: room, type: check.tcp, address: "10.0.0.1:80", ahead: true}\n';
    await owner.applyPlan({ document: PLAN() + ahead });
    // These agents say nothing of the application.
    for (;;) {
      const { runs } = await owner.listRuns({});
      const [run] = runs;
      const { steps } = run === undefined ? { steps: [] } : await owner.getRun({ run: run.id });
      if (steps.some(({ state }) => state === 'ok')) {
        expect(run).to.include({ state: 'preparing', ahead: true });
        expect(steps.map(({ id, state }) => `${id} ${state}`)).to.deep.equal([
          'look pending',
          'warm-up pending',
          'room ok',
        ]);
        expect(await codeOf(owner.getReport({ run: run!.id }))).to.equal('FAILED_PRECONDITION');
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect((await owner.getPlan({ plan: 'shop' })).plan?.state).to.equal('unverified');
    await owner.removePlan({ plan: 'shop' });
    const { runs } = await owner.listRuns({});
    expect(runs.map(({ state, ahead: isAhead, reason }) => ({ state, isAhead, reason }))).to.deep.equal([
      { state: 'cancelled', isAhead: true, reason: 'ended by operator admin: plan removed' },
    ]);
  });

  it('after a restore a plan is not ready; a person gives up a host that is off, and nobody one that is connected', async () => {
    await owner.applyPlan({ document: PLAN() });
    const { rows } = await pool.query<{ id: string; identity: string; host: string }>(
      'select plan_id as id, identity, primary_host as host from application',
    );
    const { id = '', identity = '', host = '' } = rows[0] ?? {};
    await pool.query(`update application set identity = 'before/1'`);
    const facts = async () => (await owner.getPlan({ plan: 'shop' })).plan?.readiness ?? [];
    const waitsFor = async () =>
      (await facts()).flatMap(({ subject, message }) => (message.includes('was restored') ? [subject] : []));
    await until(async () => (await waitsFor()).length === 2);
    const word = { plan: 'shop', deadHost: 'web-2', reason: 'the machine burnt out' };
    expect(await codeOf(owner.overridePlan({ ...word, deadHost: 'web-7' }))).to.equal('NOT_FOUND');
    const connected: unknown = await owner.overridePlan(word).catch((error: unknown) => error);
    expect(String(connected)).to.contain('web-2 is connected');
    agents[1]!.agent.outbox.end();
    await until(async () => (await codeOf(owner.overridePlan(word))) === 'FAILED_PRECONDITION');
    const report = { host, highestEpoch: 1, servingEpoch: 1, serial: 0, catalog: identity };
    const said = failoverToWire(id, { kind: 'status', report, seesPrimary: false, withdrawn: false });
    agents[0]!.agent.say({ $case: 'failover', value: said });
    await until(async () => (await waitsFor()).join() === 'web-2');
    expect((await owner.getPlan({ plan: 'shop' })).plan?.state).to.equal('unverified');
    const done = await owner.overridePlan(word);
    expect(done).to.include({ survivor: 'web-1', goesOn: true });
    expect(await waitsFor()).to.deep.equal([]);
    expect(await codeOf(owner.overridePlan(word))).to.equal('FAILED_PRECONDITION');
    const { entries } = await test.owner.listAudit({});
    expect(entries.map(({ action, subject }) => `${action} ${subject}`)).to.include(
      'plan.override shop: web-2 is off for good: the machine burnt out',
    );
  });

  it('PM1 PM2 every call asks for its role, and another domain looks like none', async () => {
    await owner.applyPlan({ document: PLAN() });
    const domain = (await pool.query<{ id: string }>('select id from domain')).rows[0]!.id;
    await pool.query(
      `insert into domain (id, name, managed) values ('11111111-1111-4111-8111-111111111111', 'foreign', false)`,
    );
    const clientOf = async (role: Role, domainId: string): Promise<RecoveryClient> => {
      const client = await pool.connect();
      try {
        const id = await insertOperator(client, `${role}-${domainId.slice(0, 4)}`, undefined);
        await setRole(client, id, domainId, role);
        return recovery(
          (await insertToken(client, { operatorId: id, label: 't', role: undefined, ttlSeconds: 600 })).token,
        );
      } finally {
        client.release();
      }
    };
    const calls = Object.keys(RecoveryDefinition.methods) as RecoveryCall[];
    expect(Object.keys(LEAST_RECOVERY_ROLE).toSorted()).to.deep.equal(calls.toSorted());
    const call = async (client: RecoveryClient, name: RecoveryCall, named: string): Promise<string> => {
      const request = {
        domain: named,
        plan: 'shop',
        document: 'x',
        run: '00000000',
        name: 'n',
        mode: 'drill',
        action: 'approve',
      };
      const answer = (client[name] as (asked: unknown) => Promise<unknown> | AsyncIterable<unknown>)(request);
      if (!(Symbol.asyncIterator in answer)) return await codeOf(answer);
      return await codeOf((async () => { for await (const _ of answer) break; })()); // prettier-ignore
    };
    const order: readonly Role[] = ['viewer', 'operator', 'approver', 'admin'];
    for (const role of ['viewer', 'operator', 'approver'] as const) {
      const client = await clientOf(role, domain);
      for (const name of calls) {
        const may = order.indexOf(role) >= order.indexOf(LEAST_RECOVERY_ROLE[name]);
        const code = await call(client, name, 'default');
        if (may) expect(code, `${role} ${name}`).to.not.be.oneOf(['NOT_ALLOWED', 'UNAUTHENTICATED', 'INTERNAL']);
        else expect(code, `${role} ${name}`).to.equal('NOT_ALLOWED');
        if (name !== 'setPlanSecret' || !may)
          expect(await call(client, name, 'foreign'), name).to.be.oneOf(['NOT_FOUND', 'NOT_ALLOWED']);
      }
      const planned = await codeOf(client.startRun({ plan: 'shop', mode: 'planned' }));
      expect(planned === 'NOT_ALLOWED', `${role} planned`).to.equal(role !== 'approver');
    }
    expect(await call(recovery('hfo_wrong'), 'listPlans', 'default')).to.equal('UNAUTHENTICATED');
    const { entries } = await test.owner.listAudit({});
    expect(entries.map(({ action }) => action)).to.include('plan.apply');
  });
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + 50_000;
  while (!(await isSo())) {
    if (performance.now() > untilMs) throw new Error(`it did not come: ${isSo.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
