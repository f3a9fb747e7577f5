// The bench: the same work by Holdfast, restic and borg, in turn, on the same machine in the same run.
//
//   pnpm bench [--dir DIR] [--only kernel,small,image] [--rounds N] [--without borg]
//   pnpm bench db [--only postgres,mariadb]
//   pnpm bench recovery [--rounds N] [--lab-rounds N]
//
// Prints one table of wall time, processor time, peak memory, stored bytes, and the ratios to restic. Nothing is asserted but
// that restored trees are identical.

import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { compareTrees } from '../compare/compare-trees.ts';
import { borgContender, type Contender, holdfastContender, installed, resticContender } from './contenders.ts';
import { benchDatabases } from './database.ts';
import { freshFileSystem, kernelTarballs, smallFiles, sparseImage, unpackInPlace } from './data.ts';
import type { Cost } from './measure.ts';
import { type Row, tableOf } from './table.ts';
import { benchLab } from './lab.ts';
import { benchWarm } from './warm.ts';

/** Files that changed in the two seconds before a backup are read again by the next one (agent/src/backup/scan.ts), which would not be unchanged. */
const SETTLE_MS = 3_000;

const say = (line: string) => process.stderr.write(`${line}\n`);

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    dir: { type: 'string', default: '.bench' },
    only: { type: 'string' },
    without: { type: 'string', default: '' },
    small: { type: 'string', default: '200000' },
    check: { type: 'boolean', default: true },
    rounds: { type: 'string', default: '3' },
    /** Failovers in labs of their own; 0: none. */
    'lab-rounds': { type: 'string', default: '20' },
  },
});
const dir = resolve(options.dir);
const work = join(dir, 'work');
/** What is no longer needed; deleted when everything was measured. */
const aside = join(dir, 'aside');
const targets = join(dir, 'targets');
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });

const rows: Row[] = [];
const contenders: Contender[] = [];
const chosenOf = (all: string): readonly string[] => (options.only ?? all).split(',');
const chosen = chosenOf('kernel,small,image');

async function forEachContender(
  title: string,
  warm: boolean,
  act: (contender: Contender) => Promise<Cost>,
): Promise<void> {
  for (const contender of contenders) {
    if (!warm) dropCaches();
    const cost = await act(contender);
    const row = { title, contender: contender.name, cost, storedBytes: contender.storedBytes() };
    rows.push(row);
    say(`${title} · ${contender.name}: ${cost.wallSeconds.toFixed(2)} s, ${cost.cpuSeconds.toFixed(2)} CPU-s`);
  }
}

/** Forgets cached file contents, so that a cold run reads the disk. Needs root; without it every run is warm. */
function dropCaches(): void {
  execFileSync('sync');
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
  } catch {
    say('(cannot drop caches: this run is warm)');
  }
}

async function restoreAndCompare(label: string, source: string, contender: Contender): Promise<Cost> {
  const target = join(targets, `${contender.name}-${rows.length}`);
  mkdirSync(target, { recursive: true });
  const { cost, tree } = await contender.restore(label, source, target);
  if (options.check && contender.name === 'holdfast') {
    const { entries, differences } = await compareTrees(source, tree);
    if (differences.length > 0)
      throw new Error(`${differences.length} differences after restore: ${JSON.stringify(differences.slice(0, 3))}`);
    say(`  identical: ${entries} entries`);
  }
  return cost;
}

async function kernel(): Promise<void> {
  const [older, newer] = kernelTarballs(dir, say);
  const source = join(work, 'linux');
  say('unpacking the older kernel …');
  unpackInPlace(older, source, aside);
  await pause(SETTLE_MS);
  for (const contender of contenders) await contender.protect('linux', source);
  await forEachContender('first backup, kernel, warm', true, (contender) => contender.backup('linux', source));
  await forEachContender('unchanged, kernel, warm', true, (contender) => contender.backup('linux', source));
  await forEachContender('unchanged, kernel, cold', false, (contender) => contender.backup('linux', source));
  say('unpacking the newer kernel in its place …');
  unpackInPlace(newer, source, aside);
  await forEachContender('next version in place, warm', true, (contender) => contender.backup('linux', source));
  await forEachContender('restore, kernel, warm', true, (contender) => restoreAndCompare('linux', source, contender));
  await forEachContender('restore, kernel, cold', false, (contender) => restoreAndCompare('linux', source, contender));
}

async function small(): Promise<void> {
  const source = join(dir, 'small');
  say('making small files …');
  smallFiles(source, Number(options.small));
  for (const contender of contenders) await contender.protect('small', source);
  const count = Number(options.small).toLocaleString('en-US');
  await forEachContender(`first backup, ${count} files, cold`, false, (contender) => contender.backup('small', source));
  await forEachContender(`unchanged, ${count} files, warm`, true, (contender) => contender.backup('small', source));
  await forEachContender(`restore, ${count} files, warm`, true, (contender) =>
    restoreAndCompare('small', source, contender),
  );
}

async function image(): Promise<void> {
  const source = join(dir, 'image');
  sparseImage(source);
  for (const contender of contenders) await contender.protect('image', source);
  await forEachContender('first backup, 2 GiB sparse image', true, (contender) => contender.backup('image', source));
  await forEachContender('unchanged, 2 GiB sparse image', true, (contender) => contender.backup('image', source));
}

async function main(): Promise<void> {
  if (positionals[0] === 'db') {
    process.stdout.write(tableOf(await benchDatabases(work, chosenOf('postgres,mariadb'), say)));
    return;
  }
  if (positionals[0] === 'recovery') {
    const rounds = Number(options.rounds);
    const unplanned = Number(options['lab-rounds']);
    const some = unplanned === 0 ? 0 : rounds;
    process.stdout.write(await benchLab(work, { unplanned, planned: some, cold: Math.min(some, 1) }, say));
    if (rounds > 0) process.stdout.write(await benchWarm(work, rounds, say));
    return;
  }
  const without = options.without.split(',');
  const unmount = freshFileSystem(targets, say);
  contenders.push(await holdfastContender(work, say));
  if (installed('restic') && !without.includes('restic')) contenders.push(resticContender(work));
  if (installed('borg') && !without.includes('borg')) contenders.push(borgContender(work));
  try {
    if (chosen.includes('kernel')) await kernel();
    if (chosen.includes('small')) await small();
    if (chosen.includes('image')) await image();
  } finally {
    for (const contender of contenders) await contender.close();
    process.stdout.write(tableOf(rows));
    unmount();
    rmSync(aside, { recursive: true, force: true });
  }
}

await main();
