// Threats 14–16, 20: what lies between agent and controller loses, holds back, cuts and dawdles, in the middle of a backup and
// of a restore. Nobody lends a hand: each job ends by itself, and what was committed is whole.

import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openRelay, type Relay } from '@holdfast/agent/testing/relay';
import { expect } from 'chai';
import { compareTrees } from '../compare/compare-trees.ts';
import { Lab } from '../e2e/lab.ts';
import { fleetKill, fleetStart } from '../fleet/fleet.ts';
import { redirectAgent } from '../fleet/members.ts';
import { ChangingSite } from './changing-site.ts';
import { chosenSeed, seeded } from './seeded.ts';

const SOURCE = 'web-1/site';

type Trouble = (link: Relay, controller: () => Promise<void>) => Promise<void>;

/** What happens once a job moves bytes. */
const troubles: Readonly<Record<string, Trouble>> = {
  'threat 16 a reset': (link) => Promise.resolve(link.cut()),
  'threat 16 flapping: a reset every 150 ms': async (link) => {
    for (let i = 0; i < 4; i++) {
      link.cut();
      await sleep(150);
    }
  },
  'threat 16 a stall of 3 s': async (link) => {
    link.stall();
    await sleep(3000);
    link.heal();
  },
  'threat 14 a black hole, and then the connection is gone': async (link) => {
    link.lose('both');
    await sleep(1000);
    link.cut();
    link.heal();
  },
  'threat 15 nothing comes back, and then the connection is gone': async (link) => {
    link.lose('to-client');
    await sleep(1000);
    link.cut();
    link.heal();
  },
  'threat 16 slices of one byte, for 20 KB': (link) => Promise.resolve(link.slice(20_000)),
  'threat 16 a delay of 50 ms each way': (link) => Promise.resolve(link.delay(50)),
  'threat 20 the controller is killed and started again': async (_, controller) => await controller(),
};

describe('a bad network between agent and controller', function network() {
  this.timeout(60_000);
  const seed = chosenSeed();
  let lab: Lab;
  let link: Relay;
  let site: ChangingSite;

  before(async () => {
    lab = await Lab.open([]);
    const { address } = await lab.up(['web-1']);
    link = await openRelay(Number(address.split(':')[1]));
    redirectAgent(lab.layout, 'web-1', link.address);
    site = new ChangingSite(lab.directory('site'), seeded(seed));
    await lab.addSource('web-1', 'site', site.root);
  });
  after(async () => {
    await lab.close();
    await link.close();
  });
  /** A new process, that owes no waiting to the trouble before it. */
  const freshAgent = async (): Promise<void> => {
    link.heal();
    await fleetKill(lab.fleetDir, 'web-1');
    await fleetStart(lab.fleetDir, 'web-1');
  };
  const restartController = async (): Promise<void> => {
    await fleetKill(lab.fleetDir, 'controller');
    await fleetStart(lab.fleetDir, 'controller');
  };
  /** Runs a job, and makes trouble once it has moved some bytes. */
  const troubled = async (trouble: Trouble, bytes: number, ...args: string[]): Promise<void> => {
    await freshAgent();
    const from = link.passed();
    const job = lab.startJob(...args);
    const last = (): string => job.events.at(-1)?.event ?? '';
    while (last() !== 'summary' && link.passed() - from < bytes) await sleep(1);
    await trouble(link, restartController);
    const { code, summary } = await job.ended;
    link.heal();
    expect(code, `seed ${seed}: ${JSON.stringify(summary.error)}`).to.equal(0);
  };

  for (const [title, trouble] of Object.entries(troubles)) {
    it(`${title}, in a backup and in a restore`, async () => {
      site.change();
      await troubled(trouble, 500_000, 'backup', SOURCE);
      const to = lab.path('again');
      await troubled(trouble, 500_000, 'restore', SOURCE, '--to', `web-1:${to}`);
      expect((await compareTrees(site.root, to)).differences).to.deep.equal([]);
      rmSync(to, { recursive: true });
    });
  }

  it('threat 15 the answer to the commit is lost: it is committed once, and the job ends well', async () => {
    await freshAgent();
    const before = (await lab.snapshots(SOURCE)).length;
    site.change();
    const job = lab.startJob('backup', SOURCE);
    // From the middle on the vault hears everything, and nobody hears the vault.
    const from = link.passed();
    while (link.passed() - from < 500_000) await sleep(1);
    link.lose('to-client');
    await sleep(1500);
    link.cut();
    link.heal();
    expect((await job.ended).code).to.equal(0);
    expect(await lab.snapshots(SOURCE)).to.have.length(before + 1);
    await lab.done('verify', SOURCE, '--all');
  });
});
