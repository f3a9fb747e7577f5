// Sources: as documents, as a table and in words.
//
// The members of documents are an interface that other people script: they are only ever added to.

import type { SourceInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { FilesSource } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { jobFields } from '../job.ts';
import { logFields, logLines, recoverableFields, rpoSeconds, slotFields } from './log-state.ts';
import { shortId } from './names.ts';
import { formatCount, formatSize } from './sizes.ts';
import { snapshotFields } from './snapshots.ts';
import { formatFields, formatTable } from './tables.ts';
import { formatAge, formatDuration, formatTime } from './times.ts';

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
    rpoWords(source),
    source.watching,
  ]);
  return formatTable(
    [
      { title: 'SOURCE', cutTo: 24 },
      { title: 'TYPE', spare: true },
      { title: 'BACKED UP' },
      { title: 'SNAPSHOTS', align: 'right', spare: true },
      { title: 'SIZE', align: 'right' },
      { title: 'RPO', align: 'right' },
      { title: 'WATCHING' },
    ],
    rows,
    width,
  );
}

/** What would be lost if the host died now. */
function rpoWords({ rpoMs }: SourceInfo): string {
  return rpoMs === undefined ? '' : formatDuration(Number(rpoMs));
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
    settings: settingsOf(source),
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
    state: source.state,
    rpoSeconds: rpoSeconds(source),
    recoverable: recoverableFields(source),
    log: logFields(source),
    slot: slotFields(source),
  };
}

/** What an engine was told. */
function settingsOf({ spec }: SourceInfo): Readonly<Record<string, string>> {
  if (spec?.type?.$case !== 'engine') return {};
  return Object.fromEntries(spec.type.value.settings.map(({ name, value }) => [name, value]));
}

/** Everything about one source, for people. @param width of the terminal; without one, as wide as it gets */
export function sourceWords(source: SourceInfo, nowMs: number, width?: number): string {
  const files = filesOf(source);
  const limit = Number(source.spec?.limitBytesPerSecond ?? 0);
  const { latest, lastJob } = source;
  const hooks = source.spec?.hooks;
  return formatFields(
    [
      ['Source', sourceTitle(source)],
      ['Type', source.type],
      ['Paths', files?.paths.join(', ')],
      ['Excludes', files?.excludes.join(', ')],
      ['Includes', files?.includes.join(', ')],
      ...Object.entries(settingsOf(source)).map(([name, value]) => [name, value] as const),
      ['Before', hookWords(hooks?.before, hooks?.requireBefore === true ? ' (must succeed)' : '')],
      ['After', hookWords(hooks?.after)],
      ['Limit', limit === 0 ? '' : `${formatSize(limit)}/s`],
      ['Watching', source.watchingNote === '' ? source.watching : `${source.watching}: ${source.watchingNote}`],
      ['Snapshots', formatCount(Number(source.snapshots))],
      [
        'Newest',
        latest === undefined ? 'none yet' : `${shortId(latest.id)} of ${formatTime(Number(latest.committedAtMs))}`,
      ],
      ...logLines(source, nowMs),
      ['Last job', lastJob === undefined ? '' : `${lastJob.kind} ${lastJob.state} (${lastJob.id})`],
    ],
    width,
  );
}

/** A hook is started without a shell, so its words are shown apart where they hold blanks. */
function hookWords(words: readonly string[] = [], note = ''): string {
  if (words.length === 0) return '';
  return words.map((word) => (/[\s"]|^$/.test(word) ? JSON.stringify(word) : word)).join(' ') + note;
}
