// While a run moves the shop, whichever controller drives it is killed: at every step, in the middle of it and after it. Another one takes
// over, or the same one when it is back; nothing is done twice, and nothing is lost.
//
// In the suite some of the places are chosen, by a seed that is printed; HOLDFAST_LONG=1 takes all of them.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Catalog } from '../catalog.ts';
import { killDriver } from '../controllers.ts';
import { Customers, monotonicMs } from '../customers.ts';
import { showPlan, untilRun, whatItSays, PLAN } from '../plan.ts';
import { labFor } from '../testing.ts';

const LOOK_MS = 10;
const CHOSEN = 4;
const RUN_MS = 900_000;

/** Under way, or over: two places of each step. */
function placeOf({ id, state }: { readonly id: string; readonly state: string }): string | undefined {
  if (state === 'ok') return `after ${id}`;
  return state === 'dispatched' || state === 'running' || state === 'verifying' ? `in ${id}` : undefined;
}

describe('the controller that drives a run is killed', function driverKilled() {
  this.timeout(RUN_MS + 300_000);
  const lab = labFor(this);
  const seed = Number(process.env['HOLDFAST_SEED'] ?? Date.now() % 100_000);

  /** What the hosts did of it, by their own records: attempts that were begun, by step. */
  const begun = (run: string): Map<string, number> => {
    const attempts = new Map<string, number>();
    for (const host of ['web-1', 'web-2']) {
      const directory = join(lab().host(host).file('/var/lib/holdfast/agent'), 'steps', run);
      for (const name of readdirSync(directory).filter((file) => file.endsWith('.json'))) {
        const record = JSON.parse(readFileSync(join(directory, name), 'utf8')) as { step: string; attempt: number };
        attempts.set(record.step, record.attempt);
      }
    }
    return attempts;
  };

  it('and the run goes on to its end, with nothing done twice and no order lost', async () => {
    const controller = lab().host('controller');
    await controller.unit('replica', 'start');
    const catalog = await Catalog.open(lab());
    const customers = await Customers.come(lab());
    await lab().holdfast(['plan', 'run', PLAN, '--mode', 'planned', '--detach']);
    const known = (await catalog.steps()).filter(({ state }) => state !== 'skipped');
    const wanted = chosenPlaces(
      seed,
      known.flatMap(({ id }) => [`in ${id}`, `after ${id}`]),
    );
    process.stderr.write(`      seed ${seed}: ${wanted === undefined ? 'every place' : [...wanted].join(', ')}\n`);
    const seen = new Set<string>();
    const kills: string[] = [];
    const back: Promise<void>[] = [];
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
      back.push(controller.unit(killed, 'start').then(() => undefined));
    }
    await Promise.all(back);
    await catalog.close();
    const run = await untilRun(lab(), ['awaiting-commit']);
    await customers.untilServed('web-2', monotonicMs());
    await customers.leave();
    process.stderr.write(`      killed: ${kills.join(', ')}\n`);
    expect(kills).to.have.length.of.at.least(2);
    expect(await customers.lostOn('web-2')).to.deep.equal([]);
    expect(customers.overlaps(1)).to.deep.equal([]);
    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    // An attempt is begun again only by a step that failed; a new driver adopts, or finds done, what the one before it asked for.
    const again = [...begun(run.id)].filter(([, attempt]) => attempt > 1);
    expect(again, await whatItSays(lab(), run.id)).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
  });
});

/** Undefined: all of them. */
function chosenPlaces(seed: number, places: readonly string[]): ReadonlySet<string> | undefined {
  if (process.env['HOLDFAST_LONG'] === '1') return undefined;
  let state = seed;
  const chosen = new Set<string>();
  while (chosen.size < Math.min(CHOSEN, places.length)) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    chosen.add(places[state % places.length]!);
  }
  return chosen;
}
