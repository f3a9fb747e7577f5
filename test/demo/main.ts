// `npm run demo`: the main job from end to end, on files of this machine. A controller and two hosts come up, web-1 is backed up,
// changes, is backed up again and loses its files; web-2 gets them back, and both trees are compared entry by entry.
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
import { runJobCommand } from './cli-run.ts';
import { changeTree, fillWithRealFiles, sizeOf } from './real-files.ts';

const SOURCE = 'web-1/site';

interface Work {
  readonly title: string;
  readonly summary: SummaryEvent;
}

async function demo(dir: string): Promise<void> {
  const site = join(dir, 'web-1-site');
  const lost = join(dir, 'web-1-site-lost');
  const again = join(dir, 'web-2-site');
  const workspace = dirname(dirname(dirname(dirname(builtPrograms().cli))));

  say('Holdfast: web-1 loses its files, and web-2 gets them back.\n');
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
  printTable(works);
  if (differences.length > 0) {
    const shown = differences.slice(0, 20).map((difference) => `  ${difference}`);
    throw new Error(`the trees differ in ${differences.length} places:\n${shown.join('\n')}`);
  }
  say(`identical: ${entries} entries`);
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
  const end = async (failed: boolean): Promise<void> => {
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
    await demo(dir);
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
