// The thread that watches: counts the directories, then lets chokidar watch them, and says which paths changed.
//
// Only directories are given to chokidar: a watch on a directory reports its files, and 20,000 remembered files would cost
// 100 MB. What happened is taken from its raw events, which also come for names that are not UTF-8. Such a name arrives
// mangled, so its directory is reported in its place. Links are never followed (threat 27), excluded directories and, where
// it was asked for, other file systems are left out (threat 36).

import { lstatSync, readdirSync, readFileSync, realpathSync, type Dirent, type Stats } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { watch } from 'chokidar';
import { fromBytes, fromText, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { ExcludeRules } from '../../scan/exclude-rules.ts';
import { withoutRoot } from '../../scan/selected-paths.ts';
import type { WatchMessage, WatchOrder } from './tree-watcher.ts';

const BATCH_MS = 250;
const MAX_BATCH = 10_000;
const MAX_UNWATCHABLE = 1000;
const REPLACEMENT = '\ufffd';

interface WatchedRoot {
  /** Where it really is, as text: what chokidar is given. */
  readonly real: string;
  /** What its paths begin with in the manifest, with the slash; empty for a single root. */
  readonly prefix: ByteString;
  readonly device: number;
}

interface Count {
  directories: number;
  readonly unwatchable: ByteString[];
}

function run(order: WatchOrder): void {
  const rules = new ExcludeRules(order.files.excludes, order.files.includes);
  const roots = order.files.paths.map((path) => openRoot(path, order.files.paths.length > 1));
  const count: Count = { directories: 0, unwatchable: [] };
  for (const root of roots) countDirectories(root, rules, order, count);
  if (count.directories > order.maxDirectories || count.unwatchable.length > MAX_UNWATCHABLE) {
    say({ kind: 'ended', why: 'over', note: `more than ${order.maxDirectories} directories` });
    parentPort?.close();
    return;
  }
  startWatching(roots, rules, order, count);
}

function openRoot(path: ByteString, several: boolean): WatchedRoot {
  const bytes = realpathSync.native(toBytes(path), 'buffer');
  const real = bytes.toString('utf8');
  if (!Buffer.from(real, 'utf8').equals(bytes)) throw new Error('the path of the source is not UTF-8');
  const inManifest = several ? withoutRoot(path) : '';
  const prefix = inManifest === '' ? '' : `${inManifest}/`;
  return { real, prefix, device: lstatSync(real).dev };
}

/** Synchronous: the thread has nothing else to do, and it is several times faster. */
function countDirectories(root: WatchedRoot, rules: ExcludeRules, order: WatchOrder, count: Count): void {
  const pending: ByteString[] = [''];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    count.directories++;
    if (count.directories > order.maxDirectories) return;
    for (const entry of entriesOf(root, path)) {
      if (!entry.isDirectory()) continue;
      const name = fromBytes(entry.name);
      const child = path === '' ? name : `${path}/${name}`;
      if (rules.decide(root.prefix + child, true) === 'leave-out') continue;
      if (order.files.oneFileSystem && isElsewhere(root, child)) continue;
      if (entry.name.equals(Buffer.from(entry.name.toString('utf8'), 'utf8'))) pending.push(child);
      else count.unwatchable.push(root.prefix + child);
    }
  }
}

function entriesOf(root: WatchedRoot, path: ByteString): Dirent<Buffer>[] {
  try {
    return readdirSync(absolute(root, path), { withFileTypes: true, encoding: 'buffer' });
  } catch {
    // Gone, or not readable: the backup will say so.
    return [];
  }
}

function isElsewhere(root: WatchedRoot, path: ByteString): boolean {
  try {
    return lstatSync(absolute(root, path)).dev !== root.device;
  } catch {
    return false;
  }
}

function absolute(root: WatchedRoot, path: ByteString): Buffer {
  return toBytes(path === '' ? fromText(root.real) : `${fromText(root.real)}/${path}`);
}

function startWatching(roots: readonly WatchedRoot[], rules: ExcludeRules, order: WatchOrder, count: Count): void {
  const batch = new ChangeBatch(() => count.directories);
  const rootOf = (path: string): WatchedRoot | undefined =>
    roots.find((root) => path === root.real || path.startsWith(`${root.real}/`));
  const ignored = (path: string, stats?: Stats): boolean => {
    const root = rootOf(path);
    if (root === undefined || stats === undefined) return false;
    if (!stats.isDirectory()) return path !== root.real;
    if (order.files.oneFileSystem && stats.dev !== root.device) return true;
    return path !== root.real && rules.decide(root.prefix + relative(root, path), true) === 'leave-out';
  };
  const end = (why: 'over' | 'failed', note: string): void => {
    say({ kind: 'ended', why, note });
    void watcher.close().then(() => parentPort?.close());
  };

  const watcher = watch(
    roots.map((root) => root.real),
    { ignoreInitial: true, followSymlinks: false, ignorePermissionErrors: true, atomic: false, ignored },
  );
  watcher.on('error', (error) => end('failed', error instanceof Error ? error.message : String(error)));
  watcher.on('ready', () => say({ kind: 'ready', directories: count.directories, unwatchable: count.unwatchable }));
  watcher.on('addDir', (path) => {
    // Its files may have come before its watch: it counts as changed with everything in it.
    const root = rootOf(path);
    if (root !== undefined) batch.add(root.prefix + relative(root, path));
    if (++count.directories > order.maxDirectories) end('over', `more than ${order.maxDirectories} directories`);
  });
  watcher.on('unlinkDir', () => void count.directories--);
  watcher.on('raw', (_event, name, details) => {
    batch.heard();
    const directory = watchedPath(details);
    const root = directory === undefined ? undefined : rootOf(directory);
    if (directory === undefined || root === undefined) return;
    const within = relative(root, directory);
    const named = typeof name === 'string' && name !== '' && !name.includes(REPLACEMENT);
    const inside = named ? (within === '' ? fromText(name) : `${within}/${fromText(name)}`) : within;
    const path = inside === '' ? root.prefix.slice(0, -1) : root.prefix + inside;
    // Whether it is a directory is not known here, so it is left out only if it is left out either way.
    if (rules.decide(path, false) !== 'leave-out' || rules.decide(path, true) !== 'leave-out') batch.add(path);
  });
}

function relative(root: WatchedRoot, path: string): ByteString {
  return path === root.real ? '' : fromText(path.slice(root.real.length + 1));
}

function watchedPath(details: unknown): string | undefined {
  const path: unknown =
    typeof details === 'object' && details !== null ? Reflect.get(details, 'watchedPath') : undefined;
  return typeof path === 'string' ? path : undefined;
}

/**
 * Gathers paths for a moment, so that a burst is one message, and a flood is one word. A flood that fills the kernel's queue
 * loses events, and nobody is told: but then a whole queue of them arrives between two turns of the event loop.
 */
class ChangeBatch {
  readonly #directories: () => number;
  readonly #mostHeard = queuedEventsMax() / 2;
  #heard = 0;
  #paths = new Set<ByteString>();
  #timer: NodeJS.Timeout | undefined;

  constructor(directories: () => number) {
    this.#directories = directories;
  }

  /** One more event came, whatever it was about. */
  heard(): void {
    this.#heard++;
    this.#setTimer();
  }

  add(path: ByteString): void {
    if (this.#paths.size <= MAX_BATCH) this.#paths.add(path.endsWith('/') ? path.slice(0, -1) : path);
    this.#setTimer();
  }

  #setTimer(): void {
    if (this.#timer === undefined) this.#timer = setTimeout(() => this.#flush(), BATCH_MS);
  }

  #flush(): void {
    this.#timer = undefined;
    const tooMany = this.#paths.size > MAX_BATCH || this.#heard > this.#mostHeard;
    const paths = tooMany ? 'everything' : [...this.#paths];
    this.#paths = new Set();
    this.#heard = 0;
    if (paths.length === 0) return;
    say({ kind: 'changes', paths, directories: this.#directories() });
  }
}

/** Events that the kernel keeps for one watcher; more are dropped. */
function queuedEventsMax(): number {
  try {
    const events = Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'utf8'));
    if (events > 0) return events;
  } catch {
    // Not to be read here: then as the kernel comes.
  }
  return 16_384;
}

function say(message: WatchMessage): void {
  parentPort?.postMessage(message);
}

// Last: the class above must be there.
if (!isMainThread) run(workerData as WatchOrder);
