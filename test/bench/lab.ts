// How long a failover takes from outside: in the lab, by the customers' own clock and by what the run says of itself.
//
//   pnpm bench recovery --lab-rounds 20
//
// Every round has a lab of its own, so that no round profits from the one before. Needs root, like the lab.

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Catalog } from '../lab/catalog.ts';
import { killDriver } from '../lab/controllers.ts';
import { Customers, monotonicMs } from '../lab/customers.ts';
import { eventually } from '../lab/eventually.ts';
import { Lab } from '../lab/lab.ts';
import type { OrderAttempt } from '../lab/load-report.ts';
import { applyPlan, runPlan, showPlan, untilReady, untilRun, whatItSays, type ShownRun } from '../lab/plan.ts';
import { whyNoLab } from '../lab/requirements.ts';
import { labUp, shopUp } from '../lab/shop-lab.ts';

const SERVED_MS = 5_000;
const PATIENCE_MS = 120_000;
const COLD_PATIENCE_MS = 600_000;
/** The figures are the run's own. Looks ten times a second took a core from a cold failover, and a third longer. */
const LOOK_EVERY_MS = 2_000;
const TAKE_OVERS = 10;
const COLD_BYTES = 5_000_000_000;
const COLD_FILE_BYTES = 10_000_000;

type Say = (line: string) => void;

export interface LabRounds {
  readonly unplanned: number;
  readonly planned: number;
  readonly cold: number;
}

/** Milliseconds. */
interface UnplannedFigures {
  /** From the kill to the first order that the standby acknowledged. */
  readonly outsideMs: number;
  /** As the run says: last sign of life to healthy. */
  readonly rtoMs: number;
  readonly afterDetectionMs: number;
  /** How old the oldest acknowledged order was that the standby's database does not have; 0: it has them all. */
  readonly databaseRpoMs: number;
  readonly filesRpoMs: number;
}

/** Everything that is measured in labs, as Markdown; a sentence instead where there can be no lab. */
export async function benchLab(work: string, rounds: LabRounds, say: Say): Promise<string> {
  const why = whyNoLab();
  if (why !== undefined) return `No lab: ${why}\n`;
  const unplanned = await repeated(rounds.unplanned, 'web-1 dies', say, (dir) => inLab(dir, labUp, dies), work);
  const planned = await repeated(rounds.planned, 'planned', say, (dir) => inLab(dir, labUp, moves), work);
  const cold = await repeated(rounds.cold, 'cold, 5 GB', say, (dir) => inLab(dir, coldLabUp, diesCold), work);
  const takenOver = unplanned.length === 0 ? [] : await inLab(join(work, 'lab-controllers'), labUp, takeOvers);
  const lines = ['| figure | median s | worst s | rounds |', '|---|---:|---:|---:|'];
  const add = <Figures>(title: string, all: readonly Figures[], pick: (figures: Figures) => number): void => {
    if (all.length === 0) return;
    const sorted = all.map(pick).toSorted((one, other) => one - other);
    const at = (place: number): string => ((sorted[place] ?? 0) / 1000).toFixed(2);
    lines.push(`| ${title} | ${at(Math.floor(sorted.length / 2))} | ${at(sorted.length - 1)} | ${sorted.length} |`);
  };
  add('unplanned, automatic, warm: last sign of life → healthy', unplanned, ({ rtoMs }) => rtoMs);
  add('the same, from the kill to the next acknowledged order', unplanned, ({ outsideMs }) => outsideMs);
  add('after detection alone', unplanned, ({ afterDetectionMs }) => afterDetectionMs);
  add('RPO of PostgreSQL', unplanned, ({ databaseRpoMs }) => databaseRpoMs);
  add('RPO of files', unplanned, ({ filesRpoMs }) => filesRpoMs);
  add('planned: time without service', planned, ({ withoutServiceMs }) => withoutServiceMs);
  add('take-over by a second controller (its lease: 8 s)', takenOver, (ms) => ms);
  add('cold, 5 GB: after detection', cold, ({ afterDetectionMs }) => afterDetectionMs);
  add('cold, 5 GB: a restore of the same by itself, before', cold, ({ restoreMs }) => restoreMs);
  add('cold, 5 GB: a restore of the same by itself, afterwards', cold, ({ restoreAfterMs }) => restoreAfterMs);
  return `${lines.join('\n')}\n`;
}

async function repeated<Figures extends object>(
  rounds: number,
  title: string,
  say: Say,
  once: (dir: string) => Promise<Figures>,
  work: string,
): Promise<Figures[]> {
  const all: Figures[] = [];
  for (let round = 1; round <= rounds; round++) {
    const figures = await once(join(work, `lab-${round}`));
    say(`${title} ${round}/${rounds}: ${JSON.stringify(figures)}`);
    all.push(figures);
  }
  return all;
}

async function inLab<Figures>(
  dir: string,
  up: (dir: string) => Promise<Lab>,
  measure: (lab: Lab) => Promise<Figures>,
): Promise<Figures> {
  try {
    return await measure(await up(dir));
  } finally {
    // Half a lab is ended, too.
    await Lab.open(dir).down();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function dies(lab: Lab): Promise<UnplannedFigures> {
  const customers = await Customers.come(lab);
  await sleep(SERVED_MS);
  await lab.host('web-1').kill();
  const diedMs = monotonicMs();
  const first = await customers.untilServed('web-2', diedMs, PATIENCE_MS);
  const run = await served(lab);
  await customers.leave();
  const before = customers.attempts().filter(({ status, endedMs }) => status === 201 && endedMs <= diedMs);
  const files = new Set(readdirSync(lab.host('web-2').file('/srv/shop/files')));
  return {
    outsideMs: Math.round(first.endedMs - diedMs),
    rtoMs: run.rtoMs ?? NaN,
    afterDetectionMs: afterDetection(run),
    databaseRpoMs: ageOfOldest(await customers.lostOn('web-2'), diedMs),
    filesRpoMs: ageOfOldest(
      before.filter(({ id }) => id !== undefined && !files.has(id)),
      diedMs,
    ),
  };
}

async function moves(lab: Lab): Promise<{ withoutServiceMs: number }> {
  const customers = await Customers.come(lab);
  await sleep(SERVED_MS);
  const run = await runPlan(lab, 'planned');
  await customers.untilServed('web-2', monotonicMs(), PATIENCE_MS);
  await customers.leave();
  const lost = await customers.lostOn('web-2');
  if (lost.length > 0) throw new Error(`${lost.length} orders are lost: ${await whatItSays(lab, run.id)}`);
  return { withoutServiceMs: Math.round(customers.report().withoutServiceMs) };
}

/** Each from the kill of the one that drives to the term of the other. */
async function takeOvers(lab: Lab): Promise<number[]> {
  const controller = lab.host('controller');
  await controller.unit('replica', 'start');
  const catalog = await Catalog.open(lab);
  const all: number[] = [];
  for (let round = 0; round < TAKE_OVERS; round++) {
    await sleep(SERVED_MS);
    const { killed, ms } = await killDriver(lab, catalog);
    all.push(ms);
    await controller.unit(killed, 'start');
  }
  await catalog.close();
  return all;
}

/** The shop with much more beside its files, and a standby that holds nothing of it. */
async function coldLabUp(dir: string): Promise<Lab> {
  const lab = await shopUp(dir);
  const web1 = lab.host('web-1');
  const fill = `mkdir -p /srv/shop/archive && cd /srv/shop/archive &&
    openssl enc -aes-256-ctr -pass pass:archive -nosalt -md sha256 </dev/zero 2>/dev/null |
    head -c ${COLD_BYTES} | split -b ${COLD_FILE_BYTES} -a 4 - part- && chown -R shop: . && sync`;
  await web1.ok('sh', '-c', fill);
  const { code, stderr } = await lab.holdfast(['backup', 'web-1/files']);
  if (code !== 0) throw new Error(`the backup ended with ${code}: ${stderr}`);
  await applyPlan(lab, (document) => document.replace('mode: warm', 'mode: cold'));
  return lab;
}

/** A restore by itself before the failover and one after it: a disk that slows down under so much writing shows itself. */
async function diesCold(lab: Lab): Promise<{ afterDetectionMs: number; restoreMs: number; restoreAfterMs: number }> {
  const restoreMs = await restoresAlone(lab);
  await untilReady(lab);
  await lab.host('web-1').kill();
  await eventually(
    'web-2 is the primary',
    async () => ((await showPlan(lab)).primary === 'web-2' ? undefined : 'it is not'),
    COLD_PATIENCE_MS,
  );
  const run = await served(lab, COLD_PATIENCE_MS);
  const there = Number(await lab.host('web-2').ok('sh', '-c', 'cat /srv/shop/archive/* | wc -c'));
  if (there !== COLD_BYTES) throw new Error(`web-2 has ${there} bytes of the archive`);
  return { afterDetectionMs: afterDetection(run), restoreMs, restoreAfterMs: await restoresAlone(lab) };
}

/** What the plan restores, at the same time as the plan does, and nothing else: until both are there. */
async function restoresAlone(lab: Lab): Promise<number> {
  const began = performance.now();
  await Promise.all(
    ['files', 'db'].map(async (source) => {
      const { code, stderr } = await lab.holdfast(['restore', `web-1/${source}`, '--to', `web-2:/srv/alone/${source}`]);
      if (code !== 0) throw new Error(`the restore of ${source} ended with ${code}: ${stderr}`);
    }),
  );
  const restoreMs = Math.round(performance.now() - began);
  await lab.host('web-2').ok('rm', '-rf', '/srv/alone');
  return restoreMs;
}

async function served(lab: Lab, withinMs = PATIENCE_MS): Promise<ShownRun> {
  const run = await untilRun(lab, ['awaiting-commit', 'paused', 'failed'], withinMs, LOOK_EVERY_MS);
  if (run.state !== 'awaiting-commit') throw new Error(await whatItSays(lab, run.id));
  return run;
}

/** From the promotion to healthy. */
function afterDetection({ times }: ShownRun): number {
  const { fenced, healthy } = times;
  return Date.parse(healthy ?? '') - Date.parse(fenced ?? '');
}

function ageOfOldest(lost: readonly OrderAttempt[], diedMs: number): number {
  return lost.length === 0 ? 0 : Math.round(diedMs - Math.min(...lost.map(({ endedMs }) => endedMs)));
}
