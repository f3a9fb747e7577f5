// Snapshots and their entries, as documents and as lines.

import type { DatabasePoint } from '@holdfast/shared/rpc/gen/holdfast/v1/log';
import type { EntryInfo, SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { ID_PREFIX_LENGTH, idText, pathFields, pathText, shortId } from './names.ts';
import { formatCount, formatSize } from './sizes.ts';
import { formatTable } from './tables.ts';
import { formatTime, isoTime, withoutSeconds } from './times.ts';

/** The members are an interface that other people script: they are only ever added to. */
export function snapshotFields(snapshot: SnapshotInfo) {
  const { stats } = snapshot;
  return {
    id: idText(snapshot.id),
    source: snapshot.source,
    sequence: Number(snapshot.sequence),
    committedAt: isoTime(Number(snapshot.committedAtMs)),
    startedAt: isoTime(Number(snapshot.startedAtMs)),
    files: Number(stats?.files ?? 0),
    entries: Number(stats?.entries ?? 0),
    bytesTotal: Number(stats?.bytesTotal ?? 0),
    bytesRead: Number(stats?.bytesRead ?? 0),
    bytesNew: Number(stats?.bytesNew ?? 0),
    bytesStored: Number(stats?.bytesStored ?? 0),
    seconds: Number(stats?.durationMs ?? 0) / 1000,
    partial: snapshot.partial,
    warnings: Number(snapshot.warnings),
    damaged: snapshot.damaged,
    suspect: snapshot.point?.suspect ?? false,
    point: pointFields(snapshot.point),
  };
}

/** @param width of the terminal; without one, as wide as it gets */
export function snapshotTable(snapshots: readonly SnapshotInfo[], width?: number): string {
  const rows = snapshots.map((snapshot) => [
    shortId(snapshot.id),
    snapshot.sequence.toString(),
    formatTime(Number(snapshot.committedAtMs)),
    formatCount(Number(snapshot.stats?.files ?? 0)),
    formatSize(Number(snapshot.stats?.bytesTotal ?? 0)),
    formatSize(Number(snapshot.stats?.bytesNew ?? 0)),
    formatSize(Number(snapshot.stats?.bytesStored ?? 0)),
    snapshotNote(snapshot),
  ]);
  const right = { align: 'right' } as const;
  return formatTable(
    [
      { title: 'SNAPSHOT', brief: (id) => id.slice(0, ID_PREFIX_LENGTH) },
      { title: 'NO', ...right },
      { title: 'COMMITTED', brief: withoutSeconds },
      { title: 'FILES', ...right, spare: true },
      { title: 'SIZE', ...right },
      { title: 'NEW', ...right },
      { title: 'STORED', ...right, spare: true },
      { title: 'NOTE', cutTo: 12 },
    ],
    rows,
    width,
  );
}

/** "damaged, partial, 3 warnings", or empty. */
export function snapshotNote(snapshot: SnapshotInfo): string {
  const notes: string[] = [];
  if (snapshot.damaged) notes.push('damaged');
  if (snapshot.point?.suspect === true) notes.push('suspect');
  if (snapshot.partial) notes.push('partial');
  if (snapshot.warnings > 0n) notes.push(`${snapshot.warnings} ${snapshot.warnings === 1n ? 'warning' : 'warnings'}`);
  return notes.join(', ');
}

/** Of a database: where the snapshot stands in its log. */
function pointFields(point: DatabasePoint | undefined) {
  if (point === undefined) return null;
  return {
    systemIdentifier: point.stream?.systemIdentifier ?? '',
    timeline: point.stream?.timeline ?? 0,
    start: point.start?.text ?? '',
    end: point.end?.text ?? '',
    endAt: isoTime(Number(point.endAtMs)),
    serverVersion: point.serverVersion,
    gtid: point.gtid,
  };
}

export function entryFields(entry: EntryInfo) {
  const target = entry.linkTarget.length === 0 ? undefined : pathFields(entry.linkTarget);
  const device = entry.type === 'char-device' || entry.type === 'block-device';
  return {
    ...pathFields(entry.path),
    type: entry.type,
    mode: modeDigits(entry.mode),
    uid: entry.uid,
    gid: entry.gid,
    user: entry.user,
    group: entry.group,
    size: Number(entry.size),
    modifiedAt: nanosecondTime(entry),
    links: entry.links,
    ...(target && {
      linkTarget: target.path,
      ...(target.pathBytes !== undefined && { linkTargetBytes: target.pathBytes }),
    }),
    ...(device && { deviceMajor: entry.deviceMajor, deviceMinor: entry.deviceMinor }),
    ...(entry.xattrNames.length > 0 && { xattrs: entry.xattrNames.map((name) => pathText(name)) }),
  };
}

const MAX_DATE_SECONDS = 8_640_000_000_000n;

/** ISO with nine digits, as the file system has it; seconds and nanoseconds alone where a calendar ends. */
function nanosecondTime(entry: EntryInfo): string {
  const { mtimeSeconds: seconds, mtimeNs } = entry;
  const nanoseconds = mtimeNs.toString().padStart(9, '0');
  if (seconds > MAX_DATE_SECONDS || seconds < -MAX_DATE_SECONDS) return `${seconds}.${nanoseconds}`;
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, -5)}.${nanoseconds}Z`;
}

/** "0644", "4755": permission bits in octal. */
export function modeDigits(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

const TYPE_LETTERS: Readonly<Record<string, string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  'char-device': 'c',
  'block-device': 'b',
};

/** "-rwsr-xr-x", as ls writes it. */
export function modeLetters(type: string, mode: number): string {
  const letters = [6, 3, 0].map((shift, i) => {
    const bits = (mode >> shift) & 7;
    const special = (mode >> (11 - i)) & 1;
    const execute = (bits & 1) === 1;
    const mark = i === 2 ? 't' : 's';
    const last = special === 1 ? (execute ? mark : mark.toUpperCase()) : execute ? 'x' : '-';
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${last}`;
  });
  return `${TYPE_LETTERS[type] ?? '?'}${letters.join('')}`;
}

/** One line as `ls -l` writes it, with sizes in binary units and the path shown by `path`. */
export function entryLine(entry: EntryInfo, path: string = pathText(entry.path)): string {
  const owner = `${entry.user || entry.uid}:${entry.group || entry.gid}`;
  const device = entry.type === 'char-device' || entry.type === 'block-device';
  const size = device
    ? `${entry.deviceMajor},${entry.deviceMinor}`
    : entry.type === 'file'
      ? formatSize(Number(entry.size))
      : '-';
  const link = entry.linkTarget.length === 0 ? '' : ` -> ${pathText(entry.linkTarget)}`;
  const time = modifiedText(entry);
  return `${modeLetters(entry.type, entry.mode)}  ${owner.padEnd(17)}  ${size.padStart(9)}  ${time}  ${path}${link}`;
}

/** In the user's zone, to the second. */
export function modifiedText(entry: EntryInfo): string {
  const seconds = entry.mtimeSeconds;
  if (seconds > MAX_DATE_SECONDS - 86_400n || seconds < 86_400n - MAX_DATE_SECONDS) return `${seconds} s`;
  const ms = Number(seconds) * 1000;
  return ms === 0 ? formatTime(1) : formatTime(ms);
}
