// Entries that come in any order and leave in manifest order, each once.
//
// A base backup's tar is in the order of the server's directories, a manifest in the order of paths. Entries (paths and
// metadata, no content) are collected up to a bound, then sorted and written to a file; at the end the files are merged.
//
// Hazard: a source with millions of tables must not take the agent's memory. Invariants (sorted-entries.property.test.ts):
//   E1 what comes out is what went in, in the order of `comparePaths`; a path that came twice is refused;
//   E2 at most `bound` encoded bytes are in memory, and at most MOST_RUNS files are open;
//   E3 no file is left behind, whatever happened.

import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { comparePaths, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Entry } from '@holdfast/shared/format/manifest/entry';
import { shortPath } from '@holdfast/shared/format/manifest/paths';

const BOUND_BYTES = 4 * 1024 * 1024;
/** Further runs are first merged into one. */
const MOST_RUNS = 32;
const BUFFER_BYTES = 64 * 1024;
/** An entry in memory that is not in its bytes: path, object, place in a list. */
const OVERHEAD_BYTES = 200;

interface Held {
  readonly path: ByteString;
  readonly encoded: Buffer;
}

export class SortedEntries {
  readonly #directory: string;
  readonly #bound: number;
  #held: Held[] = [];
  #heldBytes = 0;
  #runs: Run[] = [];
  #files: string | undefined;
  #serial = 0;

  /** `directory`: files that don't fit in memory get a folder of their own in it, until `close`. */
  constructor(directory: string, bound = BOUND_BYTES) {
    this.#directory = directory;
    this.#bound = bound;
  }

  add(entry: Entry): void {
    // What the serializer gives has room for twice as much, in a block of its own.
    const encoded = Buffer.from(serialize(entry));
    this.#held.push({ path: entry.path, encoded });
    this.#heldBytes += encoded.length + entry.path.length + OVERHEAD_BYTES;
    if (this.#heldBytes >= this.#bound) this.#spill();
  }

  /** Whether anything went to a file. */
  get spilled(): boolean {
    return this.#runs.length > 0;
  }

  /** All entries in order. Throws INVALID_ARGUMENT for a path that was given twice. Once; nothing may be added afterwards. */
  *inOrder(): Generator<Entry, void, undefined> {
    let last: ByteString | undefined;
    for (const { path, encoded } of merged([...this.#runs, this.#sortedHeld().values()])) {
      if (path === last) throw new HoldfastError('INVALID_ARGUMENT', `"${shortPath(path)}" was written twice`);
      last = path;
      yield deserialize(encoded) as Entry;
    }
  }

  close(): void {
    for (const run of this.#runs) run.close();
    this.#runs = [];
    if (this.#files !== undefined) rmSync(this.#files, { recursive: true, force: true });
    this.#files = undefined;
  }

  #sortedHeld(): Held[] {
    return this.#held.toSorted((a, b) => comparePaths(a.path, b.path));
  }

  #spill(): void {
    const run = this.#write(this.#sortedHeld());
    this.#held = [];
    this.#heldBytes = 0;
    if (this.#runs.length + 1 < MOST_RUNS) {
      this.#runs.push(run);
      return;
    }
    const old = [...this.#runs, run];
    this.#runs = [this.#write(merged(old))];
    for (const one of old) one.close();
  }

  #write(entries: Iterable<Held>): Run {
    this.#files ??= freshDirectory(join(this.#directory, 'entries'));
    const path = join(this.#files, String(this.#serial++));
    const fd = openSync(path, 'wx+', 0o600);
    // It is gone when it is closed, whatever ends this process.
    rmSync(path);
    let pending: Buffer[] = [];
    let pendingBytes = 0;
    const flush = (): void => {
      const bytes = Buffer.concat(pending);
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      pending = [];
      pendingBytes = 0;
    };
    for (const { path: entryPath, encoded } of entries) {
      const head = Buffer.alloc(HEAD_BYTES);
      head.writeUInt32LE(entryPath.length, 0);
      head.writeUInt32LE(encoded.length, 4);
      pending.push(head, Buffer.from(entryPath, 'latin1'), encoded);
      pendingBytes += HEAD_BYTES + entryPath.length + encoded.length;
      if (pendingBytes >= BUFFER_BYTES) flush();
    }
    flush();
    return new Run(fd);
  }
}

/** Without what an agent that was killed left there. */
function freshDirectory(path: string): string {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { mode: 0o700 });
  return path;
}

const HEAD_BYTES = 8;

/** A sorted file, read once from its start. */
class Run implements Iterator<Held> {
  readonly #fd: number;
  #buffer = Buffer.alloc(0);
  #position = 0;
  #closed = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  next(): IteratorResult<Held, undefined> {
    if (!this.#fill(HEAD_BYTES)) return { done: true, value: undefined };
    const pathBytes = this.#buffer.readUInt32LE(0);
    const encodedBytes = this.#buffer.readUInt32LE(4);
    const length = HEAD_BYTES + pathBytes + encodedBytes;
    if (!this.#fill(length)) throw new HoldfastError('INTERNAL', 'a file of sorted entries is cut short');
    const path = this.#buffer.toString('latin1', HEAD_BYTES, HEAD_BYTES + pathBytes);
    const encoded = Buffer.from(this.#buffer.subarray(HEAD_BYTES + pathBytes, length));
    this.#buffer = this.#buffer.subarray(length);
    return { done: false, value: { path, encoded } };
  }

  close(): void {
    if (!this.#closed) closeSync(this.#fd);
    this.#closed = true;
  }

  /** Whether `length` bytes are in the buffer. */
  #fill(length: number): boolean {
    while (this.#buffer.length < length) {
      const more = Buffer.allocUnsafe(Math.max(BUFFER_BYTES, length));
      const got = readSync(this.#fd, more, 0, more.length, this.#position);
      if (got === 0) return false;
      this.#position += got;
      this.#buffer = Buffer.concat([this.#buffer, more.subarray(0, got)]);
    }
    return true;
  }
}

/** Few sources, so the smallest head is looked for one by one. */
function* merged(sources: readonly Iterator<Held, undefined>[]): Generator<Held, void, undefined> {
  const heads = sources.map((source) => ({ source, step: source.next() }));
  for (;;) {
    let first: (typeof heads)[number] | undefined;
    for (const head of heads) {
      if (head.step.done === true) continue;
      if (first === undefined || comparePaths(head.step.value.path, first.step.value!.path) < 0) first = head;
    }
    if (first?.step.done !== false) return;
    const { value } = first.step;
    first.step = first.source.next();
    yield value;
  }
}
