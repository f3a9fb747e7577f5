// A script that hangs, a check that never is well, a host that dies in the middle: each run waits where it is, says what to do, and goes on.
//
// Three planned runs, each in the other direction. While one waits nobody serves, and nothing that was acknowledged is lost.

import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { Customers, monotonicMs } from '../customers.ts';
import { eventually } from '../eventually.ts';
import type { Host } from '../host.ts';
import {
  applyPlan,
  changed,
  runPlan,
  showPlan,
  showRun,
  untilReady,
  untilRun,
  whatItSays,
  type PlanChange,
  type ShownRun,
  type ShownStep,
} from '../plan.ts';
import { labFor, servesNothing } from '../testing.ts';

/** Of the operations team, on both hosts: outside of what is restored. */
const HOOK = '/opt/hooks/migrate';
const HOOK_TEXT = `#!/bin/sh
[ -e /opt/hooks/unlocked ] && exec /opt/shop/migrate
echo "waiting for the lock of the deployment"
sleep 7777 &
sleep 7777
`;
const MIGRATE = 'run: [/opt/shop/migrate],\n      probe: [/opt/shop/is-migrated],\n      timeout: 1m,';

const agentLog = (host: Host): string => readFileSync(host.file('/var/log/agent.log'), 'utf8');

describe('steps that go wrong', function wrong() {
  this.timeout(300_000);
  const lab = labFor(this);
  let moved = 0;

  const stepOf = async (run: ShownRun, id: string): Promise<ShownStep> =>
    (await showRun(lab(), run.id)).steps.find((step) => step.id === id)!;

  const put = async (host: string, path: string, text: string): Promise<void> => {
    const script = `mkdir -p "$(dirname "$1")" && cat >"$1" && chmod 755 "$1"`;
    expect(await lab().host(host).exec(['sh', '-ec', script, 'sh', path], text)).to.include({ code: 0 });
  };

  /** A planned run with this change of the plan, up to where it waits. */
  const runUntilItWaits = async (...changes: readonly PlanChange[]): Promise<ShownRun> => {
    await untilReady(lab());
    await applyPlan(lab(), changed(...changes));
    const run = await runPlan(lab(), 'planned');
    expect(run.state, await whatItSays(lab(), run.id)).to.equal('paused');
    return run;
  };

  /** The run is at its end, `to` serves with every order, and is protected. */
  const arrives = async (customers: Customers, from: string, to: string): Promise<void> => {
    moved++;
    const run = await untilRun(lab(), ['awaiting-commit']);
    await customers.untilServed(to, monotonicMs());
    await customers.leave();
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal([from, to]);
    expect(await customers.lostOn(to)).to.deep.equal([]);
    expect(customers.overlaps(moved)).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: to, standby: from });
    await servesNothing(lab(), from);
    await lab().json('run', 'commit', run.id);
    await untilRun(lab(), ['done']);
  };

  const nobodyServes = async (): Promise<void> => {
    for (const host of ['web-1', 'web-2']) expect(await lab().host(host).unit('shop', 'status'), host).to.equal(false);
  };

  it('a script that hangs is ended with all that it started, and the run waits; mended, it goes on', async () => {
    for (const host of ['web-1', 'web-2']) await put(host, HOOK, HOOK_TEXT);
    const customers = await Customers.come(lab());
    const run = await runUntilItWaits([MIGRATE, `run: [${HOOK}],\n      timeout: 4s,`]);
    expect(run.reason).to.include(`"migrate" on web-2: ${HOOK} was ended after the step's 4 s`);
    expect(run.reason).to.include('waiting for the lock of the deployment');
    expect(run.reason).to.include(`mend it, then: holdfast run retry ${run.id.slice(0, 8)} migrate`);
    expect(await stepOf(run, 'migrate')).to.include({ state: 'failed', attempt: 1 });
    const { stdout } = await lab().holdfast(['run', 'show', run.id]);
    expect(stdout).to.include('| waiting for the lock of the deployment');
    expect(await lab().host('web-2').ok('ps', 'ax', '-o', 'args=')).to.not.match(/sleep 7777|hooks\/migrate/);
    await nobodyServes();

    await put('web-2', '/opt/hooks/unlocked', '');
    await lab().json('run', 'retry', run.id, 'migrate', '--reason', 'the lock was stale');
    await arrives(customers, 'web-1', 'web-2');
    expect(await stepOf(run, 'migrate')).to.include({ state: 'ok', attempt: 2 });
  });

  it('a check that never turns well holds the traffic back; what it found is told, and a retry goes on', async () => {
    // Somebody's firewall: the web server on web-1 does not reach the shop.
    const web1 = lab().host('web-1');
    const rules =
      'table ip forgotten {\nchain input {\ntype filter hook input priority 0;\ntcp dport 8080 drop\n}\n}\n';
    expect(await web1.exec(['nft', '-f', '-'], rules)).to.include({ code: 0 });
    const customers = await Customers.come(lab());
    const run = await runUntilItWaits([
      `contains: ok,\n      for: 1s,`,
      `contains: ok,\n      for: 1s,\n      timeout: 6s,`,
    ]);
    expect(run.reason).to.include('"healthy" on web-1: it did not become well for 1 s');
    expect(run.reason).to.include(`mend it, then: holdfast run retry ${run.id.slice(0, 8)} healthy`);
    expect(await stepOf(run, 'healthy'), 'a check has looked long enough').to.include({ state: 'failed', attempt: 1 });
    expect(await stepOf(run, 'switch')).to.include({ state: 'pending' });
    expect(await lab().host('web-2').unit('shop', 'status'), 'the old one stays down').to.equal(false);

    // Asked too early, it fails again, and waits again.
    await lab().json('run', 'retry', run.id, 'healthy');
    await eventually('the second look is over', async () => {
      const { state, attempt } = await stepOf(run, 'healthy');
      return state === 'failed' && attempt === 2 ? undefined : `${state} ${attempt}`;
    });
    await untilRun(lab(), ['paused']);
    await web1.ok('nft', 'delete', 'table', 'ip', 'forgotten');
    await lab().json('run', 'retry', run.id, 'healthy');
    await arrives(customers, 'web-2', 'web-1');
  });

  it('a host that dies in the middle of its restore is waited for; back again it is asked, and the run goes on by itself', async () => {
    const web2 = lab().host('web-2');
    const customers = await Customers.come(lab());
    await untilReady(lab());
    await applyPlan(lab(), changed(['mode: warm', 'mode: cold']));
    // So far away that a restore takes its time.
    await lab().delay('web-2', 200);
    const restoring = (): number =>
      agentLog(web2).split('"kind":"restore","level":"info","message":"job.started"').length;
    const before = restoring();
    const started = runPlan(lab(), 'planned');
    await eventually('web-2 restores', async () => (restoring() > before ? undefined : 'it does not yet'));
    await web2.kill();
    await lab().delay('web-2', 0);
    const waiting = await started;
    expect(waiting.state, await whatItSays(lab(), waiting.id)).to.equal('paused');
    expect(waiting.reason).to.include('web-2').and.include('it goes on by itself once web-2 is back');
    await nobodyServesBut(web2.name);

    await web2.start();
    await arrives(customers, 'web-1', 'web-2');
    const { stdout: story } = await lab().holdfast(['run', 'timeline', waiting.id]);
    for (const step of ['files', 'db']) {
      const { state, attempt } = await stepOf(waiting, step);
      expect(state, `${step}: ${story}`).to.equal('ok');
      // What the host had not heard of when it died is sent again; what it had begun is another attempt.
      expect(attempt, `${step}: ${story}`).to.be.within(1, 2);
    }
  });

  /** Of which nothing can be asked. */
  const nobodyServesBut = async (dead: string): Promise<void> => {
    expect(lab().host(dead).running).to.equal(false);
    await servesNothing(lab(), dead === 'web-2' ? 'web-1' : 'web-2');
  };
});
