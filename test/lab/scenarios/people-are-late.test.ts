// What a run needs is not there: a state to recover to, or a person who says yes. Nothing is touched meanwhile, and people know.

import { readdirSync, renameSync } from 'node:fs';
import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { Customers, monotonicMs } from '../customers.ts';
import { goOnCall, PAGER_URL, untilPaged } from '../on-call.ts';
import {
  applyPlan,
  changed,
  runPlan,
  runs,
  showPlan,
  untilReady,
  untilRun,
  whatItSays,
  type PlanChange,
} from '../plan.ts';
import { labFor, servesNothing } from '../testing.ts';
import { CONTROLLER_DIR } from '../units.ts';

const ON_CALL: PlanChange = [
  'secrets: [shop-dns-key]',
  `secrets: [shop-dns-key]\ncontacts: {oncall: {webhook: {url: "${PAGER_URL}"}}}`,
];
const approvals = (need: number, timeout: string): PlanChange => [
  'onFailure: pause',
  `approvals: {roles: [approver], need: ${need}, timeout: ${timeout}, onTimeout: pause}\nonFailure: pause`,
];

describe('runs that miss something', function late() {
  this.timeout(300_000);
  const lab = labFor(this);

  /** The shop is served by web-1 without a break while this is done, and afterwards as well. */
  const untouched = async (work: () => Promise<void>): Promise<void> => {
    const customers = await Customers.come(lab());
    await work();
    await customers.untilServed('web-1', monotonicMs());
    await customers.leave();
    const { turns, withoutServiceMs } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(withoutServiceMs).to.be.lessThan(5_000);
    expect(await showPlan(lab())).to.include({ primary: 'web-1', standby: 'web-2', epoch: 1 });
    await servesNothing(lab(), 'web-2');
  };

  it('a time of which nothing is stored is refused, and there is no run', async () => {
    await untouched(async () => {
      const words = ['plan', 'run', 'shop', '--mode', 'unplanned', '--at', '2020-02-02T02:02:02Z'];
      const { code, stderr } = await lab().holdfast(words);
      expect(code).to.not.equal(0);
      expect(stderr)
        .to.include('nothing is stored of files, db that could be restored')
        .and.include('Choose a later time');
      expect(await runs(lab())).to.deep.equal([]);
    });
    await untilReady(lab());
  });

  it('a snapshot that is lost while its run waits for an approval ends the run before anything is touched', async () => {
    await applyPlan(lab(), changed(approvals(2, '1h'), ON_CALL));
    await untouched(async () => {
      const run = await runPlan(lab(), 'unplanned');
      expect(run.state, await whatItSays(lab(), run.id)).to.equal('awaiting-approval');
      expect(run.reason).to.include(`1 more must agree: holdfast run approve ${run.id.slice(0, 8)}`);

      // Its data is gone from the vault's disk, and a verification finds that.
      await elsewhere(async () => {
        const { code } = await lab().holdfast(['verify', 'web-1/files']);
        expect(code).to.not.equal(0);
        const failed = await untilRun(lab(), ['failed']);
        expect(failed.reason).to.include('the snapshot of files that the run would restore was found damaged at ');
        expect(failed.reason).to.include('nothing was touched').and.include('holdfast plan run shop --mode unplanned');
        const { code: refused, stderr } = await lab().holdfast(['run', 'approve', run.id]);
        expect(refused).to.not.equal(0);
        expect(stderr).to.include('the run is over: failed');
      });
      for (const source of ['web-1/files', 'web-1/db']) {
        const { code, stdout, stderr } = await lab().holdfast(['verify', source]);
        expect(code, stdout + stderr).to.equal(0);
      }
    });
    await untilReady(lab());
  });

  it('an approver who is late is told twice; the run waits, and goes on when they are there', async () => {
    await goOnCall(lab());
    await applyPlan(lab(), changed(approvals(1, '5s'), ON_CALL, ['mode: automatic', 'mode: approve']));
    const customers = await Customers.come(lab());
    await sleep(3_000);
    await lab().host('web-1').kill();
    const died = monotonicMs();
    const asked = await untilRun(lab(), ['awaiting-approval', 'paused']);
    expect(asked).to.include({ mode: 'unplanned', startedBy: 'detection', from: 'web-1', to: 'web-2' });
    const command = `holdfast run approve ${asked.id.slice(0, 8)}`;
    const first = await untilPaged(lab(), asked.id, 'approval');
    expect(first.text).to.include(command);
    const paused = await untilRun(lab(), ['paused']);
    expect(paused.reason).to.equal(`nobody approved in time; it still can be: ${command}`);
    const second = await untilPaged(lab(), asked.id, 'paused');
    expect(second.text).to.include(command);
    expect(customers.attempts().filter(({ sentMs, status }) => sentMs > died && status === 201)).to.deep.equal([]);
    await servesNothing(lab(), 'web-2');

    await lab().json('run', 'approve', asked.id, '--reason', 'I was in the lift');
    // Without leases nothing proves that a silent host is off: a person does.
    const unproven = await untilRun(lab(), ['paused']);
    expect(unproven.reason).to.include(`switch it off, then: holdfast run confirm-fence ${asked.id.slice(0, 8)}`);
    await servesNothing(lab(), 'web-2');
    await lab().json('run', 'confirm-fence', asked.id);
    const run = await untilRun(lab(), ['awaiting-commit']);
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    expect(customers.overlaps(1)).to.deep.equal([]);
    const point = Date.parse(run.recoveryPoint!);
    const lost = await customers.lostOn('web-2');
    const since = lost.map(({ sentAt, sentMs, endedMs }) => Date.parse(sentAt) + endedMs - sentMs);
    expect(since.filter((at) => at < point)).to.deep.equal([]);
    expect(run.times['approved']).to.not.equal(null);
  });

  /** The vault's packs are away while this is done. */
  const elsewhere = async (work: () => Promise<void>): Promise<void> => {
    const vault = lab().host('controller').file(`${CONTROLLER_DIR}/vault`);
    const packs = readdirSync(vault, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pack'));
    expect(packs).to.not.deep.equal([]);
    for (const pack of packs) renameSync(`${vault}/${pack}`, `${vault}/${pack}.away`);
    try {
      await work();
    } finally {
      for (const pack of packs) renameSync(`${vault}/${pack}.away`, `${vault}/${pack}`);
    }
  };
});
