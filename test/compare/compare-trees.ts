// Whether two trees are the same, down to every kind of metadata: the judge of restores, in tests, demo and bench.
//
// Hazard: a comparison that uses what it judges can't see its faults. Names, types, times, owners, links and content are read
// through Node's fs (by descriptors, so that depth does not matter); for what Node lacks (attributes, flags, holes) it uses
// the agent's bindings, which system-tools.test.ts checks against getfattr, lsattr, stat and filefrag.
//
// Compared: the set of names; type; mode; owner; mtime to the nanosecond; size and bytes; link targets; device numbers;
// extended attributes with ACLs and capabilities; inode flags; which names are one inode; where files have holes. Not
// compared, because no copy can keep it: inode numbers, ctime, atime, sizes of directories.
//
// compare-trees.test.ts plants a difference of each kind and finds it.

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type BigIntStats,
} from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { displayPath, fromBytes, toBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { extentsOf } from '@holdfast/agent/os/extents';
import { getInodeFlags, RESTORABLE_FLAGS } from '@holdfast/agent/os/inode';
import { readXattrsAt } from '@holdfast/agent/os/xattrs';

export interface Comparison {
  /** Names in either tree, the root among them. */
  readonly entries: number;
  /** 'path: what differs', sorted by path. */
  readonly differences: readonly string[];
}

export interface CompareOptions {
  /** Whether holes must be where they were (default true). Off for trees on file systems of different kinds. */
  readonly holes?: boolean;
  /** Whether the root directories' own metadata counts (default true). */
  readonly root?: boolean;
}

const { O_DIRECTORY, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
const CONTENT_BYTES = 1024 * 1024;

/** Two absolute paths of directories. */
export async function compareTrees(a: string, b: string, options: CompareOptions = {}): Promise<Comparison> {
  const comparer = new Comparer(options);
  let steps = 0;
  for (const _ of comparer.run(a, b)) if (++steps % 1000 === 0) await turn();
  return { entries: comparer.entries, differences: comparer.differences };
}

/** One of two trees: an open directory, and which inode was seen first where. */
interface Side {
  readonly firstNames: Map<string, ByteString>;
}

interface Seen {
  readonly dirFd: number;
  readonly name: ByteString;
  readonly stat: BigIntStats;
}

class Comparer {
  entries = 0;
  readonly differences: string[] = [];
  readonly #options: CompareOptions;
  readonly #a: Side = { firstNames: new Map() };
  readonly #b: Side = { firstNames: new Map() };
  readonly #bufferA = Buffer.alloc(CONTENT_BYTES);
  readonly #bufferB = Buffer.alloc(CONTENT_BYTES);

  constructor(options: CompareOptions) {
    this.#options = options;
  }

  *run(a: string, b: string): Generator<undefined> {
    const dirA = openSync(a, O_RDONLY | O_DIRECTORY);
    try {
      const dirB = openSync(b, O_RDONLY | O_DIRECTORY);
      try {
        this.entries++;
        const statA = fstatSync(dirA, { bigint: true });
        const statB = fstatSync(dirB, { bigint: true });
        if (this.#options.root !== false) {
          this.#compareMetadata('', { dirFd: dirA, name: '.', stat: statA }, { dirFd: dirB, name: '.', stat: statB });
        }
        yield* this.#compareDirectories('', dirA, dirB);
      } finally {
        closeSync(dirB);
      }
    } finally {
      closeSync(dirA);
    }
  }

  *#compareDirectories(path: ByteString, dirA: number, dirB: number): Generator<undefined> {
    const namesA = new Set(namesIn(dirA));
    const namesB = new Set(namesIn(dirB));
    for (const name of [...new Set([...namesA, ...namesB])].toSorted()) {
      this.entries++;
      yield undefined;
      const child = path === '' ? name : `${path}/${name}`;
      if (!namesB.has(name)) this.#differ(child, 'only in the first');
      else if (!namesA.has(name)) this.#differ(child, 'only in the second');
      else yield* this.#compareEntries(child, seen(dirA, name), seen(dirB, name));
    }
  }

  *#compareEntries(path: ByteString, a: Seen, b: Seen): Generator<undefined> {
    if (!this.#same(path, 'type', typeOf(a.stat), typeOf(b.stat))) return;
    this.#compareMetadata(path, a, b);
    if (a.stat.isFile()) this.#compareFiles(path, a, b);
    if (!a.stat.isDirectory()) {
      this.#same(path, 'first name of the inode', firstName(this.#a, path, a.stat), firstName(this.#b, path, b.stat));
      return;
    }
    const dirA = openSync(at(a), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      const dirB = openSync(at(b), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      try {
        yield* this.#compareDirectories(path, dirA, dirB);
      } finally {
        closeSync(dirB);
      }
    } finally {
      closeSync(dirA);
    }
  }

  #compareMetadata(path: ByteString, a: Seen, b: Seen): void {
    this.#same(path, 'mode', octal(a.stat.mode), octal(b.stat.mode));
    this.#same(path, 'owner', `${a.stat.uid}:${a.stat.gid}`, `${b.stat.uid}:${b.stat.gid}`);
    this.#same(path, 'mtime', `${a.stat.mtimeNs}`, `${b.stat.mtimeNs}`);
    this.#same(path, 'attributes', xattrsText(a), xattrsText(b));
    if (a.stat.isSymbolicLink()) {
      this.#same(path, 'link target', readLink(a), readLink(b));
    } else if (a.stat.isBlockDevice() || a.stat.isCharacterDevice()) {
      this.#same(path, 'device', `${a.stat.rdev}`, `${b.stat.rdev}`);
    } else if (a.stat.isFile() || a.stat.isDirectory()) {
      this.#same(path, 'inode flags', flagsText(a), flagsText(b));
    }
  }

  #compareFiles(path: ByteString, a: Seen, b: Seen): void {
    if (!this.#same(path, 'size', `${a.stat.size}`, `${b.stat.size}`) || a.stat.size === 0n) return;
    const fdA = openSync(at(a), READ);
    try {
      const fdB = openSync(at(b), READ);
      try {
        this.#compareContent(path, a.stat, fdA, b.stat, fdB);
      } finally {
        closeSync(fdB);
      }
    } finally {
      closeSync(fdA);
    }
  }

  /** A range that is a hole in both is equal; everything else is read. */
  #compareContent(path: ByteString, statA: BigIntStats, fdA: number, statB: BigIntStats, fdB: number): void {
    const size = Number(statA.size);
    const holesA = holesOf(fdA, size, statA);
    const holesB = holesOf(fdB, size, statB);
    if (this.#options.holes !== false) this.#same(path, 'holes', rangesText(holesA), rangesText(holesB));
    for (let position = 0; position < size;) {
      const skip = Math.min(endOfHole(holesA, position), endOfHole(holesB, position));
      if (skip > position) {
        position = skip;
        continue;
      }
      const length = Math.min(CONTENT_BYTES, size - position);
      readFully(fdA, this.#bufferA, length, position);
      readFully(fdB, this.#bufferB, length, position);
      if (this.#bufferA.compare(this.#bufferB, 0, length, 0, length) !== 0) {
        this.#differ(path, `content differs in the MiB at ${position}`);
        return;
      }
      position += length;
    }
  }

  #same(path: ByteString, what: string, a: string, b: string): boolean {
    if (a !== b) this.#differ(path, `${what} ${shorten(a)} ≠ ${shorten(b)}`);
    return a === b;
  }

  #differ(path: ByteString, what: string): void {
    this.differences.push(`${path === '' ? '.' : displayPath(path)}: ${what}`);
  }
}

const READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (process.geteuid?.() === 0 ? O_NOATIME : 0);

function namesIn(dirFd: number): ByteString[] {
  return readdirSync(`/proc/self/fd/${dirFd}`, { encoding: 'buffer' }).map(fromBytes);
}

/** The entry's path by way of its open directory, short however deep it lies. */
function at({ dirFd, name }: { dirFd: number; name: ByteString }): Buffer {
  return toBytes(`/proc/self/fd/${dirFd}/${name}`);
}

function seen(dirFd: number, name: ByteString): Seen {
  return { dirFd, name, stat: lstatSync(at({ dirFd, name }), { bigint: true }) };
}

function typeOf({ mode }: BigIntStats): string {
  return (mode & 0o170000n).toString(8);
}

function octal(mode: bigint): string {
  return (mode & 0o7777n).toString(8);
}

function readLink(entry: Seen): string {
  return displayPath(fromBytes(readlinkSync(at(entry), { encoding: 'buffer' })));
}

function firstName(side: Side, path: ByteString, stat: BigIntStats): string {
  if (stat.nlink === 1n) return displayPath(path);
  const key = `${stat.dev}:${stat.ino}`;
  const first = side.firstNames.get(key);
  if (first === undefined) side.firstNames.set(key, path);
  return displayPath(first ?? path);
}

function xattrsText({ dirFd, name }: Seen): string {
  const read = readXattrsAt(dirFd, name);
  if (typeof read === 'number') return `errno ${-read}`;
  const failed = read.failed.map((failure) => `${displayPath(failure.name)} unreadable`);
  return [...read.xattrs.map((xattr) => `${displayPath(xattr.name)}=${xattr.value.toString('hex')}`), ...failed].join(
    ' ',
  );
}

function flagsText(entry: Seen): string {
  let fd: number;
  try {
    fd = openSync(at(entry), READ);
  } catch {
    return 'unreadable';
  }
  try {
    const flags = getInodeFlags(fd);
    return (flags < 0 ? 0 : flags & RESTORABLE_FLAGS).toString(16);
  } finally {
    closeSync(fd);
  }
}

interface Range {
  readonly from: number;
  readonly to: number;
}

function holesOf(fd: number, size: number, stat: BigIntStats): Range[] {
  return extentsOf(fd, size, Number(stat.blocks) * 512)
    .filter(({ kind }) => kind === 'hole')
    .map(({ offset, length }) => ({ from: offset, to: offset + length }));
}

/** `position` itself when it is in no hole. */
function endOfHole(holes: readonly Range[], position: number): number {
  return holes.find(({ from, to }) => from <= position && position < to)?.to ?? position;
}

function rangesText(ranges: readonly Range[]): string {
  return ranges.map(({ from, to }) => `${from}–${to}`).join(' ');
}

function readFully(fd: number, buffer: Buffer, length: number, position: number): void {
  for (let done = 0; done < length;) {
    const part = readSync(fd, buffer, done, length - done, position + done);
    if (part === 0) throw new Error('a file shrank while it was compared');
    done += part;
  }
}

function shorten(text: string): string {
  return text.length <= 120 ? text : `${text.slice(0, 117)}…`;
}
