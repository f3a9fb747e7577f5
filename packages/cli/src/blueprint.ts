// `holdfast blueprint`: what a server is, and what changed about it: between two dates, or between two hosts.

import type { Command } from 'commander';
import { toBytes } from '@holdfast/shared/base/byte-string';
import { HoldfastError, toHoldfastError } from '@holdfast/shared/base/errors';
import {
  decodeSection,
  diffSections,
  factText,
  SECTIONS,
  sectionPath,
  type FactChange,
  type Section,
  type SectionName,
} from '@holdfast/shared/blueprint/blueprint';
import type { SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { predecessorOf, selectionOf, selectSnapshot } from './session/selection.ts';
import type { Session } from './session/session.ts';
import { idText, shortId } from './words/names.ts';
import { formatTime } from './words/times.ts';

interface ShowOptions {
  readonly at?: string;
  readonly snapshot?: string;
  readonly section?: string;
}

export function define(program: Command, session: Session): void {
  const blueprint = program
    .command('blueprint')
    .description('what a server is: packages, users, units, network and more')
    .addHelpText('after', HELP);
  blueprint
    .command('show')
    .description('a blueprint, all of it or one section')
    .argument('<source>', 'HOST/SOURCE for its newest blueprint, or a snapshot id')
    .option('--at <time>', 'the newest one at that time')
    .option('--snapshot <id>', 'this one (the beginning of its id)')
    .option('--section <name>', SECTIONS.join(', '))
    .action(async (argument: string, options: ShowOptions) => await show(session, argument, options));
  blueprint
    .command('diff')
    .description('what is different in the second: with one argument, since the blueprint before it')
    .argument('<from>', 'HOST/SOURCE, or a snapshot id')
    .argument('[to]', 'HOST/SOURCE, or a snapshot id')
    .option('--at <time>', 'compare <from> as it was then with what it is now')
    .option('--section <name>', SECTIONS.join(', '))
    .action(async (from: string, to: string | undefined, options: ShowOptions) => {
      await diff(session, from, to, options);
    });
}

async function show(session: Session, argument: string, options: ShowOptions): Promise<void> {
  const wanted = wantedSections(options.section);
  const { snapshot } = await selectSnapshot(session, selectionOf(argument, options));
  const sections = await readSections(session, snapshot, wanted);
  if (session.json) {
    const facts = Array.from(sections, ([name, section]) => [name, Object.fromEntries(section)] as const);
    return await session.document({ ...titleFields(snapshot), sections: Object.fromEntries(facts) });
  }
  await session.write(
    title(snapshot) + Array.from(sections, ([name, section]) => sectionWords(name, section)).join(''),
  );
}

async function diff(session: Session, from: string, to: string | undefined, options: ShowOptions): Promise<void> {
  const wanted = wantedSections(options.section);
  if (to !== undefined && options.at !== undefined) {
    throw new HoldfastError('USAGE', '--at compares a source with itself', {
      hint: 'Name one source, or leave out --at.',
    });
  }
  const [before, after] = await twoSnapshots(session, from, to, options.at);
  const old = await readSections(session, before, wanted);
  const now = await readSections(session, after, wanted);
  const changes = wanted.flatMap((name) => diffSections(name, old.get(name) ?? new Map(), now.get(name) ?? new Map()));
  if (session.json) {
    const bare = changes.map((change) => ({ ...change, before: change.before ?? null, after: change.after ?? null }));
    return await session.document({ from: titleFields(before), to: titleFields(after), changes: bare });
  }
  await session.write(`- ${title(before)}+ ${title(after)}${changeWords(changes)}`);
}

async function twoSnapshots(
  session: Session,
  from: string,
  to: string | undefined,
  at: string | undefined,
): Promise<readonly [SnapshotInfo, SnapshotInfo]> {
  const { snapshot: first } = await selectSnapshot(session, selectionOf(from, at === undefined ? {} : { at }));
  if (to !== undefined) return [first, (await selectSnapshot(session, selectionOf(to))).snapshot];
  if (at !== undefined) return [first, (await selectSnapshot(session, selectionOf(from))).snapshot];
  return [await predecessorOf(session, first), first];
}

/** Throws USAGE. */
function wantedSections(name: string | undefined): readonly SectionName[] {
  if (name === undefined) return SECTIONS;
  const found = SECTIONS.find((section) => section === name);
  if (found === undefined) {
    throw new HoldfastError('USAGE', `a blueprint has no section "${name}"`, {
      hint: `It has ${SECTIONS.join(', ')}.`,
    });
  }
  return [found];
}

async function readSections(
  session: Session,
  snapshot: SnapshotInfo,
  wanted: readonly SectionName[],
): Promise<Map<SectionName, Section>> {
  const sections = new Map<SectionName, Section>();
  for (const name of wanted) {
    const bytes = await readFile(session, snapshot, sectionPath(name));
    if (bytes !== undefined) sections.set(name, decodeSection(bytes));
  }
  if (sections.size === 0) {
    throw new HoldfastError('NOT_FOUND', `snapshot ${shortId(snapshot.id)} of ${snapshot.source} is no blueprint`, {
      hint: 'Make one: holdfast source add blueprint --host HOST --type blueprint, then holdfast backup HOST/blueprint',
    });
  }
  return sections;
}

/** Undefined when the snapshot has no such file: an older agent wrote fewer sections. */
async function readFile(session: Session, snapshot: SnapshotInfo, path: string): Promise<Buffer | undefined> {
  const operator = await session.operator();
  const parts: Uint8Array[] = [];
  try {
    const request = { domain: await session.domain(), snapshotId: Buffer.from(snapshot.id), path: toBytes(path) };
    for await (const { data } of operator.readFile(request)) parts.push(data);
  } catch (thrown) {
    if (toHoldfastError(thrown).code === 'NOT_FOUND') return undefined;
    throw thrown;
  }
  return Buffer.concat(parts);
}

function title(snapshot: SnapshotInfo): string {
  return `${snapshot.source}, ${shortId(snapshot.id)} of ${formatTime(Number(snapshot.committedAtMs))}\n`;
}

function titleFields(snapshot: SnapshotInfo) {
  return { source: snapshot.source, snapshot: idText(snapshot.id) };
}

function sectionWords(name: string, section: Section): string {
  const lines = Array.from(section, ([key, value]) => `  ${key}: ${indented(factText(value))}\n`);
  return `\n${name} (${section.size})\n${lines.join('')}`;
}

function changeWords(changes: readonly FactChange[]): string {
  if (changes.length === 0) return '\nNothing is different.\n';
  let section = '';
  return changes
    .map((change) => {
      const head = change.section === section ? '' : `\n${change.section}\n`;
      section = change.section;
      return head + changeLines(change);
    })
    .join('');
}

function changeLines({ key, change, before, after }: FactChange): string {
  if (change === 'added') return `  + ${key}: ${indented(factText(after!))}\n`;
  if (change === 'removed') return `  - ${key}: ${indented(factText(before!))}\n`;
  const [old, now] = [factText(before!), factText(after!)];
  // Of a whole file only the lines that differ.
  if (!old.includes('\n') && !now.includes('\n')) return `  ~ ${key}: ${old} → ${now}\n`;
  const [oldLines, newLines] = [new Set(old.split('\n')), new Set(now.split('\n'))];
  const gone = [...oldLines].filter((line) => !newLines.has(line)).map((line) => `      - ${line}\n`);
  const come = [...newLines].filter((line) => !oldLines.has(line)).map((line) => `      + ${line}\n`);
  return `  ~ ${key}:\n${gone.join('')}${come.join('')}`;
}

function indented(text: string): string {
  return text.trimEnd().replaceAll('\n', '\n      ');
}

const HELP = `
A blueprint is a source of type blueprint: what a backup of it holds is what the server was at that time. It carries no password.

Examples:
  holdfast source add blueprint --host web-1 --type blueprint
  holdfast backup web-1/blueprint
  holdfast blueprint show web-1/blueprint --section packages
  holdfast blueprint diff web-1/blueprint --at 2026-11-01
  holdfast blueprint diff web-1/blueprint web-2/blueprint
`;
