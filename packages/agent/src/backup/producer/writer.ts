// SnapshotWriter over the backup's seal threads: entries go to the sorter as soon as all of their chunks have ids.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { BUNDLE_FILE_LIMIT_BYTES } from '@holdfast/shared/format/bundle';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { type Entry, newEntry } from '@holdfast/shared/format/manifest/entry';
import type { SyncNodeStore } from '@holdfast/shared/format/manifest/node-store';
import { checkPath } from '@holdfast/shared/format/manifest/paths';
import {
  encodeStat,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  statSize,
  statType,
} from '@holdfast/shared/format/manifest/stat-record';
import { isPageSize } from '@holdfast/shared/format/page-map';
import type { Warnings } from '../../jobs/warnings.ts';
import type { Assembler, OpenFile } from '../assembler.ts';
import type { Bundler } from '../bundler.ts';
import type { ChunkCutter } from '../chunk-cutter.ts';
import { PreviousSegments } from '../previous-segments.ts';
import type { Slabs } from '../slabs.ts';
import type { EntryMetadata, OpenStream, SnapshotWriter } from '../snapshot-writer.ts';
import { StreamWriter } from './stream-writer.ts';
import type { PageChunks } from './pages/page-chunks.ts';
import { PageStream, WINDOW_BYTES } from './pages/page-stream.ts';
import { type PageTagStore, PreviousPages } from './pages/previous-pages.ts';
import type { PreviousEntries } from './previous-entries.ts';
import type { ProducerProgress } from './progress.ts';

/** Entries that may wait for the open bundle before it is closed early. */
const MOST_WAITING = 4_096;

export interface EntryWriterDeps {
  /** Entries of small files and of what has no content; and of files that are written as streams. */
  readonly small: Assembler;
  readonly large: Assembler;
  readonly bundler: Bundler;
  readonly cutter: ChunkCutter;
  readonly chunks: Slabs;
  readonly nodes: SyncNodeStore;
  readonly previous: PreviousEntries;
  readonly keys: DomainKeys;
  readonly pageTags: PageTagStore;
  readonly pageChunks: PageChunks;
  readonly warnings: Warnings;
  readonly progress: ProducerProgress;
  readonly throwIfCancelled: () => void;
}

export class EntryWriter implements SnapshotWriter {
  readonly #deps: EntryWriterDeps;
  #open: ByteString | undefined;
  /** Of all page files. */
  #pageCount = 0;
  /** Of page files; the first one makes it. */
  #window: Buffer | undefined;

  constructor(deps: EntryWriterDeps) {
    this.#deps = deps;
  }

  /** Pages of all page files so far. */
  get pageCount(): number {
    return this.#pageCount;
  }

  directory(path: ByteString, metadata: EntryMetadata): void {
    this.#begin(path);
    this.#deps.small.add(entryOf(path, S_IFDIR, metadata, 0), false);
  }

  symlink(path: ByteString, target: ByteString, metadata: EntryMetadata): void {
    this.#begin(path);
    const entry = entryOf(path, S_IFLNK, metadata, target.length);
    this.#deps.small.add({ ...entry, linkTarget: target }, false);
  }

  smallFile(path: ByteString, metadata: EntryMetadata, bytes: Uint8Array): void {
    this.#begin(path);
    const { small, bundler, previous, progress } = this.#deps;
    const { length } = bytes;
    if (length > BUNDLE_FILE_LIMIT_BYTES) {
      throw new HoldfastError('INVALID_ARGUMENT', `a small file has at most 256 KiB, not ${length} bytes`);
    }
    const file = small.openFile();
    if (length > 0) {
      const room = bundler.room(length).subarray(0, length);
      room.set(bytes);
      bundler.take(room, file, previous.find(path)?.content);
    }
    file.complete(entryOf(path, S_IFREG, metadata, length), false);
    small.drain();
    if (bundler.open && small.waiting > MOST_WAITING) bundler.close();
    progress.content(path, length, length);
    progress.file(path);
  }

  stream(path: ByteString): OpenStream {
    this.#begin(path);
    const { nodes, cutter, chunks, large, progress, throwIfCancelled } = this.#deps;
    const previous = this.#previousFile(path);
    const before = previous === undefined ? undefined : new PreviousSegments(nodes, previous.content, previous.size);
    cutter.reset();
    const file = large.openFile();
    const onEnd = (metadata: EntryMetadata | undefined, size: number): void => this.#end(path, file, metadata, size);
    this.#open = path;
    return new StreamWriter(path, file, { cutter, chunks, before, progress, throwIfCancelled, onEnd });
  }

  pages(path: ByteString, pageBytes: number): OpenStream {
    this.#begin(path);
    if (!isPageSize(pageBytes)) {
      throw new HoldfastError(
        'INVALID_ARGUMENT',
        `a page has 512 to 65,536 bytes and a power of two, not ${pageBytes}`,
      );
    }
    const { keys, nodes, pageTags, pageChunks: chunks, large, progress, throwIfCancelled } = this.#deps;
    const previous = this.#previousFile(path);
    const before = previous === undefined ? undefined : new PreviousPages(nodes, pageTags, previous, pageBytes);
    const window = (this.#window ??= Buffer.allocUnsafeSlow(WINDOW_BYTES));
    const file = large.openFile();
    const onEnd = (metadata: EntryMetadata | undefined, size: number): void => {
      this.#pageCount += Math.ceil(size / pageBytes);
      this.#end(path, file, metadata, size);
    };
    chunks.begin(pageBytes);
    this.#open = path;
    return new PageStream(path, file, { keys, pageBytes, chunks, before, window, progress, throwIfCancelled, onEnd });
  }

  warn(code: string, path: ByteString, message: string): void {
    this.#deps.warnings.add(code, path, message);
  }

  /** Nothing may be written afterwards. Throws INVALID_ARGUMENT while a file is open. */
  finish(): void {
    this.#mustBeClosed();
    this.#deps.bundler.close();
    this.#deps.pageChunks.close();
  }

  #previousFile(path: ByteString) {
    const entry = this.#deps.previous.find(path);
    if (entry === undefined || statType(entry.stat) !== 'file') return undefined;
    return { content: entry.content, size: statSize(entry.stat) };
  }

  /** Without metadata the file is left out. */
  #end(path: ByteString, file: OpenFile, metadata: EntryMetadata | undefined, size: number): void {
    this.#open = undefined;
    if (metadata === undefined) file.abandon();
    else {
      file.complete(entryOf(path, S_IFREG, metadata, size), false);
      this.#deps.progress.file(path);
    }
    this.#deps.large.drain();
  }

  #begin(path: ByteString): void {
    this.#deps.throwIfCancelled();
    this.#mustBeClosed();
    checkPath(path);
  }

  #mustBeClosed(): void {
    if (this.#open !== undefined) {
      throw new HoldfastError('INVALID_ARGUMENT', `"${this.#open}" is still open: one file is written at a time`);
    }
  }
}

function entryOf(path: ByteString, type: number, metadata: EntryMetadata, size: number): Entry {
  const { mode, uid, gid, user, group, mtimeMs } = metadata;
  const seconds = Math.floor(mtimeMs / 1000);
  const ns = Math.round((mtimeMs - seconds * 1000) * 1e6) % 1e9;
  const stat = encodeStat({
    mode: type | (mode & PERMISSIONS),
    uid,
    gid,
    nlink: 1,
    size,
    ino: 0n,
    mtimeSeconds: seconds,
    mtimeNs: ns,
    ctimeSeconds: seconds,
    ctimeNs: ns,
    rdevMajor: 0,
    rdevMinor: 0,
  });
  return newEntry(path, stat, { user, group });
}

const PERMISSIONS = 0o7777;
