// `holdfast source`: what is protected on a host.

import type { Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { AddSourceRequest, SourceInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { jobFields } from './job.ts';
import { repeated } from './session/repeated-option.ts';
import { sourceName } from './session/selection.ts';
import type { Session } from './session/session.ts';
import { snapshotFields } from './words/snapshots.ts';
import { shortId } from './words/names.ts';
import { formatCount, formatSize, parseRate } from './words/sizes.ts';
import { formatFields, formatTable } from './words/tables.ts';
import { formatAge, formatTime } from './words/times.ts';

interface AddOptions {
  readonly host: string;
  readonly type: string;
  readonly path?: readonly string[];
  readonly exclude?: readonly string[];
  readonly include?: readonly string[];
  readonly oneFileSystem?: boolean;
  readonly excludeCaches?: boolean;
  readonly continuous?: boolean;
  readonly scanEvery?: string;
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  readonly hookTimeout?: string;
  readonly requireBefore?: boolean;
  readonly limit?: string;
  readonly compression: string;
  readonly level?: string;
}

export function define(program: Command, session: Session): void {
  const source = program
    .command('source')
    .description('add, list, show and remove what is protected on a host')
    .addHelpText('after', HELP);
  source
    .command('add')
    .description('protect something on a host')
    .argument('<name>', 'what the source is called, unique on its host')
    .requiredOption('--host <host>', 'the host that it is on')
    .option('--type <type>', 'files', 'files')
    .option('--path <dir>', 'absolute directory or file; may be repeated', repeated)
    .option('--exclude <pattern>', 'leave out, in gitignore syntax; may be repeated', repeated)
    .option('--include <pattern>', 'bring back what an exclude would drop; may be repeated', repeated)
    .option('--one-file-system', 'stay on the file system of each path')
    .option('--exclude-caches', 'leave out the contents of directories with a CACHEDIR.TAG')
    .option('--continuous', 'watch for changes and back up soon after them')
    .option('--scan-every <seconds>', 'seconds between the scans of a continuous source')
    .option('--before <word>', 'program to run before a backup, absolute, and its arguments; one word each', repeated)
    .option('--after <word>', 'program to run after a backup, likewise', repeated)
    .option('--hook-timeout <seconds>', 'how long a hook may take')
    .option('--require-before', 'fail the backup when --before fails, instead of warning')
    .option('--limit <rate>', 'send no faster than this, as 10MiB/s')
    .option('--compression <codec>', 'zstd, lz4 or none', 'zstd')
    .option('--level <number>', 'level of the compression')
    .action(async (name: string, options: AddOptions) => {
      const request = { domain: await session.domain(), ...addRequest(name, options) };
      const added = (await (await session.operator()).addSource(request)).source;
      if (added === undefined)
        throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller answered without a source');
      if (session.json) return await session.document({ source: sourceFields(added) });
      await session.write(`Added ${sourceTitle(added)}. Back it up now with: holdfast backup ${sourceTitle(added)}\n`);
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

/** Pure: the request behind the options. Throws USAGE. */
export function addRequest(name: string, options: AddOptions): Pick<AddSourceRequest, 'host' | 'spec'> {
  if (options.type !== 'files') {
    throw new HoldfastError('USAGE', `there is no source type "${options.type}"`, { hint: 'Use --type files.' });
  }
  const paths = options.path ?? [];
  const relative = paths.find((path) => !path.startsWith('/'));
  if (paths.length === 0 || relative !== undefined) {
    throw new HoldfastError(
      'USAGE',
      relative === undefined ? 'a files source needs a path' : `the path "${relative}" is not absolute`,
      {
        hint: 'Give --path with an absolute directory on the host, as in --path /srv/site.',
      },
    );
  }
  if (!['zstd', 'lz4', 'none'].includes(options.compression)) {
    throw new HoldfastError('USAGE', `there is no compression "${options.compression}"`, {
      hint: 'Use zstd, lz4 or none.',
    });
  }
  const hooks = options.before !== undefined || options.after !== undefined;
  return {
    host: options.host,
    spec: {
      sourceId: '',
      name,
      type: {
        $case: 'files',
        value: {
          paths: [...paths],
          excludes: [...(options.exclude ?? [])],
          includes: [...(options.include ?? [])],
          oneFileSystem: options.oneFileSystem === true,
          excludeCaches: options.excludeCaches === true,
          continuous: options.continuous === true,
          scanEverySeconds: wholeNumber(options.scanEvery, '--scan-every'),
        },
      },
      hooks: hooks
        ? {
            before: [...(options.before ?? [])],
            after: [...(options.after ?? [])],
            timeoutSeconds: wholeNumber(options.hookTimeout, '--hook-timeout'),
            requireBefore: options.requireBefore === true,
          }
        : undefined,
      limitBytesPerSecond: options.limit === undefined ? 0n : BigInt(parseRate(options.limit)),
      compression: { codec: options.compression, level: wholeNumber(options.level, '--level') },
    },
  };
}

function wholeNumber(text: string | undefined, option: string): number {
  const value = Number(text ?? 0);
  if (Number.isInteger(value) && value >= 0 && value <= 0x7fffffff) return value;
  throw new HoldfastError('USAGE', `${option} ${text} is not a whole number`);
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

export function sourceFields(source: SourceInfo) {
  const files = source.spec?.type?.value;
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
  const files = source.spec?.type?.value;
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

const HELP = `
Examples:
  holdfast source add site --host web-1 --type files --path /srv/site
  holdfast source add home --host web-1 --path /home --exclude '*/.cache/' --exclude-caches --continuous
  holdfast source ls --host web-1
`;
