// What the snapshot browser shows: a state and a size in characters give the lines of the screen.
//
// Hazard: names are strangers' text. All go through `displayPath`, so that none can drive the terminal. Pure.

import { fromBytes, displayPath } from '@holdfast/shared/base/byte-string';
import type { EntryInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { idText, pathText, shortId } from '../words/names.ts';
import { formatCount, formatSize } from '../words/sizes.ts';
import { entryLine, modeDigits, modifiedText } from '../words/snapshots.ts';
import { formatFields } from '../words/tables.ts';
import { formatTime } from '../words/times.ts';
import { chosenPaths, selectedEntry, type BrowserState, type FileVersion } from './state.ts';

/** Lines around the list: title, rule, message, keys. */
export const FRAME_LINES = 4;

const REVERSE = '\x1b[7m';
const PLAIN = '\x1b[0m';

/** Exactly `rows` lines, none longer than `columns` on the screen. */
export function screenLines(state: BrowserState, columns: number, rows: number): string[] {
  const room = Math.max(1, rows - FRAME_LINES);
  const body = bodyLines(state, room).map(({ text, selected }) => {
    const line = clip(text, columns);
    return selected ? `${REVERSE}${line.padEnd(columns)}${PLAIN}` : line;
  });
  while (body.length < room) body.push('');
  return [
    clip(title(state), columns),
    '─'.repeat(columns),
    ...body,
    clip(state.message, columns),
    clip(KEYS[state.mode.kind], columns),
  ];
}

interface BodyLine {
  readonly text: string;
  readonly selected: boolean;
}

function bodyLines(state: BrowserState, room: number): BodyLine[] {
  const { mode } = state;
  if (mode.kind === 'versions') {
    return window(mode.versions, mode.cursor, room).map(([version, i]) => ({
      text: versionLine(version),
      selected: i === mode.cursor,
    }));
  }
  const entry = selectedEntry(state);
  if (mode.kind === 'details' && entry !== undefined) return plain(detailLines(entry)).slice(0, room);
  if (mode.kind === 'destination') return plain(destinationLines(state, mode.text)).slice(0, room);
  if (state.entries.length === 0) return [{ text: '  (empty)', selected: false }];
  return window(state.entries, state.cursor, room).map(([shown, i]) => {
    const mark = state.marked.has(idText(shown.path)) ? '*' : ' ';
    return { text: `${mark} ${entryLine(shown, nameOf(shown))}`, selected: i === state.cursor };
  });
}

/** The part of a list around the cursor that fits, with each item's index. */
function window<T>(items: readonly T[], cursor: number, room: number): [T, number][] {
  const from = Math.max(0, Math.min(cursor - Math.floor(room / 2), items.length - room));
  return items.slice(from, from + room).map((item, i) => [item, from + i]);
}

function plain(lines: readonly string[]): BodyLine[] {
  return lines.map((text) => ({ text, selected: false }));
}

/** The last component, with the mark that `ls -F` gives a directory. */
function nameOf(entry: EntryInfo): string {
  const path = fromBytes(entry.path);
  const name = displayPath(path.slice(path.lastIndexOf('/') + 1));
  return entry.type === 'directory' ? `${name}/` : name;
}

function title(state: BrowserState): string {
  const { snapshot } = state;
  const place = state.directory.length === 0 ? '/' : `/${pathText(state.directory)}`;
  return `${snapshot.source}  ${shortId(snapshot.id)} of ${formatTime(Number(snapshot.committedAtMs))}  ${place}`;
}

function versionLine({ snapshot, entry, snapshots }: FileVersion): string {
  const time = formatTime(Number(snapshot.committedAtMs));
  const size = formatSize(Number(entry.size)).padStart(9);
  return `  ${shortId(snapshot.id)}  ${time}  ${size}  changed ${modifiedText(entry)}  in ${formatCount(snapshots)} ${snapshots === 1 ? 'snapshot' : 'snapshots'}`;
}

function detailLines(entry: EntryInfo): string[] {
  const device = entry.type === 'char-device' || entry.type === 'block-device';
  return formatFields([
    ['Path', pathText(entry.path)],
    ['Type', entry.type],
    [
      'Size',
      entry.type === 'file'
        ? `${formatSize(Number(entry.size))} (${formatCount(Number(entry.size))} bytes)`
        : undefined,
    ],
    ['Mode', modeDigits(entry.mode)],
    ['Owner', `${entry.user || '?'} (${entry.uid}) : ${entry.group || '?'} (${entry.gid})`],
    ['Changed', modifiedText(entry)],
    ['Points to', entry.linkTarget.length === 0 ? undefined : pathText(entry.linkTarget)],
    ['Links', entry.links > 1 ? entry.links.toString() : undefined],
    ['Device', device ? `${entry.deviceMajor},${entry.deviceMinor}` : undefined],
    ['Attributes', entry.xattrNames.map((name) => pathText(name)).join(', ')],
  ])
    .trimEnd()
    .split('\n');
}

function destinationLines(state: BrowserState, text: string): string[] {
  const paths = chosenPaths(state);
  const shown = paths.slice(0, 10).map((path) => `  ${pathText(path)}`);
  const more = paths.length > shown.length ? [`  … and ${paths.length - shown.length} more`] : [];
  return ['Restore', ...shown, ...more, '', `to HOST:DIR  ${text}█`];
}

const KEYS: Readonly<Record<BrowserState['mode']['kind'], string>> = {
  list: '↑↓ move  → open  ← up  i details  v versions  space mark  r restore  q quit',
  details: 'v versions  r restore  any other key: back',
  versions: '↑↓ move  enter go to that snapshot  any other key: back',
  destination: 'enter restore  esc back',
};

function clip(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`;
}
