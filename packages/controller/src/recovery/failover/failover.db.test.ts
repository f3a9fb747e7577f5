import { expect } from 'chai';
import type { FailoverMessage, Renew } from '@holdfast/shared/failover/messages';
import { FAILOVER_TIMING, type FailoverTiming } from '@holdfast/shared/failover/timing';
import { parsePlan } from '@holdfast/shared/recovery/plan';
import { systemClock } from '@holdfast/shared/runtime/clock';

import { catalogIdentity } from '../../catalog/catalog-identity.ts';
import { openFleetEvents, type FleetEvents } from '../../fleet/fleet-events.ts';
import { openTestCatalog } from '../../testing/test-catalog.ts';
import type { AppliedPlan, FailoverNews } from '../contract.ts';
import { isExpected } from '../runs/expected.ts';
import { openFailover, type HostFailover } from './failover.ts';
import { readLease } from './lease-rows.ts';
import { addApplication } from './testing/application-fixture.ts';

const TIMING: FailoverTiming = {
  ...FAILOVER_TIMING,
  renewMs: 200,
  leaseMs: 400,
  marginMs: 200,
  suspectAfterMs: 400,
  witnessMs: 200,
  outOfReachMs: 60_000,
  controllerLeaseMs: 800,
  resendMs: 50,
};

function planOf(id: string, mode: string): AppliedPlan {
  const { plan } = parsePlan(`apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@example.org}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [h1, h2], vars: {h1: {bind: 10.0.0.1}, h2: {bind: 10.0.0.2}}}
ports: [80]
sources: [files]
detect: {mode: ${mode}, witnesses: {hosts: [h3], agree: 1, probe: "http://\${primary.bind}/"}, holdoff: 1ms}
steps: [{id: fence, type: fence}]
`);
  const hostIds = new Map(['h1', 'h2', 'h3'].map((name) => [name, name]));
  return { id, domainId: 'd1', name: 'shop', revision: 1, plan: plan!, findings: [], hostIds };
}

type Sent = { readonly to: string; readonly message: FailoverMessage };

interface Replica {
  readonly failover: HostFailover;
  readonly sent: Sent[];
  readonly news: FailoverNews[];
  readonly refused: string[];
}

describe('who serves, by a controller', function suite() {
  this.timeout(30_000);
  let catalog: Awaited<ReturnType<typeof openTestCatalog>>;
  let events: FleetEvents;
  let identity: string;
  const opened: HostFailover[] = [];

  before(async () => {
    catalog = await openTestCatalog();
    events = await openFleetEvents(catalog);
    identity = await catalogIdentity(catalog.pool);
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((failover) => failover.stop()));
  });
  after(async () => {
    await events.close();
    await catalog.close();
  });

  /** @param streams hosts whose streams are at this replica */
  const open = async (plan: AppliedPlan, replica: string, streams = ['h1', 'h2', 'h3']): Promise<Replica> => {
    const sent: Sent[] = [];
    const news: FailoverNews[] = [];
    const refused: string[] = [];
    const failover = await openFailover({
      catalog,
      events,
      clock: systemClock,
      replica,
      link: {
        send(to, _planId, message) {
          if (!streams.includes(to)) return false;
          sent.push({ to, message });
          return true;
        },
      },
      plans: async () => await Promise.resolve([plan]),
      peersOf: async (host) => await Promise.resolve([`${host}:7402`]),
      tellHosts: () => undefined,
      log: (event) => void (event === 'failover.not-for-this-host' && refused.push(event)),
      timing: TIMING,
    });
    opened.push(failover);
    failover.subscribe((one) => news.push(one));
    await eventually(() => failover.look(plan.id) !== undefined);
    return { failover, sent, news, refused };
  };

  const report = (host: string, epoch: number): Renew['report'] => ({
    host,
    highestEpoch: epoch,
    servingEpoch: host === 'h1' ? epoch : 0,
    serial: 0,
    catalog: identity,
  });
  const renewal = (slot: number, ended: number): Renew => ({
    kind: 'renew',
    host: 'h1',
    epoch: 1,
    slot,
    sees: ['controller', 'h2'],
    ended,
    report: report('h1', 1),
  });
  const status: FailoverMessage = { kind: 'status', report: report('h2', 1), seesPrimary: true, withdrawn: false };
  const answered = ({ sent }: Replica, slot: number) =>
    sent.find(({ message }) => message.kind === 'grant' && message.slot === slot)?.message;

  /** The handshake: renewals and the standby's word until a grant has an end. */
  const arm = async (replica: Replica, planId: string, driver = replica): Promise<void> => {
    let slot = 0;
    let ended = 0;
    await eventually(async () => {
      driver.failover.heard('h2', planId, status);
      replica.failover.heard('h1', planId, renewal((slot += 1), ended));
      await eventually(() => answered(replica, slot) !== undefined);
      const grant = answered(replica, slot);
      if (grant?.kind === 'grant') ended = Math.max(ended, grant.ends ?? 0);
      return (await readLease(catalog, planId))!.row.disarmed === 0;
    });
  };

  it('FO1 hears a host about itself alone, and only about what it is part of', async () => {
    const id = await addApplication(catalog, 'fo1', ['h1', 'h2'], 'r1');
    const one = await open(planOf(id, 'automatic'), 'r1');
    one.failover.heard('h2', id, renewal(1, 0));
    one.failover.heard('h3', id, status);
    one.failover.heard('h1', id, { kind: 'promoted', host: 'h2', epoch: 2 });
    one.failover.heard('h2', id, { kind: 'probe-answer', witness: 'h2', round: 1, answered: false, sawJustNow: false });
    expect(one.refused).to.have.length(4);
    expect((await readLease(catalog, id))!.row.grantSeq).to.equal(0);
    one.failover.heard('h1', id, renewal(2, 0));
    await eventually(() => answered(one, 2) !== undefined);
    expect(answered(one, 2)).to.include({ standing: 1 });
  });

  it('AR1 P1 arms by the handshake, then promotes the standby of a dead primary, and tells when it died', async () => {
    const id = await addApplication(catalog, 'dies', ['h1', 'h2'], 'r1');
    const plan = planOf(id, 'automatic');
    const one = await open(plan, 'r1');
    await arm(one, id);
    const probed = new Set<number>();
    let expected = false;
    await eventually(() => {
      one.failover.heard('h2', id, status);
      for (const { to, message } of one.sent) {
        if (message.kind !== 'probe' || probed.has(message.round)) continue;
        expect(to).to.equal('h3');
        expect(message).to.deep.include({ url: 'http://10.0.0.1/', peerAddresses: ['h1:7402'] });
        probed.add(message.round);
        const { round } = message;
        one.failover.heard('h3', id, {
          kind: 'probe-answer',
          witness: 'h3',
          round,
          answered: false,
          sawJustNow: false,
        });
      }
      const order = one.sent.find(({ message }) => message.kind === 'promote');
      if (order === undefined) return false;
      expect(order.to).to.equal('h2');
      expected ||= isExpected(plan.plan, one.failover.look(id)!, Date.now());
      one.failover.heard('h2', id, { kind: 'promoted', host: 'h2', epoch: 2 });
      return one.news.some(({ kind }) => kind === 'promoted');
    });
    const promoted = one.news.find((news) => news.kind === 'promoted')!;
    expect(promoted).to.include({ epoch: 2, automatic: true });
    const { lastSignOfLifeAt, suspectedAt, declaredDeadAt } = promoted.signs;
    expect(lastSignOfLifeAt!.getTime()).to.be.lessThan(suspectedAt!.getTime());
    expect(suspectedAt!.getTime()).to.be.lessThan(declaredDeadAt!.getTime());
    expect(one.news.map(({ kind }) => kind)).to.include.members(['driving', 'suspected']);
    expect([expected, isExpected(plan.plan, one.failover.look(id)!, Date.now())]).to.deep.equal([true, false]);
  });

  it('a primary’s silence is seen by a replica that does not drive, and the failover of it is expected', async () => {
    const id = await addApplication(catalog, 'silent', ['h1', 'h2'], 'r1');
    const plan = planOf(id, 'automatic');
    const one = await open(plan, 'r1');
    const watching = await open(plan, 'r2', []);
    await arm(one, id);
    await eventually(() => watching.failover.look(id)?.row.disarmed === 0);
    const look = watching.failover.look(id)!;
    expect(look).to.include({ driving: false, verdict: 'alive', suspectedAt: undefined });
    const heardMs = look.lastSignOfLifeAt!.getTime();
    expect([0, 3_999, 4_000].map((ms) => isExpected(plan.plan, look, heardMs + ms))).to.deep.equal([
      false,
      false,
      true,
    ]);
  });

  it('FO3 a plan that is not ready is disarmed, and nobody is promoted by itself', async () => {
    const id = await addApplication(catalog, 'unready', ['h1', 'h2'], 'r1');
    const one = await open(planOf(id, 'automatic'), 'r1');
    await arm(one, id);
    one.failover.setReady(id, false);
    await eventually(async () => (await readLease(catalog, id))!.row.disarmed !== 0);
  });

  it('FO2 a stop leaves the primary a grant without end', async () => {
    const id = await addApplication(catalog, 'stops', ['h1', 'h2'], 'r1');
    const one = await open(planOf(id, 'automatic'), 'r1');
    await arm(one, id);
    const stopping = one.failover.stop();
    let slot = 1000;
    const asking = setInterval(() => one.failover.heard('h1', id, renewal((slot += 1), 0)), 20);
    await stopping;
    clearInterval(asking);
    expect((await readLease(catalog, id))!.row.disarmed).to.be.greaterThan(0);
    expect(
      one.sent.some(({ message }) => message.kind === 'grant' && message.slot > 1000 && (message.standing ?? 0) > 0),
    ).to.equal(true);
  });

  it('without leases: tells that the primary is dead, stops it on demand, and promotes by a person’s word', async () => {
    const id = await addApplication(catalog, 'manual', ['h1', 'h2'], 'r1');
    const one = await open(planOf(id, 'approve'), 'r1');
    const stopped = one.failover.stopPrimary(id, 5000);
    await eventually(() =>
      one.sent.some(({ to, message }) => to === 'h1' && message.kind === 'stop' && message.epoch === 2),
    );
    one.failover.heard('h1', id, { kind: 'stopped', host: 'h1', epoch: 2 });
    expect(await stopped).to.equal(true);
    await eventually(() => {
      one.failover.heard('h2', id, status);
      for (const { message } of one.sent) {
        if (message.kind !== 'probe') continue;
        const { round } = message;
        one.failover.heard('h3', id, {
          kind: 'probe-answer',
          witness: 'h3',
          round,
          answered: false,
          sawJustNow: false,
        });
      }
      return one.news.some(({ kind }) => kind === 'dead');
    });
    expect((await readLease(catalog, id))!.row.phase).to.equal('open');
    await one.failover.promote(id, 'agent-stopped');
    expect((await readLease(catalog, id))!.row).to.include({ phase: 'ordered', confirmed: true });
    const again: unknown = await one.failover.promote(id, 'person').catch((error: unknown) => error);
    expect(again).to.have.property('code', 'BUSY');
    one.failover.heard('h2', id, { kind: 'promoted', host: 'h2', epoch: 2 });
    await eventually(() => one.news.some((news) => news.kind === 'promoted' && !news.automatic));
  });

  it('after a restore it waits for both hosts, or goes on with one by a person’s word that the other is off', async () => {
    const id = await addApplication(catalog, 'restored', ['h1', 'h2'], 'r1');
    await catalog.pool.query(`update application set identity = 'before/1' where plan_id = $1`, [id]);
    const one = await open(planOf(id, 'automatic'), 'r1');
    const word = async (dead: string) =>
      await one.failover.override(id, dead, async (client) => {
        await client.query(`update plan set unverified_because = 'a host was given up' where id = $1`, [id]);
      });
    await eventually(() => one.sent.some(({ to, message }) => to === 'h2' && message.kind === 'inquire'));
    expect(one.failover.look(id)?.unreported).to.deep.equal(['h1', 'h2']);
    const silent: unknown = await word('h1').catch((error: unknown) => error);
    expect(String(silent)).to.contain('the other host has not reported');
    one.failover.heard('h2', id, { kind: 'status', report: report('h2', 1), seesPrimary: false, withdrawn: false });
    await eventually(() => one.failover.look(id)?.unreported.join() === 'h1');
    expect((await readLease(catalog, id))!.row.identity).to.equal('before/1');
    const { goesOn, survivor, epoch } = await word('h1');
    expect({ goesOn, survivor }).to.deep.equal({ goesOn: false, survivor: 'h2' });
    expect(epoch).to.be.greaterThan(1000);
    const { rows } = await catalog.pool.query('select unverified_because as why from plan where id = $1', [id]);
    expect(rows).to.deep.equal([{ why: 'a host was given up' }]);
    const again: unknown = await word('h1').catch((error: unknown) => error);
    expect(String(again)).to.contain('nothing to override');
    await one.failover.promote(id, 'person');
    await eventually(() =>
      one.sent.some(({ to, message }) => to === 'h2' && message.kind === 'promote' && message.epoch === epoch),
    );
    one.failover.heard('h2', id, { kind: 'promoted', host: 'h2', epoch });
    await eventually(async () => (await readLease(catalog, id))!.row.primary === 'h2');
    // The lost one is switched on all the same: it is told to stop, and to take no orders of the catalog before.
    const old = { ...renewal(7, 0), report: { ...report('h1', 1), catalog: 'before/1' } };
    await eventually(() => {
      one.failover.heard('h1', id, old);
      const said = one.sent.filter(({ to }) => to === 'h1').map(({ message }) => message);
      return said.some(({ kind }) => kind === 'inquire') && said.some((m) => m.kind === 'stop' && m.epoch === epoch);
    });
    // It says that it served after the copy was taken: that is for people.
    one.failover.heard('h1', id, { ...renewal(8, 0), report: report('h1', 2) });
    await eventually(() => one.news.some(({ kind }) => kind === 'split-brain'));
  });

  it('LR2 AR2 a second replica drives when the first stands still, and reaches hosts whose streams are elsewhere', async () => {
    const id = await addApplication(catalog, 'two', ['h1', 'h2'], 'gone');
    const plan = planOf(id, 'automatic');
    const streams = await open(plan, 'r1', ['h1', 'h2', 'h3']);
    await eventually(() => streams.failover.look(id)?.driving === true);
    const other = await open(plan, 'r2', []);
    expect(other.failover.look(id)?.driving).to.equal(false);
    const refused: unknown = await other.failover.promote(id, 'person').catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'FAILED_PRECONDITION');
    await streams.failover.stop();
    await eventually(() => other.failover.look(id)?.driving === true);
    expect(other.news).to.deep.include({ kind: 'driving', planId: id, term: (await readLease(catalog, id))!.row.term });
    // The first one is back, with the streams, and does not drive.
    const back = await open(plan, 'r3', ['h1', 'h2', 'h3']);
    void other.failover.stopPrimary(id, 2000);
    await eventually(() => back.sent.some(({ to, message }) => to === 'h1' && message.kind === 'stop'));
    back.failover.heard('h1', id, { kind: 'stopped', host: 'h1', epoch: 2 });
    await other.failover.promote(id, 'agent-stopped');
    await eventually(() => back.sent.some(({ to, message }) => to === 'h2' && message.kind === 'promote'));
    back.failover.heard('h2', id, { kind: 'promoted', host: 'h2', epoch: 2 });
    await eventually(() => other.news.some(({ kind }) => kind === 'promoted'));
    expect(back.news.some(({ kind }) => kind === 'promoted')).to.equal(false);
  });

  it('tells a host its application with where the other one answers, and which plans were removed', async () => {
    const id = await addApplication(catalog, 'told', ['h1', 'h2'], 'r1');
    const gone = await addApplication(catalog, 'removed', ['h1', 'h2'], 'r1');
    await catalog.pool.query('update plan set removed_at = now() where id = $1', [gone]);
    const one = await open(planOf(id, 'manual'), 'r1');
    const { specs, removed } = await one.failover.applications('h1');
    expect(removed).to.deep.equal([gone]);
    expect(specs).to.have.length(1);
    expect(specs[0]).to.deep.include({
      id,
      mode: 'manual',
      primaryHost: 'h1',
      peerAddresses: ['h2:7402'],
      ports: [80],
    });
    expect((await one.failover.applications('h3')).specs).to.deep.equal([]);
  });
});

async function eventually(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + 10_000;
  while (!(await isSo())) {
    if (performance.now() > untilMs) throw new Error(`it did not come: ${isSo.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
