// `holdfast snapshot browse`: the shell around the browser. Reads keys, asks the controller, draws.
//
// Hazard: a terminal left in raw mode or on the other screen is broken for its user. So both are taken back in a `finally`, and
// nothing else writes meanwhile. Without a terminal there is nothing to browse, and the directory is listed instead.

import { emitKeypressEvents } from 'node:readline';
import { ReadStream } from 'node:tty';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { EntryInfo, SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { failed, initialState, loaded, press, versionsFound } from './browser/state.ts';
import type { BrowserRequest, BrowserState, FileVersion, Key } from './browser/state.ts';
import { FRAME_LINES, screenLines } from './browser/view.ts';
import { runJob } from './jobs/run-job.ts';
import { destinationOf } from './restore.ts';
import { selectSnapshot, type Selection } from './session/selection.ts';
import { listEntries } from './session/list-entries.ts';
import type { Session } from './session/session.ts';
import { entryFields, entryLine } from './words/snapshots.ts';

const OTHER_SCREEN = '\x1b[?1049h\x1b[?25l';
const BACK = '\x1b[?25h\x1b[?1049l';
/** How far back `v` looks for versions of a file. */
const VERSIONS_MAX = 200;

type Restore = BrowserRequest & { readonly kind: 'restore' };

export async function browse(session: Session, selection: Selection, directory: Buffer): Promise<void> {
  const { snapshot } = await selectSnapshot(session, selection);
  const { stdin, stdinIsTerminal, stdoutIsTerminal } = session.environment;
  if (session.json || !stdinIsTerminal || !stdoutIsTerminal || !(stdin instanceof ReadStream)) {
    return await listInstead(session, snapshot, directory);
  }
  const restore = await onOtherScreen(session, stdin, () => interact(session, snapshot, directory, stdin));
  if (restore !== undefined) await startRestore(session, restore);
}

async function listInstead(session: Session, snapshot: SnapshotInfo, directory: Buffer): Promise<void> {
  const entries = await collect(listEntries(session, snapshot, directory, false));
  if (session.json) return await session.document({ entries: entries.map(entryFields) });
  session.remark('Not a terminal: listing instead of browsing.');
  await session.write(entries.map((entry) => `${entryLine(entry)}\n`).join(''));
}

async function onOtherScreen<T>(session: Session, stdin: ReadStream, use: () => Promise<T>): Promise<T> {
  emitKeypressEvents(stdin);
  stdin.setRawMode(true);
  stdin.resume();
  await session.write(OTHER_SCREEN);
  try {
    return await use();
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    await session.write(BACK);
  }
}

/** Runs until the user quits, or chose what to restore. */
async function interact(
  session: Session,
  snapshot: SnapshotInfo,
  directory: Buffer,
  stdin: ReadStream,
): Promise<Restore | undefined> {
  const { columns, rows } = session.environment;
  let state = initialState(snapshot);
  let request: BrowserRequest | undefined = { kind: 'open', directory };
  const keys = keyQueue(stdin);
  try {
    for (;;) {
      if (request?.kind === 'quit') return undefined;
      if (request?.kind === 'restore') return request;
      if (request !== undefined) state = await answer(session, state, request);
      await session.write(`\x1b[H${screenLines(state, columns(), rows()).join('\x1b[K\r\n')}\x1b[K`);
      const key = await keys.next();
      if (key === undefined) return undefined;
      const step = press(state, key, Math.max(1, rows() - FRAME_LINES));
      state = step.state;
      request = step.request;
    }
  } finally {
    keys.close();
  }
}

async function answer(session: Session, state: BrowserState, request: BrowserRequest): Promise<BrowserState> {
  try {
    if (request.kind === 'open') {
      const entries = await collect(listEntries(session, state.snapshot, request.directory, false));
      return loaded(state, request.directory, entries, request.cursorOn);
    }
    if (request.kind === 'versions')
      return versionsFound(state, await versionsOf(session, state.snapshot.source, request.path));
    return state;
  } catch (error) {
    return failed(state, toHoldfastError(error).message);
  }
}

/** The versions of one file, newest first; snapshots in a row with the same one count together. */
async function versionsOf(session: Session, source: string, path: Buffer): Promise<FileVersion[]> {
  const request = { domain: await session.domain(), source, limit: VERSIONS_MAX };
  const { snapshots } = await (await session.operator()).listSnapshots(request);
  const versions: FileVersion[] = [];
  for (const snapshot of snapshots) {
    const entry = await entryAt(session, snapshot, path);
    if (entry === undefined) continue;
    const last = versions.at(-1);
    if (last !== undefined && sameVersion(last.entry, entry)) {
      versions[versions.length - 1] = { ...last, snapshots: last.snapshots + 1 };
    } else versions.push({ snapshot, entry, snapshots: 1 });
  }
  return versions;
}

/** The entry of that very path; undefined where the snapshot has none. */
async function entryAt(session: Session, snapshot: SnapshotInfo, path: Buffer): Promise<EntryInfo | undefined> {
  try {
    for await (const entry of listEntries(session, snapshot, path, false))
      return path.equals(entry.path) ? entry : undefined;
  } catch (error) {
    if (toHoldfastError(error).code !== 'NOT_FOUND') throw error;
  }
  return undefined;
}

function sameVersion(a: EntryInfo, b: EntryInfo): boolean {
  return a.type === b.type && a.size === b.size && a.mtimeSeconds === b.mtimeSeconds && a.mtimeNs === b.mtimeNs;
}

async function startRestore(session: Session, restore: Restore): Promise<void> {
  const { host, directory } = destinationOf(restore.to);
  const { source, id } = restore.snapshot;
  await runJob(session, {
    subject: { kind: 'restore', source },
    start: async () =>
      (await session.operator()).startRestore({
        domain: await session.domain(),
        source,
        snapshotId: id,
        toHost: host,
        target: directory,
        paths: [...restore.paths],
      }),
  });
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

interface KeyQueue {
  /** Undefined: Ctrl-C, or the terminal went away. */
  next(): Promise<Key | undefined>;
  close(): void;
}

function keyQueue(stdin: ReadStream): KeyQueue {
  const waiting: (Key | undefined)[] = [];
  let wake: (() => void) | undefined;
  const push = (key: Key | undefined): void => {
    waiting.push(key);
    wake?.();
  };
  const onKey = (text: string | undefined, key: { name?: string; ctrl?: boolean }): void => {
    if (key.ctrl === true && key.name === 'c') push(undefined);
    else push({ name: key.name ?? text ?? '', text: text ?? '' });
  };
  const onEnd = (): void => push(undefined);
  stdin.on('keypress', onKey);
  stdin.once('end', onEnd);
  return {
    next: async () => {
      while (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return waiting.shift();
    },
    close: () => {
      stdin.off('keypress', onKey);
      stdin.off('end', onEnd);
    },
  };
}
