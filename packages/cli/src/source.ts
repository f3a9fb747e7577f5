// `holdfast source`: what is protected on a host.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { SourceInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { FilesSource } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { jobFields } from './job.ts';
import { sourceName } from './session/selection.ts';
import type { Session } from './session/session.ts';
import {
  addRequest,
  clearingOptions,
  setRequest,
  settingOptions,
  type AddOptions,
  type SetOptions,
} from './source-options.ts';
import { snapshotFields } from './words/snapshots.ts';
import { shortId } from './words/names.ts';
import { formatCount, formatSize } from './words/sizes.ts';
import { formatFields, formatTable } from './words/tables.ts';
import { formatAge, formatTime } from './words/times.ts';

export function define(program: Command, session: Session): void {
  const source = program
    .command('source')
    .description('add, change, list, show and remove what is protected on a host')
    .addHelpText('after', HELP);
  const add = source
    .command('add')
    .description('protect something on a host')
    .argument('<name>', 'what the source is called, unique on its host')
    .requiredOption('--host <host>', 'the host that it is on')
    .option('--type <type>', 'files', 'files');
  settingOptions(add)
    .option('--compression <codec>', 'zstd, lz4 or none', 'zstd')
    .action(async (name: string, options: AddOptions) => {
      const request = { domain: await session.domain(), ...addRequest(name, options) };
      const added = (await (await session.operator()).addSource(request)).source;
      if (added === undefined)
        throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller answered without a source');
      if (session.json) return await session.document({ source: sourceFields(added) });
      await session.write(`Added ${sourceTitle(added)}. Back it up now with: holdfast backup ${sourceTitle(added)}\n`);
    });
  const set = source
    .command('set')
    .description('change settings of a source, which keeps its snapshots')
    .argument('<source>', 'HOST/SOURCE');
  clearingOptions(settingOptions(set))
    .option('--compression <codec>', 'zstd, lz4 or none')
    .addHelpText('after', SET_HELP)
    .action(async (argument: string, options: SetOptions) => {
      const name = sourceName(argument);
      const { spec, fields } = setRequest(options);
      const operator = await session.operator();
      const { source: changed } = await operator.setSource({
        domain: await session.domain(),
        source: name,
        spec,
        fields,
      });
      if (changed === undefined)
        throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller answered without a source');
      if (session.json) return await session.document({ source: sourceFields(changed) });
      await session.write(`Changed ${fields.map((field) => field.replaceAll('_', ' ')).join(', ')} of ${name}.\n`);
    });
  source
    .command('ls')
    .description('every source, with its newest snapshot')
    .option('--host <host>', 'only those of this host', '')
    .action(async (options: { host: string }) => {
      const domain = await session.domain();
      const { sources } = await (await session.operator()).listSources({ domain, host: options.host });
      if (session.json) return await session.document({ sources: sources.map(sourceFields) });
      await session.write(sourceTable(sources, session.environment.now(), session.width));
    });
  source
    .command('show')
    .description('one source: settings, state, newest snapshot')
    .argument('<source>', 'HOST/SOURCE')
    .action(async (argument: string) => await show(session, sourceName(argument)));
  source
    .command('rm')
    .description('protect it no longer; its snapshots stay')
    .argument('<source>', 'HOST/SOURCE')
    .action(async (argument: string) => {
      const name = sourceName(argument);
      const { snapshotsKept } = await (
        await session.operator()
      ).removeSource({ domain: await session.domain(), source: name });
      if (session.json) return await session.document({ source: name, snapshotsKept: Number(snapshotsKept) });
      await session.write(`${name} is no longer protected; ${formatCount(Number(snapshotsKept))} snapshots stay.\n`);
    });
}

/** "web-1/site" */
export function sourceTitle(source: SourceInfo): string {
  return source.name.includes('/') ? source.name : `${source.host}/${source.name}`;
}

/** @param width of the terminal; without one, as wide as it gets */
export function sourceTable(sources: readonly SourceInfo[], nowMs: number, width?: number): string {
  const rows = sources.map((source) => [
    sourceTitle(source),
    source.type,
    source.latest === undefined ? 'never' : formatAge(Number(source.latest.committedAtMs), nowMs),
    formatCount(Number(source.snapshots)),
    source.latest === undefined ? '' : formatSize(Number(source.latest.stats?.bytesTotal ?? 0)),
    source.watching,
  ]);
  return formatTable(
    [
      { title: 'SOURCE', cutTo: 24 },
      { title: 'TYPE', spare: true },
      { title: 'BACKED UP' },
      { title: 'SNAPSHOTS', align: 'right' },
      { title: 'SIZE', align: 'right' },
      { title: 'WATCHING' },
    ],
    rows,
    width,
  );
}

/** The settings of a source that is a file tree. */
function filesOf({ spec }: SourceInfo): FilesSource | undefined {
  return spec?.type?.$case === 'files' ? spec.type.value : undefined;
}

export function sourceFields(source: SourceInfo) {
  const files = filesOf(source);
  return {
    source: sourceTitle(source),
    id: source.id,
    host: source.host,
    name: source.name,
    type: source.type,
    paths: files?.paths ?? [],
    excludes: files?.excludes ?? [],
    includes: files?.includes ?? [],
    oneFileSystem: files?.oneFileSystem ?? false,
    excludeCaches: files?.excludeCaches ?? false,
    continuous: files?.continuous ?? false,
    before: source.spec?.hooks?.before ?? [],
    after: source.spec?.hooks?.after ?? [],
    requireBefore: source.spec?.hooks?.requireBefore ?? false,
    limitBytesPerSecond: Number(source.spec?.limitBytesPerSecond ?? 0),
    snapshots: Number(source.snapshots),
    latest: source.latest === undefined ? null : snapshotFields(source.latest),
    watching: source.watching,
    watchingNote: source.watchingNote,
    lastJob: source.lastJob === undefined ? null : jobFields(source.lastJob),
  };
}

async function show(session: Session, name: string): Promise<void> {
  const { source } = await (await session.operator()).getSource({ domain: await session.domain(), source: name });
  if (source === undefined) throw new HoldfastError('NOT_FOUND', `there is no source ${name}`);
  if (session.json) return await session.document({ source: sourceFields(source) });
  const files = filesOf(source);
  const limit = Number(source.spec?.limitBytesPerSecond ?? 0);
  const { latest, lastJob } = source;
  const hooks = source.spec?.hooks;
  await session.write(
    formatFields([
      ['Source', sourceTitle(source)],
      ['Type', source.type],
      ['Paths', files?.paths.join(', ')],
      ['Excludes', files?.excludes.join(', ')],
      ['Includes', files?.includes.join(', ')],
      ['Before', hookWords(hooks?.before, hooks?.requireBefore === true ? ' (must succeed)' : '')],
      ['After', hookWords(hooks?.after)],
      ['Limit', limit === 0 ? '' : `${formatSize(limit)}/s`],
      ['Watching', source.watchingNote === '' ? source.watching : `${source.watching}: ${source.watchingNote}`],
      ['Snapshots', formatCount(Number(source.snapshots))],
      [
        'Newest',
        latest === undefined ? 'none yet' : `${shortId(latest.id)} of ${formatTime(Number(latest.committedAtMs))}`,
      ],
      ['Last job', lastJob === undefined ? '' : `${lastJob.kind} ${lastJob.state} (${lastJob.id})`],
    ]),
  );
}

/** A hook is started without a shell, so its words are shown apart where they hold blanks. */
function hookWords(words: readonly string[] = [], note = ''): string {
  if (words.length === 0) return '';
  return words.map((word) => (/[\s"]|^$/.test(word) ? JSON.stringify(word) : word)).join(' ') + note;
}

const SET_HELP = `
What is not named stays as it is. A list is replaced as a whole: name every pattern that is to hold from now on, or none with
--no-exclude. The next backup goes by the new settings, and goes on with the source's history.

Examples:
  holdfast source set web-1/site --exclude '*.log' --exclude /cache/ --limit 10MiB/s
  holdfast source set web-1/site --path /srv/site --path /etc/nginx
  holdfast source set web-1/site --no-exclude --limit none --no-continuous
`;

const HELP = `
Examples:
  holdfast source add site --host web-1 --type files --path /srv/site
  holdfast source add home --host web-1 --path /home --exclude '*/.cache/' --exclude-caches --continuous
  holdfast source ls --host web-1
`;
