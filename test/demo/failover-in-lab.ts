// The demo's last part with root: whole hosts in namespaces. web-1 dies while customers order, and nobody does anything about it.

import { setTimeout as pause } from 'node:timers/promises';
import { Customers, monotonicMs, ordersOn } from '../lab/customers.ts';
import type { Lab } from '../lab/lab.ts';
import { untilRun, whatItSays } from '../lab/plan.ts';
import { labUp } from '../lab/shop-lab.ts';
import type { Failover } from './failover.ts';

// So long that what they order stands in a snapshot of the files, too, and the recovery point is of their time.
const BEFORE_MS = 12_000;
const PATIENCE_MS = 90_000;

export async function openLab(dir: string, ends: (() => Promise<void>)[]): Promise<Lab> {
  let lab: Lab | undefined;
  ends.unshift(async () => void (await lab?.down()));
  lab = await labUp(dir);
  return lab;
}

export async function order(lab: Lab): Promise<Customers> {
  const customers = await Customers.come(lab);
  await pause(BEFORE_MS);
  return customers;
}

/** Returns when web-2 serves and the run says so. Throws when an order is lost that was acknowledged before the recovery point. */
export async function dieAndServe(lab: Lab, customers: Customers): Promise<Failover> {
  const died = monotonicMs();
  await lab.host('web-1').kill();
  await customers.untilServed('web-2', died, PATIENCE_MS);
  const run = await untilRun(lab, ['awaiting-commit', 'paused', 'failed']);
  await customers.leave();
  if (run.state !== 'awaiting-commit') throw new Error(await whatItSays(lab, run.id));
  const point = Date.parse(run.recoveryPoint ?? '');
  const early = (await customers.lostOn('web-2')).filter(
    ({ sentAt, sentMs, endedMs }) => Date.parse(sentAt) + endedMs - sentMs < point,
  );
  if (early.length > 0) throw new Error(`${early.length} orders from before the recovery point are lost`);
  const present = await ordersOn(lab, 'web-2');
  const taken = customers.attempts().flatMap(({ host, id }) => (host === 'web-1' && id !== undefined ? [id] : []));
  return {
    acknowledged: taken.length,
    there: taken.filter((id) => present.has(id)).length,
    rtoMs: run.rtoMs ?? NaN,
    rpoMs: run.rpoMs ?? NaN,
  };
}
