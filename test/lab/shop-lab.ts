// `lab up`: hosts, fleet, shop, backups, and the plan that protects it all.

import { bringFleet } from './fleet-in-lab.ts';
import { eventually } from './eventually.ts';
import { Lab } from './lab.ts';
import { SERVICE_ADDRESS } from './machines.ts';
import { applyPlan, PLAN } from './plan.ts';
import { installShop, serveByHand } from './shop-setup.ts';

type Say = (line: string) => void;

/** @param dir absolute; what is there goes on. Returns when the shop serves, is backed up, and its plan is ready. */
export async function labUp(dir: string, say: Say = () => undefined): Promise<Lab> {
  const lab = await shopUp(dir, say);
  if (await hasPlan(lab)) return lab;
  await applyPlan(lab);
  say('Its plan is applied and ready.');
  return lab;
}

/** The same, without a plan where there was none: the shop serves on web-1, and nobody takes over. */
export async function shopUp(dir: string, say: Say = () => undefined): Promise<Lab> {
  const lab = await Lab.boot(dir);
  say(`${lab.hosts.map(({ name }) => name).join(', ')} have booted.`);
  await Promise.all([bringFleet(lab, say), installShop(lab)]);
  if (!(await hasPlan(lab))) await serveByHand(lab);
  await untilServed(lab);
  await firstOrder(lab);
  say('The shop serves.');
  await protectShop(lab);
  say('Files and database are backed up.');
  return lab;
}

async function hasPlan(lab: Lab): Promise<boolean> {
  const { plans } = await lab.json<{ plans: { name: string }[] }>('plan', 'ls');
  return plans.some(({ name }) => name === PLAN);
}

/** A shop without a single order is hard to tell from one that has lost them. */
async function firstOrder(lab: Lab): Promise<void> {
  const url = `http://${SERVICE_ADDRESS}/orders`;
  const client = lab.host('client');
  if ((await client.ok('curl', '-sf', url)).trim() !== '') return;
  await client.ok('curl', '-sf', '-d', JSON.stringify({ item: 'the first thing' }), url);
}

async function untilServed(lab: Lab): Promise<void> {
  const words = ['curl', '-sf', '--max-time', '2', `http://${SERVICE_ADDRESS}/healthz`];
  await eventually('the shop answers', async () => {
    const { code, stdout } = await lab.host('client').exec(words);
    return code === 0 ? undefined : stdout || 'it does not';
  });
}

/** Sources of web-1, and a first backup of each. */
async function protectShop(lab: Lab): Promise<void> {
  const { sources } = await lab.json<{ sources: { name: string }[] }>('source', 'ls');
  if (sources.length > 0) return;
  const files = [
    '--type',
    'files',
    '--path',
    '/srv/shop',
    '--path',
    '/etc/shop',
    '--path',
    '/opt/shop',
    '--continuous',
  ];
  const dsn = 'host=/run/postgresql user=holdfast dbname=shop';
  await lab.json('source', 'add', 'files', '--host', 'web-1', ...files);
  await lab.json('source', 'add', 'db', '--host', 'web-1', '--type', 'postgres', '--dsn', dsn);
  await lab.json('source', 'add', 'blueprint', '--host', 'web-1', '--type', 'blueprint');
  for (const source of ['web-1/files', 'web-1/db', 'web-1/blueprint']) {
    const { code, stdout, stderr } = await lab.holdfast(['backup', source]);
    if (code !== 0) throw new Error(`the backup of ${source} ended with ${code}: ${stdout}${stderr}`);
  }
}
