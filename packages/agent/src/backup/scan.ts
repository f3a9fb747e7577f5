// The scan: walks the source in manifest order, merges it with the previous manifest, and gives every entry to the assembler,
// with content read only where something changed.
//
// Hazard: a file that changed and is taken for unchanged is lost without anybody knowing. So unchanged means that all 64 bytes
// of the stat record are equal *and* that its ctime is older than the previous backup's start by more than two seconds: a
// change within the clock's grain would leave no other trace.
//
// Invariants (scan.test.ts):
//   C1 an entry is kept unread only under the rule above;
//   C2 what can't be read, or vanished, is named, and the snapshot is partial where something is missing from it;
//   C3 memory doesn't grow with the source.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { comparePaths } from '@holdfast/shared/base/byte-string';
import { type Entry, newEntry, type Xattrs } from '@holdfast/shared/format/manifest/entry';
import { MAX_INLINE_XATTR_BYTES, MAX_PATH_BYTES } from '@holdfast/shared/format/manifest/limits';
import {
  STAT_BYTES,
  sameStat,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  statCtimeNs,
  statCtimeSeconds,
  statMode,
  statNlink,
  statSize,
  writeStatSize,
} from '@holdfast/shared/format/manifest/stat-record';
import { encodeXattrs, xattrBytes } from '@holdfast/shared/format/manifest/xattrs';
import { tagOf } from '@holdfast/shared/format/tag';
import type { DomainKeys } from '@holdfast/shared/format/keys';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { Warnings } from '../jobs/warnings.ts';
import { describeErrno, EINVAL, ENOENT } from '../os/errno.ts';
import type { CapturedMetadata } from '../scan/capture.ts';
import type { OpenedFile } from '../scan/opened-file.ts';
import type { Walk } from '../scan/walk.ts';
import type { Assembler, ChunkSlot } from './assembler.ts';
import type { ContentReader, PreviousContent } from './content-reader.ts';
import type { DeadBytes } from './dead-bytes.ts';
import { linkGroup, LinkedInodes } from './linked-inodes.ts';
import { isCacheMiss } from './node-cache.ts';
import type { PreviousCursor } from './previous-cursor.ts';

export type ScanWarning =
  | 'changed-while-read'
  | 'vanished'
  | 'unreadable'
  | 'replaced'
  | 'metadata'
  | 'left-out'
  /** A path that the source names is not there. */
  | 'missing'
  /** The snapshot before had files, and this one has none. */
  | 'emptied';

export interface ScanDeps {
  readonly walk: Walk;
  readonly previous: PreviousCursor;
  readonly assembler: Assembler;
  readonly reader: ContentReader;
  readonly dead: DeadBytes;
  readonly keys: DomainKeys;
  readonly warnings: Warnings<ScanWarning>;
  /** Start of the backup that made the previous manifest, ms; undefined: read everything again. */
  readonly unchangedBeforeMs: number | undefined;
  /** The previous manifest has an entry here that the source has no longer. */
  readonly onRemoved?: (path: ByteString) => void;
  /** A file that is taken anew has further names, which a watcher doesn't report; may throw to end the scan. */
  readonly onLinkedFile?: () => void;
  /** Called for every entry; may throw to end the scan. */
  readonly onEntry: (scan: Scan) => void;
}

/** ctimes closer than this to the previous backup's start tell nothing. */
const CLOCK_GRAIN_MS = 2_000;
/** Entries that may wait for the open bundle before it is closed early, so that memory stays bounded in a tree of empty files. */
const MOST_WAITING = 16_384;

/** Of a path that is too long to be shown. */
const SHOWN_PATH_BYTES = 1024;
const REPLACED = 'became something else while the backup looked at it; the next backup takes it';

export class Scan {
  readonly #deps: ScanDeps;
  readonly #linked = new LinkedInodes();
  readonly #oldEnoughMs: number;
  files = 0;
  /** Regular files of the previous manifest that the cursor went past. */
  previousFiles = 0;
  filesChanged = 0;
  bytes = 0;

  constructor(deps: ScanDeps) {
    this.#deps = deps;
    this.#oldEnoughMs = (deps.unchangedBeforeMs ?? Number.NEGATIVE_INFINITY) - CLOCK_GRAIN_MS;
  }

  get currentPath(): ByteString {
    return this.#deps.walk.path;
  }

  /** To the end of the source. The assembler then holds at most what is still being sealed. */
  run(): void {
    const { walk, previous, assembler, reader, onEntry } = this.#deps;
    while (walk.next()) {
      this.#passRemoved(walk.path);
      if (this.#isBeyondPaths()) continue;
      if (previous.valid && previous.path === walk.path) {
        if (this.#unchanged()) {
          if ((statMode(walk.stat) & S_IFMT) === S_IFREG) this.#countFile(statSize(walk.stat));
          assembler.keep(previous.leaf, previous.index);
        } else {
          this.#take(true);
        }
        this.#passPrevious();
      } else {
        this.#take(false);
      }
      if (reader.bundleOpen && assembler.waiting > MOST_WAITING) reader.closeBundle();
      onEntry(this);
    }
    this.#passRemoved(undefined);
    reader.closeBundle();
  }

  /** Any user can make a path that no manifest holds: it is named, and so is nothing beneath it. */
  #isBeyondPaths(): boolean {
    const { walk, warnings } = this.#deps;
    const { path } = walk;
    if (path.length <= MAX_PATH_BYTES) return false;
    warnings.add(
      'unreadable',
      path.slice(0, SHOWN_PATH_BYTES),
      `its path has ${path.length} bytes, more than ${MAX_PATH_BYTES}`,
    );
    walk.skipChildren();
    return true;
  }

  /** Goes past what the previous manifest had before `path` and the source no longer has. */
  #passRemoved(path: ByteString | undefined): void {
    const { previous, dead, onRemoved } = this.#deps;
    const isBefore = (other: ByteString) => path === undefined || comparePaths(other, path) < 0;
    while (previous.valid && isBefore(previous.path)) {
      dead.drop(previous.leaf.content(previous.index));
      onRemoved?.(previous.path);
      this.#passPrevious();
    }
  }

  #passPrevious(): void {
    const { previous } = this.#deps;
    if ((statMode(previous.leaf.stats, previous.index * STAT_BYTES) & S_IFMT) === S_IFREG) this.previousFiles++;
    previous.advance();
  }

  #unchanged(): boolean {
    const { walk, previous, dead } = this.#deps;
    const at = previous.index * STAT_BYTES;
    if (!sameStat(walk.stat, 0, previous.leaf.stats, at)) return false;
    const ctimeMs = statCtimeSeconds(walk.stat) * 1000 + Math.ceil(statCtimeNs(walk.stat) / 1e6);
    if (ctimeMs >= this.#oldEnoughMs) return false;
    if (!dead.repacksAny) return true;
    const content = previous.leaf.content(previous.index);
    return !(
      content.kind === 'segments' &&
      content.segments.some((segment) => segment.kind === 'data' && dead.repacks(segment.chunk))
    );
  }

  #countFile(size: number): void {
    this.files++;
    this.bytes += size;
  }

  /** Takes the walk's entry anew. `known`: the previous manifest's cursor is on the same path. */
  #take(known: boolean): void {
    const { walk } = this.#deps;
    if ((statMode(walk.stat) & S_IFMT) === S_IFREG) {
      this.#takeFile(known);
      return;
    }
    const captured = walk.capture();
    if (!this.#noteMissingTarget(captured.targetResult)) {
      const { entry, xattrs } = this.#entryOf(captured, Buffer.from(walk.stat));
      this.#deps.assembler.add(entry, this.#knownInside(known), { xattrs });
    }
    if (known) this.#dropOld();
  }

  /** A symlink is its target: one that went away, or was swapped, between two looks is no entry. */
  #noteMissingTarget(result: number): boolean {
    if (result === 0) return false;
    const { walk, warnings } = this.#deps;
    if (result === -ENOENT) warnings.add('vanished', walk.path, 'gone before it could be read');
    else if (result === -EINVAL) warnings.add('replaced', walk.path, REPLACED);
    else warnings.add('unreadable', walk.path, `its target can't be read: ${describeErrno(-result)}`);
    return true;
  }

  #takeFile(known: boolean): void {
    const { walk, warnings } = this.#deps;
    const opened = walk.openFile();
    switch (opened.kind) {
      case 'opened':
        try {
          this.#takeOpened(opened.file, known);
        } finally {
          opened.file.close();
        }
        return;
      case 'vanished':
        warnings.add('vanished', walk.path, 'gone before it could be read');
        break;
      case 'replaced':
        warnings.add('replaced', walk.path, REPLACED);
        break;
      case 'unreadable':
        warnings.add('unreadable', walk.path, opened.error.message);
    }
    if (known) this.#dropOld();
  }

  #takeOpened(file: OpenedFile, known: boolean): void {
    const { walk, assembler, reader, warnings, onLinkedFile } = this.#deps;
    if (statNlink(file.stat) > 1) onLinkedFile?.();
    const captured = walk.capture(file);
    const shared = this.#linked.take(walk.fileSystem, file.stat);
    if (shared !== undefined) {
      const { entry, xattrs } = this.#entryOf(captured, Buffer.from(file.stat));
      this.#countFile(statSize(file.stat));
      assembler.add(entry, this.#knownInside(known), { xattrs, content: shared });
      return;
    }

    const before = known ? this.#previousContent() : undefined;
    const stat = Buffer.from(file.stat);
    const { entry, xattrs } = this.#entryOf(captured, stat);
    const open = assembler.openFile(xattrs);
    try {
      const { size, fuzzy, kept } = reader.read(file, open, before);
      if (known && !kept) this.#dropOld();
      // What it was when it was read, which may be later than when it was opened.
      file.stat.copy(stat);
      writeStatSize(stat, 0, size);
      if (fuzzy)
        warnings.add(
          'changed-while-read',
          walk.path,
          'changed each time it was read: its content may be of several moments',
        );
      open.complete(entry, this.#knownInside(known));
      this.#countFile(size);
      this.filesChanged++;
      this.#linked.remember(walk.fileSystem, file.stat, open.shared);
    } catch (error) {
      const failure = toHoldfastError(error);
      // What is no fault of the file must not cost the snapshot the file: the cache lacks a node, or something here is wrong.
      if (failure.code === 'CANCELLED' || failure.code === 'INTERNAL' || isCacheMiss(error)) throw error;
      open.abandon();
      warnings.add('unreadable', walk.path, failure.message);
    }
    assembler.drain();
  }

  #previousContent(): PreviousContent | undefined {
    const { previous } = this.#deps;
    const at = previous.index * STAT_BYTES;
    if ((statMode(previous.leaf.stats, at) & S_IFMT) !== S_IFREG) return undefined;
    return { content: previous.leaf.content(previous.index), size: statSize(previous.leaf.stats, at) };
  }

  #dropOld(): void {
    this.#deps.dead.drop(this.#deps.previous.leaf.content(this.#deps.previous.index));
  }

  #knownInside(known: boolean): boolean {
    return known && this.#deps.previous.knownInside;
  }

  /** `stat` is kept by the entry. */
  #entryOf(captured: CapturedMetadata, stat: Buffer): { entry: Entry; xattrs: ChunkSlot | undefined } {
    const { walk, warnings } = this.#deps;
    for (const problem of captured.problems) warnings.add('metadata', walk.path, problem);
    const { xattrs, slot } = this.#xattrsOf(captured);
    const linked = statNlink(stat) > 1 && (statMode(stat) & S_IFMT) !== S_IFDIR;
    const entry = newEntry(walk.path, stat, {
      user: captured.user,
      group: captured.group,
      linkTarget: captured.linkTarget,
      xattrs,
      inodeFlags: captured.inodeFlags,
      hardLinkGroup: linked ? linkGroup(walk.fileSystem, statMode(stat)) : 0,
    });
    return { entry, xattrs: slot };
  }

  #xattrsOf(captured: CapturedMetadata): { xattrs: Xattrs; slot: ChunkSlot | undefined } {
    if (xattrBytes(captured.xattrs) <= MAX_INLINE_XATTR_BYTES) {
      return { xattrs: { kind: 'inline', list: captured.xattrs }, slot: undefined };
    }
    const bytes = encodeXattrs(captured.xattrs);
    const slot = this.#deps.reader.sealBytes(bytes);
    const tag = tagOf(this.#deps.keys, bytes);
    const chunk = { id: Buffer.alloc(0), proof: Buffer.alloc(0), plainLength: bytes.length };
    return { xattrs: { kind: 'chunk', segment: { kind: 'data', chunk, offset: 0, length: bytes.length, tag } }, slot };
  }
}
