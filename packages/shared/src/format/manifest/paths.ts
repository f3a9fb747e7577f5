// Paths of a node: the rules for one path, front coding, and the stack of directories that a path must stand under.
//
// Hazard: a path from a manifest becomes a path on somebody's disk. '..', an absolute path, an empty component or a file
// under a symlink would lead out of the restore's target. And front coding blows up: 2 bytes can repeat a path of 128 KiB,
// so the sum of decoded lengths is bounded.
//
// Invariants (paths.test.ts): a decoded column is strictly ascending, each path well formed, and has one encoding only.

import { comparePaths, displayPath, type ByteString } from '../../base/byte-string.ts';
import { HoldfastError } from '../../base/errors.ts';
import { MAX_NAME_BYTES, MAX_NODE_PATH_BYTES, MAX_PATH_BYTES } from './limits.ts';
import { damaged, type WireReader, WireWriter } from './wire.ts';

const SLASH = 0x2f;
const DOT = 0x2e;

/** What is wrong with a path; undefined when nothing is. Components that end before `from` are taken as checked. */
export function pathFault(path: ByteString, from = 0): string | undefined {
  if (path.length === 0) return undefined;
  if (path.length > MAX_PATH_BYTES) return `is longer than ${MAX_PATH_BYTES} bytes`;
  let start = from === 0 ? 0 : path.lastIndexOf('/', from - 1) + 1;
  for (let i = start; i <= path.length; i++) {
    const code = i === path.length ? SLASH : path.charCodeAt(i);
    if (code === SLASH) {
      const fault = nameFault(path, start, i - start);
      if (fault !== undefined) return fault;
      start = i + 1;
    } else if (code === 0 || code > 0xff) {
      return code === 0 ? 'contains NUL' : 'is no byte string';
    }
  }
  return undefined;
}

function nameFault(path: ByteString, start: number, length: number): string | undefined {
  if (length === 0) return 'has an empty component';
  if (length > MAX_NAME_BYTES) return `has a component longer than ${MAX_NAME_BYTES} bytes`;
  if (path.charCodeAt(start) !== DOT || length > 2) return undefined;
  if (length === 1) return "has a component '.'";
  return path.charCodeAt(start + 1) === DOT ? "has a component '..'" : undefined;
}

/** Throws PATH_ESCAPES for '..', '.', an empty component, a leading slash, NUL, or a path or name that is too long. */
export function checkPath(path: ByteString, from = 0): void {
  const fault = pathFault(path, from);
  if (fault !== undefined) throw new HoldfastError('PATH_ESCAPES', `path "${shortPath(path)}" ${fault}`);
}

/** For messages: readable, and short. */
export function shortPath(path: ByteString): string {
  return path.length <= 200 ? displayPath(path) : `${displayPath(path.slice(0, 200))}…`;
}

/** First path in manifest order behind `path` and all below it. Not a path itself: for comparing only. */
export function endOfSubtree(path: ByteString): ByteString | undefined {
  return path === '' ? undefined : `${path}\0`;
}

/** Whether `path` is `top` or stands below it. */
export function isWithin(path: ByteString, top: ByteString): boolean {
  return top === '' || path === top || (path.charCodeAt(top.length) === SLASH && path.startsWith(top));
}

/** The directory that holds `path`; undefined for the root. */
export function parentPath(path: ByteString): ByteString | undefined {
  return path === '' ? undefined : path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

/** Index of the first of `paths` (ascending) that is at or after `path`. */
export function lowerBound(paths: readonly ByteString[], path: ByteString): number {
  let low = 0;
  let high = paths.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (comparePaths(paths[middle]!, path) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function sharedLength(a: ByteString, b: ByteString): number {
  const length = Math.min(a.length, b.length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
}

/** comparePaths(before, after) < 0, given how much they share. */
export function ascends(before: ByteString, after: ByteString, shared: number): boolean {
  if (shared === after.length) return false;
  if (shared === before.length) return true;
  const x = before.charCodeAt(shared);
  const y = after.charCodeAt(shared);
  return x === SLASH || (y !== SLASH && x < y);
}

/** Front-codes ascending paths. */
export class PathWriter {
  readonly #bytes = new WireWriter(16 * 1024);
  #last: ByteString = '';
  /** Sum of the lengths of all paths. */
  decodedBytes = 0;

  /** Returns the bytes that were not shared. */
  add(path: ByteString): number {
    const shared = sharedLength(this.#last, path);
    const rest = path.length - shared;
    this.#bytes.varint(shared);
    this.#bytes.varint(rest);
    this.#bytes.text(path, shared);
    this.#last = path;
    this.decodedBytes += path.length;
    return rest;
  }

  clear(): void {
    this.#bytes.clear();
    this.#last = '';
    this.decodedBytes = 0;
  }

  peek(): Buffer {
    return this.#bytes.peek();
  }
}

/** Decodes `count` front-coded paths. Throws DAMAGED or PATH_ESCAPES; bounded before anything is allocated. */
export function readPaths(reader: WireReader, count: number): ByteString[] {
  const paths: ByteString[] = [];
  const { bytes } = reader;
  let last: ByteString = '';
  let total = 0;
  for (let i = 0; i < count; i++) {
    const shared = reader.varint();
    const rest = reader.varint();
    total += shared + rest;
    if (shared > last.length || rest > reader.end - reader.at) throw damaged('a path goes beyond its node');
    if (shared + rest > MAX_PATH_BYTES || total > MAX_NODE_PATH_BYTES) throw damaged('paths are too long');
    const added = bytes.toString('latin1', reader.at, reader.at + rest);
    reader.at += rest;
    const path = shared === 0 ? added : last.substring(0, shared) + added;
    checkPath(path, shared);
    if (shared < last.length && last.charCodeAt(shared) === path.charCodeAt(shared)) {
      throw damaged('paths share more than they say');
    }
    if (i > 0 && !ascends(last, path, shared)) throw damaged(`path "${shortPath(path)}" is out of order`);
    paths.push(path);
    last = path;
  }
  if (!reader.done) throw damaged('bytes behind the last path');
  return paths;
}

/** The directories above the path that came last, to tell whether the next path stands in one of them. */
export class Ancestors {
  /** Lengths of the prefixes of the last path that are directories, ascending. */
  readonly #lengths: number[] = [];

  /** Whether the parent of `path` is a directory that came before; `shared` is what it shares with the path before. */
  holds(path: ByteString, shared: number): boolean {
    const parent = path === '' ? -1 : Math.max(0, path.lastIndexOf('/'));
    while ((this.#lengths.at(-1) ?? -1) > parent) this.#lengths.pop();
    return parent === -1 || (this.#lengths.at(-1) === parent && shared >= parent);
  }

  /** `path` came, and `holds` was true for it. */
  enter(path: ByteString, isDirectory: boolean): void {
    if (isDirectory) this.#lengths.push(path.length);
  }

  /** `path` came, and everything above it is known to be a directory. */
  reset(path: ByteString, isDirectory: boolean): void {
    this.#lengths.length = 0;
    if (path !== '') this.#lengths.push(0);
    for (let i = path.indexOf('/'); i !== -1; i = path.indexOf('/', i + 1)) this.#lengths.push(i);
    if (isDirectory) this.#lengths.push(path.length);
  }
}
