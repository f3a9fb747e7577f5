// Threats 1, 9, 20, 21: SIGKILL of an agent, and of the controller with or without its PostgreSQL, at random moments of a
// backup: while it is read, ingested, sealed, committed. HOLDFAST_ROUNDS asks for hundreds, HOLDFAST_SEED repeats a run.

import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { compareTrees } from '../compare/compare-trees.ts';
import { Lab, type JobEvent, type JobResult } from '../e2e/lab.ts';
import { fleetKill, fleetStart } from '../fleet/fleet.ts';
import { postgresServers } from '../fleet/members.ts';
import { endProcess } from '../fleet/processes.ts';
import { ChangingSite, digestOf, SMALL_FILES_MAX_BYTES } from './changing-site.ts';
import { chosenRounds, chosenSeed, seeded, type Random } from './seeded.ts';

const ROUNDS = chosenRounds(6);
const ROUND_MS = 30_000;
/** A host may have 64 sessions, and those of killed agents live on for their lease of 15 minutes. */
const LAB_ROUNDS = 50;
const SOURCE = 'web-1/site';
/** Beside the content of a round: manifest nodes, and small files whose bundle is mostly dead and written anew. */
const OVERHEAD_BYTES = SMALL_FILES_MAX_BYTES + 128 * 1024;
/** Kills are aimed at all of a backup's time, and a little beyond its end. */
const BEYOND = 1.2;

describe('SIGKILL at any moment of a backup', function kills() {
  this.timeout(120_000 + ROUNDS * ROUND_MS);

  for (const victim of ['web-1', 'controller']) {
    it(`threat 1 ${victim}: nothing committed suffers, nothing half is listed, and what was stored is used`, async () => {
      const seed = chosenSeed();
      for (let done = 0; done < ROUNDS; done += LAB_ROUNDS) {
        await campaign(victim, seed + done, Math.min(LAB_ROUNDS, ROUNDS - done));
      }
    });
  }
});

async function campaign(victim: string, seed: number, rounds: number): Promise<void> {
  const run = new Campaign(await Lab.open(['web-1']), victim, seeded(seed));
  try {
    await run.begin();
    for (let round = 1; round <= rounds; round++) {
      await run.round().catch((error: unknown) => {
        throw new Error(`round ${round}: ${String(error)}`, { cause: error });
      });
    }
    await run.end();
    console.log(`      ${rounds} kills, seed ${seed}: ${run.report()}`);
  } catch (error) {
    // At once: with hundreds of rounds mocha's own report is long in coming.
    console.log(`      failed with HOLDFAST_SEED=${seed}: ${String(error)}`);
    throw new Error(`with HOLDFAST_SEED=${seed}: ${String(error)}`, { cause: error });
  } finally {
    await run.lab.close();
  }
}

class Campaign {
  readonly lab: Lab;
  readonly #victim: string;
  readonly #random: Random;
  readonly #site: ChangingSite;
  /** What each snapshot holds, oldest first. */
  readonly #snapshots: { readonly id: string; readonly digest: string }[] = [];
  #usualMs = 0;
  #kills = 0;
  #survived = 0;
  #newBytes = 0;
  #retriedBytes = 0;

  constructor(lab: Lab, victim: string, random: Random) {
    this.lab = lab;
    this.#victim = victim;
    this.#random = random;
    this.#site = new ChangingSite(lab.directory('site'), random);
  }

  async begin(): Promise<void> {
    await this.lab.addSource('web-1', 'site', this.#site.root);
    for (let i = 0; i < 2; i++) {
      this.#site.change();
      const { seconds } = await this.lab.done('backup', SOURCE);
      this.#usualMs = seconds * 1000;
      await this.#listed();
    }
  }

  async round(): Promise<void> {
    const { lab } = this;
    const newBytes = this.#site.change();
    const job = lab.startJob('backup', SOURCE);
    while (!job.events.some(({ event }) => event === 'started' || event === 'summary')) await sleep(5);
    await sleep(this.#random() * this.#usualMs * BEYOND);
    await this.#kill();
    const first = await job.ended;
    expect(first.code, JSON.stringify(first.summary)).to.be.oneOf([0, 1]);
    const retry = await lab.done('backup', SOURCE).catch((error: unknown) => {
      throw new Error(`after ${JSON.stringify(first)}: ${String(error)}`, { cause: error });
    });
    this.#account(newBytes, first, retry.bytesStored, acknowledgedBytes(job.events));

    const added = await this.#listed();
    expect(added, 'snapshots of this round').to.be.oneOf(first.code === 0 ? [2] : [1, 2]);
    for (const { id } of this.#snapshots.slice(-added)) {
      const to = lab.path('again');
      await lab.done('restore', SOURCE, '--snapshot', id, '--to', `web-1:${to}`);
      expect((await compareTrees(this.#site.root, to)).differences).to.deep.equal([]);
      rmSync(to, { recursive: true });
    }
  }

  /** The last two snapshots and some others, whole; and every byte of all. */
  async end(): Promise<void> {
    const others = Array.from({ length: 3 }, () => Math.floor(this.#random() * this.#snapshots.length));
    for (const index of new Set([...others, this.#snapshots.length - 1, this.#snapshots.length - 2])) {
      const { id, digest } = this.#snapshots[index]!;
      await this.lab.done('restore', SOURCE, '--snapshot', id, '--to', `web-1:${this.lab.path(`end-${index}`)}`);
      expect(digestOf(this.lab.path(`end-${index}`)), `snapshot ${index + 1}`).to.equal(digest);
    }
    await this.lab.done('verify', SOURCE, '--all');
  }

  report(): string {
    const share = Math.round((this.#retriedBytes / this.#newBytes) * 100);
    return `${this.#survived} jobs ended well all the same, ${share} % of the new bytes were sent by the next`;
  }

  async #kill(): Promise<void> {
    const { fleetDir, layout } = this.lab;
    await fleetKill(fleetDir, this.#victim);
    if (this.#victim !== 'controller') return await fleetStart(fleetDir, this.#victim);
    // A machine takes its PostgreSQL with it. And every other time both ends go: an agent that lost its controller again and
    // again waits up to half a minute before it calls, and these rounds are to be many.
    if (this.#random() < 0.3) {
      for (const server of postgresServers(layout)) await endProcess(server, 'SIGKILL', 10_000);
    }
    const both = this.#kills++ % 2 === 1;
    if (both) await fleetKill(fleetDir, 'web-1');
    await fleetStart(fleetDir, 'controller');
    if (both) await fleetStart(fleetDir, 'web-1');
  }

  #account(newBytes: number, first: JobResult, retriedBytes: number, acknowledged: number): void {
    expect(retriedBytes, `${newBytes} new, ${acknowledged} acknowledged before the kill`).to.be.at.most(
      newBytes - acknowledged + OVERHEAD_BYTES,
    );
    if (first.code === 0) {
      this.#survived++;
      expect(retriedBytes).to.be.at.most(OVERHEAD_BYTES);
    }
    this.#newBytes += newBytes;
    this.#retriedBytes += retriedBytes;
  }

  /** Takes in what is listed now; the site is what every new snapshot holds. Returns how many are new. */
  async #listed(): Promise<number> {
    const listed = (await this.lab.snapshots(SOURCE)).toReversed();
    expect(listed.map(({ sequence }) => sequence)).to.deep.equal(listed.map((_, index) => index + 1));
    expect(listed.slice(0, this.#snapshots.length).map(({ id }) => id)).to.deep.equal(
      this.#snapshots.map(({ id }) => id),
    );
    const added = listed.slice(this.#snapshots.length);
    const digest = digestOf(this.#site.root);
    for (const { id, partial, damaged, warnings } of added) {
      expect({ partial, damaged, warnings }).to.deep.equal({ partial: false, damaged: false, warnings: 0 });
      this.#snapshots.push({ id, digest });
    }
    return added.length;
  }
}

/** What the vault had acknowledged as stored when the last progress was reported. */
function acknowledgedBytes(events: readonly JobEvent[]): number {
  const last = events.findLast(({ event }) => event === 'progress');
  return Number(last?.['bytesStored'] ?? 0);
}
