// The snapshot browser's state, and what a key does to it.
//
// Pure: a key gives a new state and at most one request to the outside (open a directory, look for versions, restore,
// quit). Answers come back as `loaded`, `versionsFound` and `failed`. Tested in state.test.ts; drawing is in view.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { EntryInfo, SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { destinationOf } from '../restore.ts';
import { idText } from '../words/names.ts';

export interface FileVersion {
  /** The newest snapshot that has this version. */
  readonly snapshot: SnapshotInfo;
  readonly entry: EntryInfo;
  /** How many snapshots in a row have it. */
  readonly snapshots: number;
}

export type BrowserMode =
  | { readonly kind: 'list' }
  | { readonly kind: 'details' }
  | { readonly kind: 'versions'; readonly versions: readonly FileVersion[]; readonly cursor: number }
  | { readonly kind: 'destination'; readonly text: string };

export interface BrowserState {
  readonly snapshot: SnapshotInfo;
  readonly directory: Buffer;
  readonly entries: readonly EntryInfo[];
  readonly cursor: number;
  /** Paths in hex that a restore will take. */
  readonly marked: ReadonlySet<string>;
  readonly mode: BrowserMode;
  /** One line for the user; empty for none. */
  readonly message: string;
}

export type BrowserRequest =
  | { readonly kind: 'open'; readonly directory: Buffer; readonly cursorOn?: Buffer }
  | { readonly kind: 'versions'; readonly path: Buffer }
  | {
      readonly kind: 'restore';
      readonly to: string;
      readonly paths: readonly Buffer[];
      readonly snapshot: SnapshotInfo;
    }
  | { readonly kind: 'quit' };

export interface Step {
  readonly state: BrowserState;
  readonly request?: BrowserRequest;
}

/** A key as node:readline names it; `text` is what it types. */
export interface Key {
  readonly name: string;
  readonly text: string;
}

export function initialState(snapshot: SnapshotInfo): BrowserState {
  const directory = Buffer.alloc(0);
  return { snapshot, directory, entries: [], cursor: 0, marked: new Set(), mode: { kind: 'list' }, message: '' };
}

/** A directory's entries have come; `cursorOn` is the entry to stand on. */
export function loaded(
  state: BrowserState,
  directory: Buffer,
  entries: readonly EntryInfo[],
  cursorOn?: Buffer,
): BrowserState {
  const at = cursorOn === undefined ? 0 : entries.findIndex((entry) => cursorOn.equals(entry.path));
  return { ...state, directory, entries, cursor: Math.max(0, at), mode: { kind: 'list' }, message: '' };
}

export function versionsFound(state: BrowserState, versions: readonly FileVersion[]): BrowserState {
  return { ...state, mode: { kind: 'versions', versions, cursor: 0 }, message: '' };
}

export function failed(state: BrowserState, message: string): BrowserState {
  return { ...state, message };
}

export function selectedEntry(state: BrowserState): EntryInfo | undefined {
  return state.entries[state.cursor];
}

/** `page` is how many lines the list has. */
export function press(state: BrowserState, key: Key, page: number): Step {
  const clean = { ...state, message: '' };
  const { mode } = state;
  if (mode.kind === 'list') return pressInList(clean, key, page);
  if (mode.kind === 'details') return pressInDetails(clean, key);
  return mode.kind === 'versions' ? pressInVersions(clean, mode, key) : pressInDestination(clean, mode, key);
}

function pressInList(state: BrowserState, key: Key, page: number): Step {
  const entry = selectedEntry(state);
  switch (key.name) {
    case 'up':
    case 'k':
      return move(state, -1);
    case 'down':
    case 'j':
      return move(state, 1);
    case 'pageup':
      return move(state, -page);
    case 'pagedown':
      return move(state, page);
    case 'home':
      return move(state, -state.entries.length);
    case 'end':
      return move(state, state.entries.length);
    case 'return':
    case 'right':
    case 'l':
      if (entry === undefined) return { state };
      if (entry.type === 'directory') return { state, request: { kind: 'open', directory: Buffer.from(entry.path) } };
      return { state: { ...state, mode: { kind: 'details' } } };
    case 'left':
    case 'h':
    case 'backspace':
      return goUp(state);
    case 'i':
      return { state: entry === undefined ? state : { ...state, mode: { kind: 'details' } } };
    case 'v':
      return askVersions(state);
    case 'space':
      return mark(state);
    case 'r':
      return { state: entry === undefined && state.marked.size === 0 ? state : toDestination(state) };
    case 'q':
    case 'escape':
      return { state, request: { kind: 'quit' } };
    default:
      return { state };
  }
}

function pressInDetails(state: BrowserState, key: Key): Step {
  if (key.name === 'v') return askVersions(state);
  if (key.name === 'r') return { state: toDestination(state) };
  return { state: { ...state, mode: { kind: 'list' } } };
}

function pressInVersions(state: BrowserState, mode: BrowserMode & { kind: 'versions' }, key: Key): Step {
  const at = (cursor: number): Step => {
    return { state: { ...state, mode: { ...mode, cursor: clamp(cursor, mode.versions.length) } } };
  };
  if (key.name === 'up' || key.name === 'k') return at(mode.cursor - 1);
  if (key.name === 'down' || key.name === 'j') return at(mode.cursor + 1);
  const version = mode.versions[mode.cursor];
  if ((key.name === 'return' || key.name === 'right') && version !== undefined) {
    // Go on in the snapshot of that version, standing on the file.
    const next = { ...state, snapshot: version.snapshot, marked: new Set<string>(), mode: { kind: 'list' } as const };
    return {
      state: next,
      request: { kind: 'open', directory: state.directory, cursorOn: Buffer.from(version.entry.path) },
    };
  }
  return { state: { ...state, mode: { kind: 'list' } } };
}

function pressInDestination(state: BrowserState, mode: BrowserMode & { kind: 'destination' }, key: Key): Step {
  if (key.name === 'escape') return { state: { ...state, mode: { kind: 'list' } } };
  if (key.name === 'backspace') return typing(state, mode.text.slice(0, -1));
  if (key.name !== 'return') return key.text >= ' ' ? typing(state, mode.text + key.text) : { state };
  try {
    destinationOf(mode.text);
  } catch (error) {
    return {
      state: { ...state, message: error instanceof HoldfastError ? `${error.message}. ${error.hint}` : String(error) },
    };
  }
  return { state, request: { kind: 'restore', to: mode.text, paths: chosenPaths(state), snapshot: state.snapshot } };
}

function typing(state: BrowserState, text: string): Step {
  return { state: { ...state, mode: { kind: 'destination', text } } };
}

/** What is marked, or else the entry under the cursor. */
export function chosenPaths(state: BrowserState): Buffer[] {
  if (state.marked.size > 0) return [...state.marked].map((hex) => Buffer.from(hex, 'hex'));
  const entry = selectedEntry(state);
  return entry === undefined ? [] : [Buffer.from(entry.path)];
}

function move(state: BrowserState, by: number): Step {
  return { state: { ...state, cursor: clamp(state.cursor + by, state.entries.length) } };
}

function goUp(state: BrowserState): Step {
  if (state.directory.length === 0) return { state };
  const parent = state.directory.subarray(0, Math.max(0, state.directory.lastIndexOf(0x2f)));
  return { state, request: { kind: 'open', directory: Buffer.from(parent), cursorOn: state.directory } };
}

function mark(state: BrowserState): Step {
  const entry = selectedEntry(state);
  if (entry === undefined) return { state };
  const marked = new Set(state.marked);
  const path = idText(entry.path);
  if (!marked.delete(path)) marked.add(path);
  return move({ ...state, marked }, 1);
}

function askVersions(state: BrowserState): Step {
  const entry = selectedEntry(state);
  if (entry === undefined) return { state };
  if (entry.type === 'directory') return { state: failed(state, 'Versions are of files: choose one.') };
  return { state, request: { kind: 'versions', path: Buffer.from(entry.path) } };
}

function toDestination(state: BrowserState): BrowserState {
  return { ...state, mode: { kind: 'destination', text: '' } };
}

function clamp(index: number, length: number): number {
  return Math.max(0, Math.min(index, length - 1));
}
