// Who serves, with real kernels: two hosts, a witness and a controller in network namespaces, with quicker leases than the field's.

import { expect } from 'chai';
import {
  noNamespaces,
  openNamespace,
  type NetworkNamespace,
} from '@holdfast/agent/recovery/failover/testing/network-namespace';
import { promotionBoundMs } from '@holdfast/shared/failover/timing';
import { eventually, openPair, TIMING, type HostName, type Pair } from './pair.ts';

const missing = noNamespaces();
const LEASE_IS_OVER_MS = TIMING.leaseMs + TIMING.marginMs + TIMING.suspectAfterMs + TIMING.witnessMs;
/** What timers, processes and messages may take beyond the bound on busy cores; the bound itself is held in simulated time (simulation.test.ts). */
const EPSILON_MS = 8_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

(missing === undefined ? describe : describe.skip)(
  `who serves (${missing ?? 'two hosts in namespaces'})`,
  function suite() {
    this.timeout(120_000);
    let middle: NetworkNamespace;
    let pair: Pair;

    /** This thread stands in the middle while a test runs. */
    const inside = (work: () => Promise<void>) => (): Promise<void> =>
      middle.within(async () => {
        try {
          await work();
        } catch (error) {
          const said = (['web-1', 'web-2'] as const).map(
            (host) => `--- ${host}\n${pair.logs(host).slice(-3000)}\n${pair.show(host)}`,
          );
          throw new Error(`${String(error)}\n${said.join('\n')}\n${JSON.stringify(await pair.row())}`, {
            cause: error,
          });
        }
      });

    before(async () => {
      middle = await openNamespace();
      await middle.within(async () => {
        pair = await openPair(middle, 'automatic');
      });
    });
    after(async () => {
      await middle.within(() => pair.close());
      middle.close();
    });

    /** Asked ten times a second, it answers every time. */
    const servesThrough = async (host: HostName, forMs: number): Promise<void> => {
      const untilMs = performance.now() + forMs;
      while (performance.now() < untilMs) {
        expect(await pair.answer(host), `${host} must answer`).to.be.a('string');
        await pause(100);
      }
    };

    it(
      'takes up a service that runs, puts it under leases, and arms once all three see each other',
      inside(async () => {
        pair.service('web-1', 'start');
        await eventually('the service answers', async () => (await pair.answer('web-1')) !== undefined);
        await Promise.all([pair.startAgent('web-1'), pair.startAgent('web-2'), pair.startAgent('mon-1')]);
        await pair.backup();
        await pair.armed();
        await servesThrough('web-1', LEASE_IS_OVER_MS);
        expect(pair.show('web-1')).to.match(/slot_\d+ accept/);
        expect(pair.show('web-1')).to.match(/10\.99\.0\.100\/24.*valid_lft \dsec/);
        expect(pair.show('web-2')).to.not.contain('10.99.0.100/');
        expect(pair.controller().failover.look(pair.planId)).to.include({
          verdict: 'alive',
          driving: true,
          splitBrain: false,
        });
      }),
    );

    it(
      'an agent that is killed and started again within its lease takes up what runs, and nobody notices',
      inside(async () => {
        await pair.signalAgent('web-1', 'SIGKILL');
        await Promise.all([pair.startAgent('web-1'), servesThrough('web-1', LEASE_IS_OVER_MS)]);
        expect((await pair.row()).epoch).to.equal(1);
      }),
    );

    it(
      'the primary cut from the controller alone serves on: the standby grants, and the witness sees it',
      inside(async () => {
        await pair.armed();
        pair.cutFromController('web-1', true);
        await servesThrough('web-1', LEASE_IS_OVER_MS);
        pair.cutFromController('web-1', false);
        expect(await pair.row()).to.include({ epoch: 1, phase: 'open' });
        await pair.armed();
      }),
    );

    it(
      'the controller stopped and started again, and the standby’s agent too: nothing happens',
      inside(async () => {
        const serving = servesThrough('web-1', LEASE_IS_OVER_MS);
        await pair.stopController();
        await pause(LEASE_IS_OVER_MS / 2);
        await pair.startController();
        await pair.signalAgent('web-2', 'SIGTERM');
        await pair.startAgent('web-2');
        await serving;
        expect((await pair.row()).epoch).to.equal(1);
        await pair.armed();
      }),
    );

    it(
      'a standby out of reach for its time disarms the controller; then the controller may go as well',
      inside(async () => {
        pair.unplug('web-2');
        await eventually('the controller is disarmed', async () => (await pair.row()).disarmed !== 0);
        await pause(2 * TIMING.renewMs);
        await pair.stopController();
        await servesThrough('web-1', LEASE_IS_OVER_MS);
        pair.plug('web-2');
        await pair.startController();
        await pair.armed();
        expect((await pair.row()).epoch).to.equal(1);
      }),
    );

    it(
      'a frozen agent: the kernel ends the service, the standby is promoted within the bound, and the old primary stays down',
      inside(async () => {
        const frozenAt = performance.now();
        const promoted = eventually('web-2 is promoted', async () => (await pair.row()).primary === pair.ids['web-2']);
        await pair.signalAgent('web-1', 'SIGSTOP');
        await eventually('the port of web-1 is shut', async () => (await pair.answer('web-1')) === undefined);
        await promoted;
        const tookMs = performance.now() - frozenAt;
        expect(tookMs).to.be.lessThan(promotionBoundMs(TIMING) + EPSILON_MS);
        expect(await pair.answer('web-1')).to.equal(undefined);
        await eventually(
          'web-2 has the address',
          async () => await Promise.resolve(pair.show('web-2').includes('10.99.0.100/24')),
        );
        pair.service('web-2', 'start');
        await eventually('web-2 answers', async () => (await pair.answer('web-2')) !== undefined);
        const { lastSignOfLifeAt, suspectedAt, declaredDeadAt } = pair.controller().failover.look(pair.planId)!;
        void [lastSignOfLifeAt, suspectedAt, declaredDeadAt];
        await pair.signalAgent('web-1', 'SIGCONT');
        await eventually(
          'web-1 is fenced',
          async () => await Promise.resolve(/gate_in \{\s*drop/.test(pair.show('web-1'))),
        );
        await servesThrough('web-2', LEASE_IS_OVER_MS);
        expect(await pair.answer('web-1')).to.equal(undefined);
        expect(await pair.row()).to.include({ epoch: 2, automatic: true });
        await pair.commitRun();
      }),
    );

    it(
      'a host without power: its standby is promoted within the bound',
      inside(async () => {
        await pair.armed();
        const diedAt = performance.now();
        await pair.killHost('web-2');
        await eventually('web-1 is promoted', async () => (await pair.row()).primary === pair.ids['web-1']);
        expect(performance.now() - diedAt).to.be.lessThan(promotionBoundMs(TIMING) + EPSILON_MS);
        expect((await pair.row()).epoch).to.equal(3);
        pair.service('web-1', 'start');
        await eventually('web-1 answers', async () => (await pair.answer('web-1')) !== undefined);
      }),
    );

    it(
      'without leases nothing stops by itself, and a person fails over: stop, then promote',
      inside(async () => {
        await pair.startAgent('web-2');
        await pair.apply('manual');
        await eventually(
          'web-1 has no end any more',
          async () => await Promise.resolve(/gate_in \{\s*accept/.test(pair.show('web-1'))),
        );
        await pair.signalAgent('web-1', 'SIGKILL');
        await servesThrough('web-1', LEASE_IS_OVER_MS);
        await pair.startAgent('web-1');
        const { failover } = pair.controller();
        expect(await failover.stopPrimary(pair.planId, 10_000)).to.equal(true);
        expect(await pair.answer('web-1')).to.equal(undefined);
        await failover.promote(pair.planId, 'agent-stopped');
        await eventually('web-2 is promoted', async () => (await pair.row()).primary === pair.ids['web-2']);
        pair.service('web-2', 'start');
        await eventually('web-2 answers', async () => (await pair.answer('web-2')) !== undefined);
      }),
    );

    it(
      'a host is lost and the catalog restored: by a person’s word the other one goes on, unnoticed, and the lost one stays down',
      inside(async () => {
        await pair.killHost('web-1');
        await pair.stopController();
        await pair.restoreCatalog();
        await pair.startController();
        const { failover } = pair.controller();
        const waitsFor = (): string => failover.look(pair.planId)?.unreported.join() ?? 'nobody';
        await eventually('web-2 has reported', async () => await Promise.resolve(waitsFor() === pair.ids['web-1']));
        await eventually('this replica drives', async () => await Promise.resolve(failover.look(pair.planId)!.driving));
        const serving = servesThrough('web-2', LEASE_IS_OVER_MS);
        const { goesOn, epoch } = await failover.override(pair.planId, pair.ids['web-1'], async () => {});
        expect(goesOn).to.equal(true);
        expect(epoch).to.be.greaterThan(1000);
        await eventually('web-2 goes on', async () => (await pair.row()).epoch === epoch);
        await serving;
        expect(await pair.row()).to.include({ primary: pair.ids['web-2'], standby: pair.ids['web-1'], phase: 'open' });
        await pair.startAgent('web-1');
        await servesThrough('web-2', LEASE_IS_OVER_MS);
        expect(await pair.answer('web-1')).to.equal(undefined);
      }),
    );
  },
);
