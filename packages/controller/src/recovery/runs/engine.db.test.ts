import { expect } from 'chai';

import { mortalCatalog, openRecoveryFixture, type RecoveryFixture } from '../../testing/recovery-fixture.ts';
import { advance } from './advance.ts';
import { writeTransition } from './transitions.ts';

const PLAN = (more = ''): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], vars: {web-1: {bind: 10.0.0.1}, web-2: {bind: 10.0.0.2}}}
render: [{file: /etc/shop.ini, replace: {"\${primary.bind}": "\${bind}"}}]
sources: [files]
detect: {mode: manual, witnesses: {hosts: [mon-1, api-1], agree: 1, probe: "http://x/"}}
${more}
steps:
  - {id: quiesce, type: service.stop, in: [planned], host: primary, units: [shop]}
  - {id: last, type: snapshot, in: [planned], sources: [files], needs: [quiesce]}
  - {id: fence, type: fence, in: [unplanned, planned], needs: [last]}
  - {id: files, type: restore.files, source: files, unit: cache, needs: [fence]}
  - {id: migrate, type: command, run: [/bin/migrate, "\${bind}"], needs: [files, fence]}
  - {id: start, type: service.start, units: [shop], needs: [migrate, fence]}
  - {id: healthy, type: check.http, url: "http://\${bind}/", needs: [start]}
  - {id: switch, type: traffic, in: [unplanned, planned], via: [{address: {ip: 10.0.0.9/24, dev: eth0}}], needs: [healthy, fence]}
  - {id: outside, type: check.http, in: [unplanned, planned], from: witnesses, url: "http://10.0.0.9/", needs: [switch]}
  - {id: tell, type: notify, to: [oncall], template: failover, critical: false, in: [unplanned, planned], needs: [outside]}
`;

describe('the engine', () => {
  let fixture: RecoveryFixture;

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
  });
  afterEach(() => fixture.close());

  const states = async (runId: string): Promise<Record<string, string>> => {
    return Object.fromEntries((await fixture.view(runId)).steps.map((step) => [step.id, step.state]));
  };

  it('carries a planned run to its commit: every step once, on its host, with variables put in', async () => {
    const planId = await fixture.apply(PLAN());
    const { failover } = fixture.replica('one');
    await failover.drive(planId);
    const runId = await fixture.start(planId, 'planned');
    const view = await fixture.until(runId, ['awaiting-commit']);
    expect(new Set(view.steps.map((step) => step.state))).to.deep.equal(new Set(['ok']));
    expect(failover.proofs).to.deep.equal(['agent-stopped']);
    expect(fixture.told.map(({ template }) => template)).to.include('failover');
    const applied = fixture.hosts.worked
      .filter(({ action }) => action === 'apply')
      .map(({ host, name }) => `${host} ${name}`);
    expect(applied).to.deep.equal([
      'web-1 quiesce',
      'web-2 files.stop',
      'web-2 files.render',
      'web-2 files.start',
      'web-2 migrate',
      'web-2 start',
      'web-2 healthy',
      'web-2 switch',
      ...applied.filter((name) => name.endsWith('outside')),
    ]);
    const restore = fixture.hosts.seen.find((job) => job.kind?.$case === 'restore')?.kind;
    expect(restore?.$case === 'restore' && restore.value).to.deep.include({
      target: '/srv/shop',
      delta: true,
      deleteExtra: true,
    });
    const { rows } = await fixture.catalog.pool.query<{ id: Buffer }>(
      'select id from snapshot order by sequence desc limit 1',
    );
    expect(
      view.run.point.sources.map(({ snapshotId }) => snapshotId),
      'what was taken after the stop',
    ).to.deep.equal([rows[0]!.id.toString('hex')]);
    const migrate = fixture.hosts.seen.flatMap((job) =>
      job.kind?.$case === 'step' && job.kind.value.step === 'migrate' ? [job.kind.value] : [],
    );
    expect(migrate.every(({ epoch }) => epoch === 1n || epoch === 2n)).to.equal(true);
    expect(migrate.at(-1)?.spec.toString()).to.include('10.0.0.2');
    const { times } = view.run;
    expect(times.lastSignOfLife).to.be.at.most(times.fenced!);
    expect(times.fenced).to.be.at.most(times.restored!);
    expect(times.restored).to.be.at.most(times.healthy!);
    await fixture.act(runId, 'commit');
    await fixture.until(runId, ['reprotecting']);
  });

  it('EN1 killed before or behind any transition, another replica goes on, and nothing is applied twice without a probe that says not-done', async function () {
    this.timeout(180_000);
    const planId = await fixture.apply(PLAN());
    for (let boundary = 0; ; boundary++) {
      fixture.hosts.worked.length = 0;
      // Behind one is before the next, but for what this process still knew: in turn, then.
      const when = boundary % 2 === 0 ? 'before' : 'behind';
      const mortal = await mortalCatalog(fixture.catalog.connection);
      const first = fixture.replica(`${when}-first-${boundary}`, mortal);
      mortal.kill(boundary, when);
      await first.failover.drive(planId);
      const runId = await fixture.start(planId, 'planned');
      const survived = await Promise.race([
        mortal.dead.then(() => false),
        fixture.until(runId, ['awaiting-commit']).then(
          () => true,
          () => false,
        ),
      ]);
      const second = fixture.replica(`${when}-second-${boundary}`);
      await second.failover.drive(planId);
      const view = await fixture.until(runId, ['awaiting-commit']);
      for (const step of view.plan.steps) {
        expect(fixture.hosts.applied(step.id), `${step.id} at boundary ${boundary}`).to.be.at.most(
          step.id === 'outside' ? 2 : 1,
        );
      }
      expect(
        (
          await fixture.catalog.pool.query('select 1 from run_event where run_id = $1 and step_id = $2', [
            runId,
            'switch',
          ])
        ).rowCount,
      ).to.be.greaterThan(2);
      // The other way round next time, and from what serves now.
      await fixture.act(runId, 'commit');
      await fixture.catalog.pool.query(
        `update run set state = 'done', finished_at = now(), version = version + 1 where id = $1`,
        [runId],
      );
      await fixture.catalog.pool.query(
        `update source set host_id = (select primary_host from application where plan_id = $1)`,
        [planId],
      );
      first.deafen();
      second.deafen();
      second.engine.lose(planId);
      await second.engine.stop();
      if (survived) break;
      expect(boundary).to.be.lessThan(80);
    }
  });

  it('TR1 a driver that was replaced writes nothing any more', async () => {
    const planId = await fixture.apply(PLAN());
    const old = fixture.replica('old');
    const oldTerm = await old.failover.drive(planId);
    const runId = await fixture.start(planId, 'planned', { approvalsNeeded: 1 });
    await fixture.until(runId, ['awaiting-approval']);
    const view = await fixture.view(runId);
    const next = fixture.replica('next');
    await next.failover.drive(planId);
    const late = { view, advanced: advance(view, [{ kind: 'run', event: 'go' }]), jobs: [] };
    expect(
      await writeTransition(fixture, { ...late, writer: { kind: 'driver', replica: 'old', term: oldTerm } }),
    ).to.equal(false);
    expect(
      await writeTransition(fixture, { ...late, writer: { kind: 'driver', replica: 'next', term: oldTerm } }),
    ).to.equal(false);
    expect((await fixture.view(runId)).run.state).to.equal('awaiting-approval');
    expect(await old.engine.apply(runId, () => [{ kind: 'run', event: 'go' }])).to.equal(false);
  });

  it('TR2 of two decisions on one version one is written; TR3 events can’t be changed', async () => {
    const planId = await fixture.apply(PLAN());
    const runId = await fixture.start(planId, 'planned', { approvalsNeeded: 1 });
    const view = await fixture.view(runId);
    const write = (): Promise<boolean> =>
      writeTransition(fixture, {
        view,
        advanced: advance(view, [{ kind: 'run', event: 'cancel' }]),
        jobs: [],
        writer: { kind: 'person', actor: 'operator ann' },
      });
    expect((await Promise.all([write(), write(), write()])).filter(Boolean)).to.have.length(1);
    const changed = await fixture.catalog.pool
      .query(`update run_event set message = 'x'`)
      .then(() => 'changed', String);
    expect(changed).to.include('only appended');
  });

  it('pauses at a failed step, tries it again when told to, after asking the host whether it is done', async () => {
    const planId = await fixture.apply(PLAN());
    await fixture.replica('one').failover.drive(planId);
    fixture.hosts.answers = (work) => (work.name === 'migrate' && work.action === 'apply' ? 'failed' : undefined);
    const runId = await fixture.start(planId, 'unplanned');
    const paused = await fixture.until(runId, ['paused']);
    const next = `mend it, then: holdfast run retry ${runId.slice(0, 8)} migrate`;
    expect(paused.run).to.include({ pause: 'step', reason: `"migrate" on web-2: scripted to fail; ${next}` });
    expect((await states(runId))['start']).to.equal('pending');
    fixture.hosts.answers = () => undefined;
    await fixture.act(runId, 'retry', 'migrate');
    await fixture.until(runId, ['awaiting-commit']);
    const migrate = fixture.hosts.worked.filter(({ name, action }) => name === 'migrate' && action !== 'precheck');
    expect(migrate.map(({ action, answer }) => `${action} ${answer}`)).to.deep.equal([
      'apply failed',
      'probe not-done',
      'apply ok',
      'verify ok',
    ]);
  });

  it('skips a failed step when a person says so, with the name; a fence is never skipped', async () => {
    const planId = await fixture.apply(PLAN());
    const { failover } = fixture.replica('one');
    failover.primaryAnswers = false;
    await failover.drive(planId);
    fixture.hosts.answers = (work) => (work.name === 'migrate' && work.action === 'apply' ? 'failed' : undefined);
    const runId = await fixture.start(planId, 'unplanned');
    const asked = await fixture.until(runId, ['paused']);
    expect(asked.run.pause).to.equal('fence');
    expect(asked.run.reason).to.include(`holdfast run confirm-fence ${runId.slice(0, 8)}`);
    expect(await fixture.act(runId, 'skip', 'fence').catch(String)).to.include('two hosts would serve');
    expect(failover.proofs).to.deep.equal([]);
    await fixture.act(runId, 'confirm-fence');
    await fixture.until(runId, ['paused']);
    expect(failover.proofs).to.deep.equal(['person']);
    await fixture.act(runId, 'skip', 'migrate', 'test');
    const done = await fixture.until(runId, ['awaiting-commit']);
    expect(done.steps.find(({ id }) => id === 'migrate')).to.include({
      state: 'skipped',
      message: 'skipped by operator ann: test',
    });
  });

  it('a job that was lost is asked for by a probe before anything is repeated; what is done is not done again', async () => {
    const planId = await fixture.apply(PLAN());
    await fixture.replica('one').failover.drive(planId);
    fixture.hosts.answers = (work) => (work.name === 'start' && work.action === 'apply' ? 'lost' : undefined);
    const runId = await fixture.start(planId, 'unplanned');
    await fixture.until(runId, ['awaiting-commit']);
    const start = fixture.hosts.worked.filter(({ name, action }) => name === 'start' && action !== 'precheck');
    expect(start.map(({ action, answer }) => `${action} ${answer}`)).to.deep.equal([
      'apply lost',
      'probe done',
      'verify ok',
    ]);
  });

  it('what a probe can’t tell pauses the run, and a person skips it or tries again', async () => {
    const planId = await fixture.apply(PLAN());
    await fixture.replica('one').failover.drive(planId);
    fixture.hosts.answers = (work) => {
      if (work.name !== 'migrate') return undefined;
      return work.action === 'apply' ? 'lost' : work.action === 'probe' ? 'unknown' : undefined;
    };
    const runId = await fixture.start(planId, 'unplanned');
    const paused = await fixture.until(runId, ['paused']);
    expect(paused.run.pause).to.equal('unknown');
    expect((await states(runId))['migrate']).to.equal('unknown');
    expect(fixture.hosts.applied('migrate')).to.equal(1);
    await fixture.act(runId, 'skip', 'migrate');
    await fixture.until(runId, ['awaiting-commit']);
  });

  it('pauses for a person at any time, starts nothing meanwhile, and goes on', async () => {
    const planId = await fixture.apply(PLAN());
    const { engine, failover } = fixture.replica('one');
    fixture.hosts.answers = (work) => (work.name === 'migrate' && work.action === 'apply' ? 'silence' : undefined);
    await failover.drive(planId);
    const runId = await fixture.start(planId, 'unplanned');
    while (fixture.hosts.applied('migrate') === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await fixture.act(runId, 'pause');
    await engine.pump(runId);
    expect((await fixture.view(runId)).run).to.include({ state: 'paused', pause: 'operator' });
    fixture.hosts.answers = () => undefined;
    const { rows } = await fixture.catalog.pool.query<{ id: string }>(
      `update job set state = 'failed', finished_at = now() where kind = 'step' and state = 'running' returning id`,
    );
    await fixture.events.tell(fixture.catalog.pool, { kind: 'job', jobId: rows[0]!.id });
    await engine.pump(runId);
    expect(await states(runId)).to.include({ migrate: 'unknown', start: 'pending' });
    await fixture.act(runId, 'resume');
    await fixture.until(runId, ['awaiting-commit']);
    expect(fixture.hosts.applied('migrate')).to.equal(1);
  });

  it('rolls back a planned run that failed before the fence: what was stopped is started, and nobody is promoted', async () => {
    const planId = await fixture.apply(PLAN('onFailure: rollback'));
    const { failover } = fixture.replica('one');
    await failover.drive(planId);
    fixture.hosts.answers = (work) => (work.kind === 'backup' ? 'failed' : undefined);
    const runId = await fixture.start(planId, 'planned');
    const over = await fixture.until(runId, ['rolled-back']);
    expect(over.run.reason).to.include('"last" on web-1');
    expect(await states(runId)).to.include({ quiesce: 'undone', fence: 'pending', start: 'pending' });
    expect(
      fixture.hosts.worked.filter(({ action }) => action === 'undo').map(({ host, name }) => `${host} ${name}`),
    ).to.deep.equal(['web-1 quiesce']);
    expect(failover.proofs).to.deep.equal([]);
  });

  it('an approver who is late pauses the run; who agrees then lets it go on; a run is aborted before it began', async () => {
    const planId = await fixture.apply(
      PLAN('approvals: {roles: [approver], need: 1, timeout: 200ms, onTimeout: pause}'),
    );
    await fixture.replica('one').failover.drive(planId);
    const runId = await fixture.start(planId, 'unplanned', { approvalsNeeded: 1 });
    const late = await fixture.until(runId, ['paused']);
    const next = `holdfast run approve ${runId.slice(0, 8)}`;
    expect(late.run).to.include({ pause: 'approval', reason: `nobody approved in time; it still can be: ${next}` });
    expect(fixture.hosts.worked).to.deep.equal([]);
    await fixture.act(runId, 'approve');
    const done = await fixture.until(runId, ['awaiting-commit']);
    expect(done.run.times.approved).to.be.a('number');
    const other = await fixture.start(planId, 'planned', { approvalsNeeded: 1 }).catch(String);
    expect(other).to.include('a run of shop goes on');
  });

  it('a point that is spoilt while its run waits for an approval ends the run, with nothing touched', async () => {
    const planId = await fixture.apply(PLAN('approvals: {roles: [approver], need: 1, timeout: 1h, onTimeout: pause}'));
    const { engine, failover } = fixture.replica('one');
    await failover.drive(planId);
    const runId = await fixture.start(planId, 'unplanned', { approvalsNeeded: 1 });
    await fixture.until(runId, ['awaiting-approval']);
    await fixture.catalog.pool.query('update snapshot set damaged_at = now()');
    await engine.pump(runId);
    const over = await fixture.until(runId, ['failed']);
    expect(over.run.reason).to.match(/snapshot of files .* was found damaged at .*; nothing was touched/);
    expect(over.run.reason).to.include('holdfast plan run shop --mode unplanned');
    expect(fixture.hosts.worked).to.deep.equal([]);
  });

  it('a host that goes away in the middle pauses the run; back, it is asked, and the run goes on by itself', async () => {
    const planId = await fixture.apply(PLAN());
    const { engine, failover } = fixture.replica('one');
    fixture.hosts.answers = (work) => (work.name === 'start' && work.action === 'apply' ? 'silence' : undefined);
    await failover.drive(planId);
    const runId = await fixture.start(planId, 'unplanned');
    while (fixture.hosts.applied('start') === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const web2 = fixture.hostIds.get('web-2');
    await fixture.catalog.pool.query(
      `update host set connection_id = '', last_seen_at = now() - interval '30 s' where id = $1`,
      [web2],
    );
    await engine.pump(runId);
    const paused = await fixture.until(runId, ['paused']);
    expect(paused.run.pause).to.equal('unknown');
    expect(paused.run.reason).to.include('"start" on web-2: web-2 is not there; nobody knows what became of it');
    expect(paused.run.reason).to.include('by itself once web-2 is back');
    await fixture.catalog.pool.query(`update host set connection_id = 'x', last_seen_at = now() where id = $1`, [web2]);
    await engine.pump(runId);
    await fixture.until(runId, ['awaiting-commit']);
    const start = fixture.hosts.worked
      .filter(({ name }) => name === 'start')
      .map(({ action, answer }) => `${action} ${answer}`);
    expect(start).to.deep.equal(['apply silence', 'probe done', 'verify ok']);
  });

  it('tells people of what waits for them: an approval, a manual step', async () => {
    const steps = `
steps:
  - {id: sign, type: approval}
  - {id: cable, type: manual, text: plug it in, needs: [sign]}
`;
    const planId = await fixture.apply(PLAN().replace(/\nsteps:[^]*$/, steps));
    await fixture.replica('one').failover.drive(planId);
    const runId = await fixture.start(planId, 'unplanned');
    await fixture.until(runId, ['running']);
    const asked = (): string[] =>
      fixture.told.map(({ template, facts }) => `${template} ${facts['step']} ${facts['reason']}`);
    while (asked().length < 1) await new Promise((resolve) => setTimeout(resolve, 10));
    await fixture.act(runId, 'approve');
    while (asked().length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(asked()).to.deep.equal(['approval sign ', 'approval cable plug it in']);
    await fixture.act(runId, 'done');
    await fixture.until(runId, ['awaiting-commit']);
  });

  it('EN3 a run whose start nobody told the driver of is found all the same', async () => {
    const planId = await fixture.apply(PLAN());
    await fixture.replica('one').failover.drive(planId);
    const runId = await fixture.start(planId, 'unplanned', { untold: true });
    await fixture.until(runId, ['awaiting-commit']);
  });

  it('reminds people of a commit that nobody makes; with the policy automatic it is made', async () => {
    const reminds = await fixture.apply(PLAN('after: {commit: {policy: manual, remindAfter: 50ms}}'));
    const { failover } = fixture.replica('one');
    await failover.drive(reminds);
    await fixture.until(await fixture.start(reminds, 'unplanned'), ['awaiting-commit']);
    const reminded = (): number =>
      fixture.told.filter(({ template, key }) => template === 'failover' && key.includes('awaiting-commit')).length;
    while (reminded() < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    await fixture.apply(PLAN('after: {commit: {policy: automatic}}'));
    await fixture.catalog.pool.query(`update run set state = 'done', finished_at = now(), version = version + 1`);
    await fixture.catalog.pool.query('update source set host_id = (select primary_host from application)');
    await fixture.until(await fixture.start(reminds, 'unplanned'), ['reprotecting']);
  });

  it('MC3 a drill works in its sandbox alone, touches nothing of the primary, and leaves nothing', async () => {
    const planId = await fixture.apply(PLAN());
    const { failover } = fixture.replica('one');
    await failover.drive(planId);
    const runId = await fixture.start(planId, 'drill');
    await fixture.until(runId, ['done']);
    expect(failover.proofs).to.deep.equal([]);
    const { worked } = fixture.hosts;
    expect(worked.filter(({ host }) => host === 'web-1')).to.deep.equal([]);
    expect(worked.filter(({ name, sandbox }) => name !== 'sandbox' && sandbox !== runId)).to.deep.equal([]);
    expect([worked[0], worked.at(-1)].map((work) => `${work?.name} ${work?.action}`)).to.deep.equal([
      'sandbox open',
      'sandbox close',
    ]);
  });

  it('no sandbox, no drill; what a host can’t remove is said', async () => {
    const planId = await fixture.apply(PLAN());
    await fixture.replica('one').failover.drive(planId);
    fixture.hosts.answers = (work) => (work.name === 'sandbox' ? 'failed' : undefined);
    const runId = await fixture.start(planId, 'drill');
    const over = await fixture.until(runId, ['clean-up-incomplete']);
    expect(over.run.reason).to.include('scripted to fail');
    expect(fixture.hosts.worked.filter(({ name }) => name !== 'sandbox')).to.deep.equal([]);
  });

  it('a real run puts an end to a drill', async () => {
    const planId = await fixture.apply(PLAN());
    const { engine, failover } = fixture.replica('one');
    await failover.drive(planId);
    fixture.hosts.answers = (work) => (work.name === 'migrate' && work.sandbox !== '' ? 'silence' : undefined);
    const drill = await fixture.start(planId, 'drill');
    await fixture.until(drill, ['prechecking', 'running']);
    const real = await fixture.start(planId, 'unplanned');
    await engine.pump(drill);
    const over = await fixture.until(drill, ['failed']);
    expect(over.run.reason).to.equal('a real run came');
    await fixture.until(real, ['awaiting-commit']);
  });
});
