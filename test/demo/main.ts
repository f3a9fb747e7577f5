// `npm run demo`: the main job from end to end, on files of this machine. A controller and two hosts come up, web-1 is backed up,
// changes, is backed up again and loses its files; web-2 gets them back, and both trees are compared entry by entry. Then a
// PostgreSQL cluster loses its rows, and comes back on web-2 to the second before. In the end web-1 dies, and web-2 serves.
//
// Everything is in one temporary directory and goes at the end; --keep leaves the directory (and nothing running). What
// fails says which step it was, and leaves the directory with its logs.

import { chmodSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { SummaryEvent } from '@holdfast/cli/jobs/summary';
import { formatCount, formatSize } from '@holdfast/cli/words/sizes';
import { formatTable } from '@holdfast/cli/words/tables';
import { formatDuration } from '@holdfast/cli/words/times';
import { compareTrees } from '../compare/compare-trees.ts';
import { builtPrograms } from '../fleet/built.ts';
import { fleetDown, fleetUp, holdfast } from '../fleet/fleet.ts';
import { whyNoLab } from '../lab/requirements.ts';
import { runJobCommand } from './cli-run.ts';
import * as database from './database.ts';
import * as failover from './failover.ts';
import * as failoverInLab from './failover-in-lab.ts';
import { changeTree, fillWithRealFiles, sizeOf } from './real-files.ts';

const SOURCE = 'web-1/site';

interface Work {
  readonly title: string;
  readonly summary: SummaryEvent;
}

/** What has to be ended with the demo, the newest first. */
type Ends = (() => Promise<void>)[];

async function demo(dir: string, ends: Ends): Promise<void> {
  const site = join(dir, 'web-1-site');
  const lost = join(dir, 'web-1-site-lost');
  const again = join(dir, 'web-2-site');
  const workspace = dirname(dirname(dirname(dirname(builtPrograms().cli))));

  say('Holdfast: web-1 loses its files and a database, web-2 gets them back; web-1 dies, and web-2 serves.\n');
  await step('a controller and two agents, enrolled over mTLS', async () => {
    await fleetUp({ dir: join(dir, 'fleet'), hosts: ['web-1', 'web-2'] });
  });
  await step('files of this machine on web-1', async () => {
    const taken = await fillWithRealFiles(site, workspace);
    const { entries, bytes } = sizeOf(site);
    return `${formatCount(entries)} entries, ${formatSize(bytes)}, from ${taken.slice(0, 3).join(', ')} …`;
  });
  await step(`a source for them, ${SOURCE}`, async () => {
    await succeed(join(dir, 'fleet'), ['source', 'add', 'site', '--host', 'web-1', '--type', 'files', '--path', site]);
  });
  const works: Work[] = [];
  const job = async (title: string, args: readonly string[]): Promise<void> => {
    await step(title, async () => {
      const summary = await runJobCommand(join(dir, 'fleet'), args);
      works.push({ title, summary });
      return summary.warningsTotal === 0
        ? ''
        : `${formatCount(summary.warningsTotal)} warnings, as ${warningText(summary)}`;
    });
  };
  await job('first backup', ['backup', SOURCE]);
  await step('changes', () => Promise.resolve(changeTree(site)));
  await job('incremental backup', ['backup', SOURCE]);
  await step('loss of the directory on web-1', () => {
    // Moved out of reach, not deleted: it is what the restored one is compared with.
    renameSync(site, lost);
    return Promise.resolve('');
  });
  await job('restore on web-2', ['restore', SOURCE, '--to', `web-2:${again}`, ...asRoot(['--setuid'])]);
  const { entries, differences } = await step('comparison, entry by entry', () => compareTrees(lost, again));
  const counted = await demoDatabase(dir, ends, job);
  const recovered = await demoFailover(dir, ends);
  printTable(works);
  if (differences.length > 0) {
    const shown = differences.slice(0, 20).map((difference) => `  ${difference}`);
    throw new Error(`the trees differ in ${differences.length} places:\n${shown.join('\n')}`);
  }
  say(`identical: ${entries} entries`);
  checkOrders(counted);
  printFailover(recovered);
}

interface CountedOrders {
  readonly before: database.Orders;
  readonly deleted: database.Orders;
  readonly restored: database.Orders;
}

async function demoDatabase(
  dir: string,
  ends: Ends,
  job: (title: string, args: readonly string[]) => Promise<void>,
): Promise<CountedOrders> {
  const fleet = join(dir, 'fleet');
  const server = await step('a PostgreSQL cluster on web-1', async () => await database.startDatabase(dir));
  ends.unshift(async () => await server.stop());
  // Below a directory of the server's account: under root the restored one runs as that.
  const again = join(server.folder('web-2'), 'db');
  const orders = async (): Promise<database.Orders> => await database.ordersIn(server.directory, server.port);
  await step(`a source for it, ${database.DATABASE}`, async () => {
    const words = ['--host', 'web-1', '--type', 'postgres', '--dsn', database.dsnOf(server)];
    await succeed(fleet, ['source', 'add', 'db', ...words]);
  });
  await job('base of the database', ['backup', database.DATABASE]);
  await step('later orders, stored by the log alone', async () => {
    await database.addLaterOrders(server);
    return `stored up to ${await database.untilStored(fleet, server)}`;
  });
  const before = await orders();
  const at = await step('DELETE FROM orders', async () => await database.loseOrders(server));
  const deleted = await orders();
  await step('the deletion is stored, too', async () => await database.untilStored(fleet, server));
  ends.unshift(async () => await database.endRestored(again));
  const start = ['--start', '--port', String(database.RESTORED_PORT), '--option', `bindir=${server.bin}`];
  const target = ['--to', `web-2:${again}`, '--at', at];
  await job('database on web-2, a second before', ['restore', database.DATABASE, ...target, ...start]);
  return { before, deleted, restored: await database.ordersIn(again, database.RESTORED_PORT) };
}

/** What stands for the machines of the last part, as a sentence. */
interface Recovered extends failover.Failover {
  readonly stage: string;
}

async function demoFailover(dir: string, ends: Ends): Promise<Recovered> {
  const why = whyNoLab();
  if (why !== undefined) {
    const recovered = await failoverInDirectories(dir, ends);
    if (recovered.there !== recovered.acknowledged) {
      throw new Error(`${recovered.acknowledged - recovered.there} acknowledged orders are lost`);
    }
    return { ...recovered, stage: `Two directories and two ports stood for two machines here. ${why}` };
  }
  const lab = await step('seven hosts in namespaces: a shop on web-1, and a plan for the day it dies', async () => {
    return await failoverInLab.openLab(join(dir, 'lab'), ends);
  });
  const customers = await step('customers order', async () => await failoverInLab.order(lab));
  const recovered = await step('web-1 dies, and nobody does anything: web-2 serves at the same address', async () => {
    return await failoverInLab.dieAndServe(lab, customers);
  });
  const stage =
    'RTO: from the last sign of life to healthy, seen by three other hosts. Orders that are not there came after the recovery point.';
  return { ...recovered, stage };
}

async function failoverInDirectories(dir: string, ends: Ends): Promise<failover.Failover> {
  const shop = await step('a shop on web-1, and a plan for the day it dies', async () => {
    const opened = await failover.openShop(dir);
    ends.unshift(async () => await failover.closeShop(opened));
    await failover.protectShop(opened);
    return opened;
  });
  const orders = await step('orders, stored as they come', async () => await failover.takeOrders(shop));
  await step('web-1 dies: its agent and its shop, at once', async () => await failover.killFirstHost(shop));
  return await step(`the plan: holdfast plan run ${failover.PLAN} --mode unplanned --fence-confirmed`, async () => {
    return await failover.failOver(shop, orders);
  });
}

function printFailover({ acknowledged, there, rtoMs, rpoMs, stage }: Recovered): void {
  const titles = ['RTO', 'RPO', 'ORDERS TAKEN', 'ORDERS THERE'].map((title) => ({ title, align: 'right' as const }));
  const row = [formatDuration(rtoMs), formatDuration(rpoMs), formatCount(acknowledged), formatCount(there)];
  say(`\n${formatTable([{ title: '' }, ...titles], [['web-1 died, web-2 serves', ...row]])}`);
  say(`(${stage})`);
}

/** Throws when the restored rows are not those of before the deletion. */
function checkOrders({ before, deleted, restored }: CountedOrders): void {
  const counts = [before, deleted, restored].map(({ count }) => formatCount(count));
  say(`orders: ${counts[0]} before, ${counts[1]} after the deletion, ${counts[2]} restored on web-2`);
  if (restored.count !== before.count || restored.sum !== before.sum || deleted.count !== 0) {
    throw new Error('the restored orders are not those of before the deletion');
  }
}

/** Setuid bits come back only where asked for, and only root may. */
function asRoot(args: readonly string[]): readonly string[] {
  return process.getuid?.() === 0 ? args : [];
}

async function succeed(fleet: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await holdfast(fleet, args);
  if (code !== 0) throw new Error(`holdfast ${args.join(' ')} ended with ${code}: ${stderr.trim()}`);
}

async function step<T>(title: string, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  try {
    const result = await work();
    const note = typeof result === 'string' && result !== '' ? `  (${result})` : '';
    say(`  ✔ ${title}  ${formatDuration(performance.now() - startedMs)}${note}`);
    return result;
  } catch (error) {
    throw new Error(`${title}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function warningText(summary: SummaryEvent): string {
  const [first] = summary.warnings;
  return first === undefined ? '' : `${first.path}: ${first.message || first.code}`;
}

function printTable(works: readonly Work[]): void {
  const backup = (summary: SummaryEvent, bytes: number): string => (summary.kind === 'backup' ? formatSize(bytes) : '');
  const rows = works.map(({ title, summary }) => [
    title,
    formatCount(summary.entries),
    formatSize(summary.bytesRead),
    backup(summary, summary.bytesNew),
    backup(summary, summary.bytesStored),
    formatDuration(summary.seconds * 1000),
  ]);
  const titles = ['ENTRIES', 'READ', 'NEW', 'STORED', 'TIME'].map((title) => ({ title, align: 'right' as const }));
  say(`\n${formatTable([{ title: '' }, ...titles], rows)}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function complain(error: unknown): void {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
}

async function main(argv: readonly string[]): Promise<number> {
  const keep = argv.includes('--keep');
  const unknown = argv.find((argument) => argument !== '--keep');
  if (unknown !== undefined) {
    process.stderr.write(`demo: what is ${unknown}? There is --keep, which leaves the demo's directory.\n`);
    return 2;
  }
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
  // PostgreSQL runs as another user under root, and passes through.
  chmodSync(dir, 0o711);
  let interrupted = false;
  const ends: Ends = [];
  const end = async (failed: boolean): Promise<void> => {
    for (const part of ends.splice(0)) await part().catch(complain);
    await fleetDown(join(dir, 'fleet')).catch(() => []);
    if (keep || failed) process.stderr.write(`The demo's files and logs are in ${dir}\n`);
    else rmSync(dir, { recursive: true, force: true });
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      interrupted = true;
      void end(false).finally(() => process.exit(1));
    });
  }
  try {
    await demo(dir, ends);
    await end(false);
    return 0;
  } catch (error) {
    // What breaks because the fleet is going away says nothing.
    if (interrupted) return 1;
    process.stderr.write(`\ndemo: ${error instanceof Error ? error.message : String(error)}\n`);
    await end(true);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
