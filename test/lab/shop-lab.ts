// `lab up`: hosts, fleet, shop, backups.

import { bringFleet } from './fleet-in-lab.ts';
import { Lab } from './lab.ts';
import { installShop, serveByHand } from './shop-setup.ts';

/** @param dir absolute; what is there goes on. Returns when the shop serves on web-1 and is backed up. */
export async function labUp(dir: string, say: (line: string) => void = () => undefined): Promise<Lab> {
  const lab = await Lab.boot(dir);
  say(`${lab.hosts.map(({ name }) => name).join(', ')} have booted.`);
  await Promise.all([bringFleet(lab, say), installShop(lab)]);
  await serveByHand(lab);
  say('The shop serves on web-1.');
  await protectShop(lab);
  say('Files and database are backed up.');
  return lab;
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
  const dsn = 'host=/run/postgresql user=holdfast dbname=postgres';
  await lab.json('source', 'add', 'files', '--host', 'web-1', ...files);
  await lab.json('source', 'add', 'db', '--host', 'web-1', '--type', 'postgres', '--dsn', dsn);
  for (const source of ['web-1/files', 'web-1/db']) {
    const { code, stdout, stderr } = await lab.holdfast(['backup', source]);
    if (code !== 0) throw new Error(`the backup of ${source} ended with ${code}: ${stdout}${stderr}`);
  }
}
