// `holdfast snapshot`: history, contents and differences.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DiffEntry, FoundEntry, SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { warningFields, warningWords } from './jobs/summary.ts';
import { predecessorOf, selectionOf, selectSnapshot, sourceName, type SelectionOptions } from './session/selection.ts';
import { listEntries } from './session/list-entries.ts';
import type { Session } from './session/session.ts';
import { idText, pathText, shortId, typedPath } from './words/names.ts';
import { counted, formatCount, formatSize } from './words/sizes.ts';
import {
  entryFields,
  entryLine,
  modeDigits,
  modifiedText,
  snapshotFields,
  snapshotNote,
  snapshotTable,
} from './words/snapshots.ts';
import { formatFields } from './words/tables.ts';
import { formatDuration, formatTime } from './words/times.ts';

export function define(program: Command, session: Session): void {
  const snapshot = program
    .command('snapshot')
    .description('history, contents and differences')
    .addHelpText('after', HELP);
  snapshot
    .command('ls')
    .description('the snapshots of a source, newest first')
    .argument('<source>', 'HOST/SOURCE')
    .option('--limit <count>', 'only so many')
    .action(async (argument: string, options: { limit?: string }) => {
      const limit = Math.max(0, Math.trunc(Number(options.limit ?? 0)) || 0);
      const request = { domain: await session.domain(), source: sourceName(argument), limit };
      const { snapshots } = await (await session.operator()).listSnapshots(request);
      if (session.json) return await session.document({ snapshots: snapshots.map(snapshotFields) });
      await session.write(snapshotTable(snapshots, session.width));
    });
  choosing(snapshot.command('show'))
    .description('one snapshot; with a path, what is there')
    .argument('<snapshot>', 'HOST/SOURCE for its newest one, or a snapshot id')
    .argument('[path]', 'list this directory, or show this entry; "." or "/" is the root')
    .option('-r, --recursive', 'everything below it as well')
    .action(async (argument: string, path: string | undefined, options: ShowOptions) => {
      await (path === undefined && options.recursive !== true
        ? show(session, argument, options)
        : entries(session, argument, path ?? '.', options));
    });
  snapshot
    .command('diff')
    .description('what changed from one snapshot to another')
    .argument('<from>', 'a snapshot; alone: what it changed from the one before it')
    .argument('[to]', 'HOST/SOURCE for its newest one, or a snapshot id')
    .option('--path <path>', 'only below this path', '.')
    .action(
      async (from: string, to: string | undefined, options: { path: string }) =>
        await diff(session, from, to, options.path),
    );
  choosing(snapshot.command('find'))
    .description('where a name is, in every snapshot of a source')
    .argument('<source>', 'HOST/SOURCE, or a snapshot id for that one alone')
    .argument('<pattern>', 'glob on the name, or on the whole path when it has a slash')
    .action(
      async (argument: string, pattern: string, options: SelectionOptions) =>
        await find(session, argument, pattern, options),
    );
  choosing(snapshot.command('browse'))
    .description('walk through a snapshot on the terminal, compare versions, restore')
    .argument('<snapshot>', 'HOST/SOURCE for its newest one, or a snapshot id')
    .argument('[path]', 'where to begin', '.')
    .action(async (argument: string, path: string, options: SelectionOptions) => {
      const { browse } = await import('./snapshot-browse.ts');
      await browse(session, selectionOf(argument, options), typedPath(path));
    });
}

interface ShowOptions extends SelectionOptions {
  readonly recursive?: boolean;
}

function choosing(command: Command): Command {
  return command
    .option('--snapshot <id>', 'this snapshot (the beginning of its id)')
    .option('--at <time>', 'the newest snapshot at that time');
}

async function show(session: Session, argument: string, options: SelectionOptions): Promise<void> {
  const { snapshot, warnings } = await selectSnapshot(session, selectionOf(argument, options));
  if (session.json) {
    return await session.document({ snapshot: snapshotFields(snapshot), warnings: warnings.map(warningFields) });
  }
  const { stats } = snapshot;
  await session.write(
    formatFields(
      [
        ['Snapshot', idText(snapshot.id)],
        ['Source', `${snapshot.source}, number ${snapshot.sequence}`],
        ['Committed', formatTime(Number(snapshot.committedAtMs))],
        ['Started', formatTime(Number(snapshot.startedAtMs))],
        [
          'Holds',
          `${formatCount(Number(stats?.entries ?? 0))} entries, ${formatCount(Number(stats?.files ?? 0))} files, ${formatSize(Number(stats?.bytesTotal ?? 0))}`,
        ],
        [
          'Cost',
          `read ${formatSize(Number(stats?.bytesRead ?? 0))}, new ${formatSize(Number(stats?.bytesNew ?? 0))}, stored ${formatSize(Number(stats?.bytesStored ?? 0))}, in ${formatDuration(Number(stats?.durationMs ?? 0))}`,
        ],
        ['Note', snapshotNote(snapshot)],
      ],
      session.width,
    ),
  );
  await session.write(warningWords(warnings, Number(snapshot.warnings), session.width));
}

async function entries(session: Session, argument: string, typed: string, options: ShowOptions): Promise<void> {
  const path = typedPath(typed);
  const { snapshot } = await selectSnapshot(session, selectionOf(argument, options));
  const listed = listEntries(session, snapshot, path, options.recursive === true);
  let count = 0;
  if (session.json) count = await session.documentOfList('entries', mapped(listed, entryFields));
  else {
    for await (const entry of listed) {
      await session.write(`${entryLine(entry)}\n`);
      count += 1;
    }
  }
  // An empty directory and a missing one must not look the same.
  if (count === 0 && path.length > 0 && !(await exists(session, snapshot, path))) {
    throw new HoldfastError('NOT_FOUND', `there is no ${pathText(path)} in snapshot ${shortId(snapshot.id)}`, {
      hint: `Look for it: holdfast snapshot find ${snapshot.source} NAME`,
    });
  }
}

async function exists(session: Session, snapshot: SnapshotInfo, path: Buffer): Promise<boolean> {
  const parent = path.subarray(0, Math.max(0, path.lastIndexOf(0x2f)));
  for await (const entry of listEntries(session, snapshot, parent, false)) if (path.equals(entry.path)) return true;
  return false;
}

async function diff(session: Session, from: string, to: string | undefined, path: string): Promise<void> {
  const first = (await selectSnapshot(session, selectionOf(from))).snapshot;
  const before = to === undefined ? await predecessorOf(session, first) : first;
  const after = to === undefined ? first : (await selectSnapshot(session, selectionOf(to))).snapshot;
  const changes = diffEntries(session, before, after, typedPath(path));
  if (session.json) {
    await session.documentOfList('changes', mapped(changes, diffFields));
    return;
  }
  session.remark(
    `From ${shortId(before.id)} of ${formatTime(Number(before.committedAtMs))} to ${shortId(after.id)} of ${formatTime(Number(after.committedAtMs))}:`,
  );
  let count = 0;
  for await (const change of changes) {
    await session.write(`${diffLine(change)}\n`);
    count += 1;
  }
  session.remark(count === 0 ? 'No difference.' : `${counted(count, 'difference')}.`);
}

async function* diffEntries(
  session: Session,
  before: SnapshotInfo,
  after: SnapshotInfo,
  path: Buffer,
): AsyncGenerator<DiffEntry> {
  const request = { domain: await session.domain(), fromSnapshotId: before.id, toSnapshotId: after.id, path };
  for await (const batch of (await session.operator()).diffSnapshots(request)) yield* batch.entries;
}

function diffFields(change: DiffEntry) {
  return {
    change: change.change,
    before: change.before === undefined ? null : entryFields(change.before),
    after: change.after === undefined ? null : entryFields(change.after),
  };
}

const CHANGE_LETTERS: Readonly<Record<string, string>> = {
  added: '+',
  removed: '-',
  content: 'M',
  metadata: 'm',
  type: 'T',
};

/** "M  etc/hosts  1.20 KiB → 1.25 KiB" */
function diffLine({ change, before, after }: DiffEntry): string {
  const entry = after ?? before;
  const words = [`${CHANGE_LETTERS[change] ?? '?'}  ${entry === undefined ? '' : pathText(entry.path)}`];
  if (before !== undefined && after !== undefined) {
    if (before.size !== after.size)
      words.push(`${formatSize(Number(before.size))} → ${formatSize(Number(after.size))}`);
    if (before.type !== after.type) words.push(`${before.type} → ${after.type}`);
    if (before.mode !== after.mode) words.push(`mode ${modeDigits(before.mode)} → ${modeDigits(after.mode)}`);
    if (before.uid !== after.uid || before.gid !== after.gid)
      words.push(`owner ${before.uid}:${before.gid} → ${after.uid}:${after.gid}`);
    const sameTime = before.mtimeSeconds === after.mtimeSeconds && before.mtimeNs === after.mtimeNs;
    if (change === 'metadata' && !sameTime) words.push(`modified ${modifiedText(after)}`);
  }
  return words.join('  ');
}

async function find(session: Session, argument: string, pattern: string, options: SelectionOptions): Promise<void> {
  const selection = selectionOf(argument, options);
  let { source } = selection;
  let snapshotId = Buffer.alloc(0);
  if (selection.typedId !== '' || selection.atMs !== 0n) {
    const { snapshot } = await selectSnapshot(session, selection);
    source = snapshot.source;
    snapshotId = Buffer.from(snapshot.id);
  }
  const found = foundEntries(session, source, snapshotId, pattern);
  if (session.json) {
    await session.documentOfList('found', mapped(found, foundFields));
    return;
  }
  let current = '';
  for await (const { snapshot, entry } of found) {
    if (snapshot === undefined || entry === undefined) continue;
    const heading = `${shortId(snapshot.id)}  ${formatTime(Number(snapshot.committedAtMs))}`;
    if (heading !== current) await session.write(`${current === '' ? '' : '\n'}${heading}\n`);
    current = heading;
    await session.write(`  ${entryLine(entry)}\n`);
  }
  if (current === '') session.remark(`Nothing in ${source} is called ${pattern}.`);
}

async function* foundEntries(
  session: Session,
  source: string,
  snapshotId: Buffer,
  pattern: string,
): AsyncGenerator<FoundEntry> {
  const request = { domain: await session.domain(), source, snapshotId, pattern };
  for await (const batch of (await session.operator()).findEntries(request)) yield* batch.entries;
}

function foundFields({ snapshot, entry }: FoundEntry) {
  return {
    snapshot: snapshot === undefined ? null : idText(snapshot.id),
    committedAt: snapshot === undefined ? null : new Date(Number(snapshot.committedAtMs)).toISOString(),
    entry: entry === undefined ? null : entryFields(entry),
  };
}

async function* mapped<T, U>(items: AsyncIterable<T>, map: (item: T) => U): AsyncGenerator<U> {
  for await (const item of items) yield map(item);
}

const HELP = `
Listing, finding and comparing need a managed domain: in a sealed one the controller can't read names.

Examples:
  holdfast snapshot ls web-1/site
  holdfast snapshot show web-1/site conf --at "2026-11-22 10:00"
  holdfast snapshot diff web-1/site              # what the newest one changed
  holdfast snapshot diff 3f2a9c01 web-1/site --path conf
  holdfast snapshot find web-1/site '*.pem'
  holdfast snapshot browse web-1/site
`;
