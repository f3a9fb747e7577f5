import { expect } from 'chai';
import { newHostRecord } from '@holdfast/shared/failover/commands';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import type { Services } from '../contract.ts';
import { ApplicationHost } from './application-host.ts';
import type { ApplicationPorts } from './application-ports.ts';
import { forceServing, FORCE_FILE } from './force-serving.ts';
import { ProtectedUnits } from './protected-units.ts';
import { RecordFiles, type StoredRecord } from './record-file.ts';

const ID = '2f9e8f0e-5d2a-4a51-a0c6-1d1c53a6fb10';
const SPEC: ApplicationSpec = {
  id: ID,
  plan: 'shop',
  revision: 1,
  mode: 'automatic',
  primaryHost: 'h1',
  standbyHost: 'h2',
  epoch: 1,
  catalog: '7/1',
  peerAddresses: [],
  addresses: [],
  ports: [80],
  units: ['db', 'web'],
  services: Buffer.alloc(0),
  renewMs: 2000,
  leaseMs: 8000,
  marginMs: 2000,
  suspectAfterMs: 6000,
  outOfReachMs: 60_000,
  bootAskMs: 60_000,
  fenceScript: '',
};

/** A host whose kernel, services and network only note what they are told. */
class World {
  readonly state = scratchDirectory();
  readonly files = new RecordFiles(this.state, ID);
  readonly done: string[] = [];
  readonly toController: FailoverMessage[] = [];
  readonly toPeer: FailoverMessage[] = [];
  readonly running = new Set<string>();
  nowMs = 1_000_000;
  bootId = 'boot-1';
  trouble: string | undefined;
  taken = false;
  failing = '';
  table = false;

  readonly #services: Services = {
    runs: async (unit) => await Promise.resolve(this.running.has(unit)),
    start: async (unit) => {
      await this.#note(`start ${unit}`);
      this.running.add(unit);
    },
    stop: async (unit) => {
      await this.#note(`stop ${unit}`);
      this.running.delete(unit);
    },
  };

  async #note(what: string): Promise<void> {
    if (this.failing !== '' && what.startsWith(this.failing)) throw new Error(`${what} fails`);
    this.done.push(what);
    await Promise.resolve();
  }

  ports(host: string): ApplicationPorts {
    return {
      host,
      bootId: this.bootId,
      nowMs: () => this.nowMs,
      files: this.files,
      gate: () => ({
        exists: async () => await Promise.resolve(this.table),
        stage: (slot) => this.#note(`stage ${slot > 0}`),
        open: (slot) => this.#note(`open ${slot === 'standing' ? slot : 'slot'}`),
        close: () => this.#note('close'),
        remove: () => this.#note('remove'),
      }),
      units: (spec) => new ProtectedUnits(spec.units, this.#services, systemClock, () => undefined),
      addresses: {
        hold: async () => await Promise.resolve(),
        drop: async () => await Promise.resolve(),
        taken: async () => await Promise.resolve(this.taken),
      },
      kernelTrouble: async () => await Promise.resolve(this.trouble),
      toController: (message) => this.toController.push(message),
      toPeer: (message) => this.toPeer.push(message),
      log: () => undefined,
    };
  }

  /** The host's kernel and units begin anew; its disk stays. */
  reboot(): void {
    this.bootId += '+';
    this.running.clear();
    this.done.length = 0;
  }

  stored(record: Partial<StoredRecord['record']>, more: Partial<StoredRecord> = {}): void {
    const whole = { ...newHostRecord('h1', '7/1'), highestEpoch: 2, servingEpoch: 2, ...record };
    this.files.save({ record: whole, activatedEpoch: 2, servedBoot: this.bootId, forced: [], ...more });
  }

  async tick(application: ApplicationHost, ms: number): Promise<void> {
    this.nowMs += ms;
    application.tick();
    await application.take('controller', { kind: 'beat' });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('a host of an application', () => {
  afterEach(removeScratchDirectories);

  it('takes up what runs with a limited gate; a standby begins disarmed and shut; one that lost its record in this boot does neither', async () => {
    const world = new World();
    world.running.add('db');
    const primary = await ApplicationHost.open(world.ports('h1'), SPEC);
    expect(primary.phases).to.deep.equal({ holder: 'serving', standby: 'serving', standing: false });
    expect(world.done).to.deep.equal(['stage true', 'open slot']);

    const other = new World();
    const standby = await ApplicationHost.open(other.ports('h2'), SPEC);
    expect(standby.phases).to.include({ holder: 'fenced', standby: 'disarmed' });
    expect(other.done).to.deep.equal(['close']);

    const lost = new World();
    lost.table = true;
    const error: unknown = await ApplicationHost.open(lost.ports('h1'), SPEC).catch((thrown: unknown) => thrown);
    expect(String(error)).to.match(/is lost/);
  });

  it('who served last goes on under a higher epoch by a person’s word, with its units; who did not waits for a run', async () => {
    const order = { kind: 'promote', catalog: '7/1', term: 3, epoch: 1002, attempt: 2, standing: 9 } as const;
    const world = new World();
    world.stored({ standing: { controller: 4 } });
    world.running.add('db');
    const survivor = await ApplicationHost.open(world.ports('h1'), SPEC);
    await survivor.take('controller', { ...order, fenceConfirmed: false });
    expect(survivor.record.servingEpoch).to.equal(2);
    await survivor.take('controller', { ...order, fenceConfirmed: true });
    expect(survivor.record).to.deep.include({ servingEpoch: 1002, highestEpoch: 1002, standing: { controller: 9 } });
    expect(world.toController).to.deep.include({ kind: 'promoted', host: 'h1', epoch: 1002 });
    expect(world.files.load()).to.deep.include({ activatedEpoch: 1002 });
    expect(world.done).to.not.include('close');

    const other = new World();
    other.stored({ host: 'h2', highestEpoch: 3, servingEpoch: 2 });
    const fenced = await ApplicationHost.open(other.ports('h2'), SPEC);
    await fenced.take('controller', { ...order, fenceConfirmed: true });
    expect(fenced.record.servingEpoch).to.equal(1002);
    expect(other.files.load()).to.deep.include({ activatedEpoch: 2 });
  });

  it('AH2 a request goes out only once its timeout stands in the kernel', async () => {
    const world = new World();
    world.running.add('db');
    const primary = await ApplicationHost.open(world.ports('h1'), SPEC);
    world.failing = 'stage';
    await world.tick(primary, 100);
    expect(world.toController).to.deep.equal([]);
    world.failing = '';
    await world.tick(primary, 2000);
    expect(world.toController.map(({ kind }) => kind)).to.deep.equal(['renew']);
    expect(world.toPeer.map(({ kind }) => kind)).to.deep.equal(['renew']);
  });

  it('AH5 says that it stopped only when the gate is shut and every unit is dead; a failed one is tried again', async () => {
    const world = new World();
    world.stored({ standing: { controller: 4 } });
    world.running.add('db').add('web');
    const primary = await ApplicationHost.open(world.ports('h1'), SPEC);
    world.failing = 'stop db';
    const failure: unknown = await primary.stopServing(3).catch((thrown: unknown) => thrown);
    expect(String(failure)).to.match(/could not be stopped: db/);
    expect(world.toController.filter(({ kind }) => kind === 'stopped')).to.deep.equal([]);
    world.failing = '';
    await world.tick(primary, 1100);
    world.done.length = 0;
    await primary.stopServing(3);
    expect(world.done).to.deep.equal(['close', 'stop web', 'stop db']);
    expect(world.toController.at(-1)).to.deep.equal({ kind: 'stopped', host: 'h1', epoch: 3 });
    expect(world.files.load()?.record).to.include({ highestEpoch: 3, servingEpoch: 2 });
  });

  it('AH3 after a boot it waits for a fresh grant; units come back by themselves only once a run has started them', async () => {
    for (const activated of [true, false]) {
      const world = new World();
      world.stored({ standing: { controller: 4 } }, { activatedEpoch: activated ? 2 : 1 });
      world.reboot();
      const primary = await ApplicationHost.open(world.ports('h1'), { ...SPEC, epoch: 2 });
      expect(primary.phases.holder).to.equal('waiting');
      await world.tick(primary, 100);
      expect(world.running.size).to.equal(0);
      const renew = world.toController.find((message) => message.kind === 'renew')!;
      const { slot, epoch } = renew;
      await primary.take('controller', { kind: 'grant', granter: 'h2', host: 'h1', epoch, slot });
      expect(primary.phases.holder, 'a grant in another one’s name').to.equal('waiting');
      await primary.take('controller', { kind: 'grant', granter: 'controller', host: 'h1', epoch, slot });
      await world.tick(primary, 10);
      expect([...world.running]).to.deep.equal(activated ? ['db', 'web'] : []);
      expect(world.files.load()?.servedBoot).to.equal(world.bootId);
    }
  });

  it('AH4 without a kernel that can enforce it takes only grants without end, ends none, and says why', async () => {
    const world = new World();
    world.trouble = 'no nft';
    world.running.add('db');
    const primary = await ApplicationHost.open(world.ports('h1'), SPEC);
    await world.tick(primary, 100);
    const renew = world.toController[0];
    expect(renew?.kind === 'renew' && renew.report.trouble).to.equal('no nft');
    const slot = renew?.kind === 'renew' ? renew.slot : 0;
    const grant = { kind: 'grant', granter: 'controller', host: 'h1', epoch: 1, slot } as const;
    await primary.take('controller', { ...grant, standing: 1 });
    expect(primary.phases.standing).to.equal(true);
    await primary.take('controller', { ...grant, ends: 1 });
    expect(primary.phases.standing).to.equal(true);
    expect(world.files.load()?.record.ended).to.deep.equal({});
    expect(world.done).to.deep.equal([]);
  });

  it('without leases it asks after a boot, and starts, stays down, or looks for the address when nobody answers', async () => {
    const manual: ApplicationSpec = { ...SPEC, mode: 'manual', epoch: 2 };
    const cases = [
      { answer: 2, taken: false, serves: true },
      { answer: 3, taken: false, serves: false },
      { answer: undefined, taken: true, serves: false },
      { answer: undefined, taken: false, serves: true },
    ];
    for (const { answer, taken, serves } of cases) {
      const world = new World();
      world.stored({});
      world.reboot();
      world.taken = taken;
      const host = await ApplicationHost.open(world.ports('h1'), manual);
      await world.tick(host, 100);
      expect(world.toController).to.deep.include({ kind: 'boot', host: 'h1' });
      expect(world.toPeer).to.deep.include({ kind: 'boot', host: 'h1' });
      expect(world.running.size).to.equal(0);
      if (answer !== undefined) await host.take('peer', { kind: 'boot-answer', highestEpoch: answer });
      for (let minute = 0; minute < 3; minute++) await world.tick(host, answer === undefined ? 30_000 : 100);
      await world.tick(host, 100);
      expect([...world.running], JSON.stringify({ answer, taken })).to.deep.equal(serves ? ['db', 'web'] : []);
    }
  });

  it('without leases nothing ends, however long nobody is heard; and a restart of the agent changes nothing', async () => {
    const world = new World();
    world.stored({});
    world.running.add('db').add('web');
    const host = await ApplicationHost.open(world.ports('h1'), { ...SPEC, mode: 'approve', epoch: 2 });
    for (let minute = 0; minute < 5; minute++) await world.tick(host, 60_000);
    expect(world.done).to.deep.equal([]);
    expect(world.running.size).to.equal(2);
    expect(world.toController.every(({ kind }) => kind === 'status')).to.equal(true);
  });

  it('orders of a lower term or epoch are refused, and a higher term is on disk before it is accepted', async () => {
    const world = new World();
    world.stored({ term: 4 });
    const host = await ApplicationHost.open(world.ports('h1'), { ...SPEC, epoch: 2 });
    expect(await host.refuses({ term: 3, epoch: 2 })).to.match(/term 3 is over/);
    expect(await host.refuses({ term: 5, epoch: 1 })).to.match(/epoch 1 is over/);
    expect(world.files.load()?.record.term).to.equal(4);
    expect(await host.refuses({ term: 5, epoch: 2 })).to.equal(undefined);
    expect(world.files.load()?.record.term).to.equal(5);
    await host.activated(2);
    expect(world.files.load()?.activatedEpoch).to.equal(2);
  });

  it('a person makes a fenced host serve, above all that it knows of, and it is noted', async () => {
    const world = new World();
    world.stored({ highestEpoch: 5 });
    const host = await ApplicationHost.open(world.ports('h1'), { ...SPEC, epoch: 2 });
    expect(host.phases.holder).to.equal('fenced');
    world.files.saveSpec(SPEC);
    expect(() => forceServing(world.state, 'shoop', 0)).to.throw(/no application/);
    forceServing(world.state, 'shop', 0);
    expect(FORCE_FILE).to.equal('force');
    await host.force('1970 by root');
    await world.tick(host, 10);
    expect([...world.running]).to.deep.equal(['db', 'web']);
    expect(host.record).to.include({ highestEpoch: 6, servingEpoch: 6 });
    expect(world.files.load()?.forced).to.deep.equal(['1970 by root']);
  });

  it('from without leases to leases: the gate is limited before the first request; back again: it has no end', async () => {
    const world = new World();
    world.stored({});
    world.running.add('db');
    const host = await ApplicationHost.open(world.ports('h1'), { ...SPEC, mode: 'manual', epoch: 2 });
    await host.configure({ ...SPEC, epoch: 2 });
    expect(world.done).to.deep.equal(['stage true', 'open slot']);
    await world.tick(host, 10);
    expect(world.toController.at(-1)?.kind).to.equal('renew');
    await host.configure({ ...SPEC, mode: 'manual', epoch: 2 });
    world.table = true;
    await host.configure({ ...SPEC, epoch: 2 });
    await host.configure({ ...SPEC, mode: 'manual', epoch: 2 });
    expect(world.done.at(-1)).to.equal('open standing');
  });
});
