// While a run moves the shop, whichever controller drives it is killed: at every step, in the middle of it and after it. Another one takes
// over, or the same one when it is back; nothing is done twice, and nothing is lost.
//
// In the suite some of the places are chosen, by a seed that is printed; HOLDFAST_LONG=1 takes all of them.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Catalog } from '../catalog.ts';
import { killDriver } from '../controllers.ts';
import { Customers, monotonicMs } from '../customers.ts';
import { eventually } from '../eventually.ts';
import type { Lab } from '../lab.ts';
import { applyPlan, runs, showPlan, untilReady, untilRun, whatItSays, PLAN } from '../plan.ts';
import { shopUp } from '../shop-lab.ts';
import { labFor } from '../testing.ts';

const LOOK_MS = 10;
const CHOSEN = { planned: 4, unplanned: 2 };
const RUN_MS = 900_000;
const MIGRATIONS = '/var/log/migrations';

/** Under way, or over: two places of each step. */
function placeOf({ id, state }: { readonly id: string; readonly state: string }): string | undefined {
  if (state === 'ok') return `after ${id}`;
  return state === 'dispatched' || state === 'running' || state === 'verifying' ? `in ${id}` : undefined;
}

/** The plan's migration leaves a line each time that it runs, and takes its time for a controller to be killed in the middle. */
async function countingLab(dir: string): Promise<Lab> {
  const lab = await shopUp(dir);
  const run = `[/bin/sh, -c, 'echo "$HOLDFAST_RUN" >>${MIGRATIONS}; sleep 1; exec /opt/shop/migrate']`;
  const probe = `[/bin/sh, -c, 'grep -qx "$HOLDFAST_RUN" ${MIGRATIONS} && exec /opt/shop/is-migrated']`;
  await applyPlan(lab, (document) =>
    document
      .replace('run: [/opt/shop/migrate]', `run: ${run}`)
      .replace('probe: [/opt/shop/is-migrated]', `probe: ${probe}`),
  );
  return lab;
}

describe('the controller that drives a run is killed', function driverKilled() {
  this.timeout(RUN_MS + 300_000);
  const lab = labFor(this, countingLab);
  const seed = Number(process.env['HOLDFAST_SEED'] ?? Date.now() % 100_000);
  let catalog: Catalog;

  /** What the hosts began of it, by their own logs: how often each step was applied. */
  const begun = (run: string): Record<string, number> => {
    const count: Record<string, number> = {};
    for (const host of ['web-1', 'web-2']) {
      for (const line of readFileSync(lab().host(host).file('/var/log/agent.log'), 'utf8').split('\n')) {
        if (!line.includes('"step.begun"') || !line.includes(run)) continue;
        const { step } = JSON.parse(line) as { step: string };
        count[step] = (count[step] ?? 0) + 1;
      }
    }
    return count;
  };

  const migrations = (host: string, run: string): number =>
    readFileSync(lab().host(host).file(MIGRATIONS), 'utf8')
      .split('\n')
      .filter((line) => line === run).length;

  /** Kills whoever drives at each wanted place of the newest run, until every step is done. What was killed is started again. */
  const killAlong = async (chosen: number): Promise<readonly string[]> => {
    const known = (await catalog.steps()).filter(({ state }) => state !== 'skipped');
    const places = known.flatMap(({ id }) => [`in ${id}`, `after ${id}`]);
    const wanted = chosenPlaces(seed, places, chosen);
    process.stderr.write(`      seed ${seed}: ${wanted === undefined ? 'every place' : [...wanted].join(', ')}\n`);
    const seen = new Set<string>();
    const kills: string[] = [];
    const until = performance.now() + RUN_MS;
    for (;;) {
      const steps = await catalog.steps();
      if (steps.length > 0 && steps.every(({ state }) => state === 'ok' || state === 'skipped')) break;
      if (performance.now() > until) throw new Error(`the run does not end: ${JSON.stringify(steps)}`);
      const place = steps
        .map(placeOf)
        .find((one) => one !== undefined && !seen.has(one) && (wanted === undefined || wanted.has(one)));
      if (place === undefined) {
        await sleep(LOOK_MS);
        continue;
      }
      seen.add(place);
      const { killed, ms } = await killDriver(lab(), catalog);
      kills.push(`${killed} ${place} (${Math.round(ms)} ms)`);
      await lab().host('controller').unit(killed, 'start');
    }
    process.stderr.write(`      killed: ${kills.join(', ')}\n`);
    return kills;
  };

  /** An apply is begun again only after a probe found it undone; here none does: a new driver adopts, or finds done, what was asked for. */
  const expectOnce = async (host: string, run: string): Promise<void> => {
    const again = Object.entries(begun(run)).filter(([, times]) => times > 1);
    expect(again, await whatItSays(lab(), run)).to.deep.equal([]);
    expect(begun(run)).to.include.keys('migrate', 'start', 'switch');
    expect(migrations(host, run)).to.equal(1);
  };

  before('a second controller', async function second() {
    await lab().host('controller').unit('replica', 'start');
    catalog = await Catalog.open(lab());
  });
  after(async () => await catalog?.close());

  it('and a planned run goes on to its end, with nothing done twice and no order lost', async () => {
    const customers = await Customers.come(lab());
    await lab().holdfast(['plan', 'run', PLAN, '--mode', 'planned', '--detach']);
    const kills = await killAlong(CHOSEN.planned);
    const run = await untilRun(lab(), ['awaiting-commit']);
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    expect(kills).to.have.length.of.at.least(2);
    expect(await customers.lostOn('web-2')).to.deep.equal([]);
    expect(customers.overlaps(1)).to.deep.equal([]);
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    await expectOnce('web-2', run.id);
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
  });

  it('in the moment when the primary dies, and in the run that follows: the other host serves, alone', async () => {
    const [planned] = await runs(lab());
    await lab().holdfast(['run', 'commit', planned!.id]);
    await untilRun(lab(), ['done']);
    await untilReady(lab());
    const customers = await Customers.come(lab());
    const before = await catalog.runs();
    await lab().host('web-2').kill();
    const diedAt = monotonicMs();
    const { killed } = await killDriver(lab(), catalog);
    await lab().host('controller').unit(killed, 'start');
    await eventually('a run has begun', async () => ((await catalog.runs()) > before ? undefined : 'none has'));
    await killAlong(CHOSEN.unplanned);
    const run = await untilRun(lab(), ['awaiting-commit']);
    await customers.untilServed('web-1', diedAt);
    await customers.leave();
    expect(run).to.include({ mode: 'unplanned', from: 'web-2', to: 'web-1' });
    expect(customers.overlaps(2)).to.deep.equal([]);
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-2', 'web-1']);
    await expectOnce('web-1', run.id);
    expect(await showPlan(lab())).to.include({ primary: 'web-1', standby: 'web-2' });
  });
});

/** Undefined: all of them. */
function chosenPlaces(seed: number, places: readonly string[], count: number): ReadonlySet<string> | undefined {
  if (process.env['HOLDFAST_LONG'] === '1') return undefined;
  let state = seed;
  const chosen = new Set<string>();
  while (chosen.size < Math.min(count, places.length)) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    chosen.add(places[state % places.length]!);
  }
  return chosen;
}
