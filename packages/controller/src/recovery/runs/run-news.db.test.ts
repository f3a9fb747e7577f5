import { expect } from 'chai';

import { openRecoveryFixture, type RecoveryFixture, type Replica } from '../../testing/recovery-fixture.ts';
import { followNews } from './run-news.ts';
import { listRuns } from './run-store.ts';
import type { RunRow } from './run-view.ts';

const PLAN = (mode: string, name = 'shop'): string => `
apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: ${name}, owner: ops@plik.example}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
detect: {mode: ${mode}}
steps:
  - {id: ready, type: command, ahead: false, in: [drill], run: [/bin/true]}
  - {id: fence, type: fence, in: [unplanned, planned]}
  - {id: start, type: service.start, units: [shop], needs: [fence]}
`;

describe('news of who serves', () => {
  let fixture: RecoveryFixture;
  let ends: (() => void)[] = [];

  beforeEach(async () => {
    fixture = await openRecoveryFixture();
  });
  afterEach(async () => {
    for (const end of ends) end();
    ends = [];
    await fixture.close();
  });

  const replica = (name: string): Replica => {
    const made = fixture.replica(name);
    const { catalog, events, told } = fixture;
    const notifier = { notify: async (message: (typeof told)[number]) => void told.push(message) };
    const candidates = async (): Promise<{ sources: []; nowMs: number }> => ({ sources: [], nowMs: Date.now() });
    ends.push(followNews({ catalog, events, replica: name, notifier, candidates, log: () => undefined, ...made }));
    return made;
  };
  const runs = (): Promise<RunRow[]> => listRuns(fixture.catalog.pool, { domainId: fixture.domainId, limit: 10 });
  const oneRun = async (): Promise<RunRow> => {
    for (;;) {
      const [first] = await runs();
      if (first !== undefined) return first;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };

  it('SR2 a promotion that nobody asked for gets its run, once, with the fence done and the signs of death in it', async () => {
    const planId = await fixture.apply(PLAN('automatic'));
    const { failover } = replica('one');
    await failover.drive(planId);
    const epoch = await failover.promoteNow(planId, true);
    const run = await oneRun();
    const signs = { lastSignOfLifeAt: undefined, suspectedAt: undefined, declaredDeadAt: undefined };
    for (let again = 0; again < 3; again++) failover.tell({ kind: 'promoted', planId, epoch, automatic: true, signs });
    const done = await fixture.until(run.id, ['awaiting-commit']);
    expect(done.run).to.include({
      fromName: 'web-1',
      toName: 'web-2',
      epoch: 2,
      startedBy: 'detection',
      fenceProof: 'lease-ran-out',
    });
    expect(done.run.times).to.include.keys('lastSignOfLife', 'suspected', 'declaredDead', 'fenced', 'started');
    expect(fixture.hosts.worked.map(({ host, name, action }) => `${host} ${name} ${action}`)).to.deep.equal([
      'web-2 start apply',
      'web-2 start verify',
    ]);
    expect(await runs()).to.have.length(1);
  });

  it('SR2 a promotion whose driver died before it started the run gets it from the next one', async () => {
    const planId = await fixture.apply(PLAN('automatic'));
    const { failover } = fixture.replica('dies');
    await failover.promoteNow(planId, true);
    expect(await runs()).to.deep.equal([]);
    await replica('next').failover.drive(planId);
    await fixture.until((await oneRun()).id, ['awaiting-commit']);
  });

  it('another failover ends the run of the one before, and has its own', async () => {
    const planId = await fixture.apply(PLAN('automatic'));
    const { failover } = replica('one');
    await failover.drive(planId);
    await failover.promoteNow(planId, true);
    const first = await oneRun();
    await fixture.until(first.id, ['awaiting-commit']);
    await failover.promoteNow(planId, true);
    const over = await fixture.until(first.id, ['failed']);
    expect(over.run.reason).to.equal('epoch 3 has come meanwhile: another failover');
    while ((await runs()).length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    const second = (await runs()).find(({ id }) => id !== first.id)!;
    expect(second).to.include({ epoch: 3, fromName: 'web-2', toName: 'web-1' });
  });

  it('asks first where the plan wants it; where it is manual, people are told, and nothing is started', async () => {
    const asks = await fixture.apply(PLAN('approve'));
    const manual = await fixture.apply(PLAN('manual', 'other'));
    const { failover } = replica('one');
    const signs = { lastSignOfLifeAt: new Date(), suspectedAt: undefined, declaredDeadAt: undefined };
    for (const planId of [asks, manual]) {
      await failover.drive(planId);
      for (let again = 0; again < 2; again++) failover.tell({ kind: 'dead', planId, signs });
    }
    const run = await oneRun();
    const waiting = await fixture.until(run.id, ['awaiting-approval']);
    expect(waiting.run.reason).to.equal(`1 more must agree: holdfast run approve ${run.id.slice(0, 8)}`);
    while (fixture.told.length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(new Set(fixture.told.map(({ template, facts }) => `${template} ${facts['plan']}`))).to.deep.equal(
      new Set(['approval shop', 'primary-dead other']),
    );
    expect(await runs()).to.have.length(1);
    expect(fixture.hosts.worked).to.deep.equal([]);
  });

  it('two hosts that claim to serve freeze what goes on, and page', async () => {
    const planId = await fixture.apply(PLAN('automatic'));
    const { failover } = replica('one');
    fixture.hosts.answers = () => 'silence';
    await failover.drive(planId);
    await failover.promoteNow(planId, true);
    const run = await oneRun();
    await fixture.until(run.id, ['running']);
    failover.tell({ kind: 'split-brain', planId });
    await fixture.until(run.id, ['split-brain-suspected']);
    while (!fixture.told.some(({ template }) => template === 'split-brain'))
      await new Promise((resolve) => setTimeout(resolve, 10));
  });
});
