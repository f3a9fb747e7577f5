// The walk of a source: every entry beneath a root, in manifest order, with its stat record.
//
// Hazard: the tree changes under the walk, is deeper than any path may be long, leads in circles through bind mounts, and
// has directories that can't be read. The walk goes by open directories, never by whole paths; what it opens it looks
// at again; it leaves out what it must, says so through `onNote`, and goes on.
//
// Invariants (walk.test.ts, walk.property.test.ts):
//   W1 entries come in manifest order (comparePaths), each once, whatever order the file system lists names in (35);
//   W2 no symbolic link is followed, except one that stands at the root path itself;
//   W3 at most OPEN_DIRECTORIES descriptors are open, whatever the depth (25);
//   W4 only the root can make it fail: everything else is a note (22, 23);
//   W5 a directory is never visited beneath itself (36).
//
// Memory holds the names of the directories from the root to the current one. The bookkeeping of open directories is in
// open-directories.ts, decisions about mounts in mount-policy.ts.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { S_IFDIR, S_IFMT, STAT_BYTES, statMode } from '@holdfast/shared/format/manifest/stat-record';
import { CName } from '../os/c-name.ts';
import { closeFd } from '../os/descriptors.ts';
import { DirectoryListing, sortNames } from '../os/directory-listing.ts';
import { describeErrno, ELOOP, ENOENT, ENOTDIR, ESTALE, succeed } from '../os/errno.ts';
import { O_DIRECTORY, O_NOFOLLOW } from '../os/flags.ts';
import { OwnerNames } from '../os/owner-names.ts';
import { Statx, wordsOf } from '../os/statx.ts';
import { isCacheDirectory, CACHE_TAG } from './cache-directory.ts';
import { captureAt, captureOpened, type CapturedMetadata } from './capture.ts';
import type { ExcludeRules } from './exclude-rules.ts';
import type { WalkNoteKind, WalkOptions } from './walk-options.ts';
import { MountPolicy, type MountVerdict } from './mount-policy.ts';
import { OpenDirectories, type Directory } from './open-directories.ts';
import { openForReading, openQuietly, type OpenOutcome } from './open-outcome.ts';
import type { OpenedFile } from './opened-file.ts';
import { EVERYTHING, selectPaths, type SelectedPaths } from './selected-paths.ts';
import { openRoot } from './walk-root.ts';

const listing = new DirectoryListing();

export type { WalkNote, WalkNoteKind, WalkOptions } from './walk-options.ts';

/** An entry that is given out later than it was looked at. */
interface Waiting {
  readonly path: ByteString;
  readonly name: ByteString;
  readonly stat: Buffer;
  readonly device: number;
  /** Index of the directory that it stands in. */
  readonly parent: number;
}

/**
 * A cursor: `next()` moves it to the next entry; the fields describe that entry until the next call. Synchronous, for a
 * worker thread. `close()` when done, or when given up.
 */
export class Walk {
  /** Relative to the root; '' is the root itself. */
  path: ByteString = '';
  /** The stat record (format/manifest/stat-record.ts), 64 bytes, overwritten by the next call: copy what is kept. */
  readonly stat: Buffer = Buffer.from(new ArrayBuffer(STAT_BYTES));
  /** Number of the entry's file system, below 2^41: 0 for the root's, others the same in every walk (mount-policy.ts). */
  fileSystem = 0;

  readonly #options: WalkOptions;
  readonly #rules: ExcludeRules | undefined;
  readonly #directories = new OpenDirectories();
  readonly #mounts: MountPolicy;
  readonly #owners = new OwnerNames();
  readonly #statx = new Statx();
  readonly #statWords = wordsOf(this.stat);
  readonly #cName = new CName();
  readonly #selected: SelectedPaths;
  /** Entries to be given out before the walk goes on. */
  #waiting: Waiting[] = [];
  /** Left-out directories that the walk is in, in search of what an include brings back. */
  #heldBack: Waiting[] = [];
  /** Whether the current entry's children come next, and are only looked at for what an include brings back. */
  #descend: 'no' | 'keep' | 'within' = 'no';
  #name: ByteString = '';
  #device = 0;
  #parent = 0;
  /** The current entry's own descriptor, once something needed it. */
  #ownFd = -1;

  /** Throws NOT_FOUND, NOT_ALLOWED, SYSTEM_CALL_FAILED when the root can't be looked at. */
  constructor(options: WalkOptions) {
    this.#options = options;
    this.#rules = options.rules?.decideAnything === true ? options.rules : undefined;
    this.#mounts = new MountPolicy(options.oneFileSystem ?? false);
    this.#selected = options.only === undefined ? EVERYTHING : selectPaths(options.only);
    const { parentFd, name } = openRoot(options.root);
    this.#directories.start(parentFd, name);
    try {
      succeed(this.#statx.at(parentFd, this.#cName.of(name)), 'statx', 'look at', options.root);
      this.#mounts.start(this.#statx.device);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Moves on; false at the end. */
  next(): boolean {
    if (this.#waiting.length > 0) return this.#takeWaiting();
    if (this.#descend !== 'no') this.#enter();
    const statx = this.#statx;
    for (;;) {
      const directory = this.#directories.top;
      if (directory === undefined) return false;
      const name = directory.names[directory.next];
      if (name === undefined) {
        this.#leave();
        continue;
      }
      directory.next++;
      const isRoot = this.#directories.count === 1;
      const path = isRoot ? '' : directory.prefix + name;
      const result = statx.at(directory.fd, this.#cName.of(name));
      if (result < 0) {
        this.#noteFailure(path, result);
        continue;
      }
      this.#setCurrent(path, name);
      if (this.#decide(directory, isRoot)) return true;
    }
  }

  /** The current entry's children are not visited. */
  skipChildren(): void {
    this.#descend = 'no';
    if (!this.#currentIsAbove()) return;
    this.#waiting = [];
    this.#directories.exhaustFrom(this.#parent + 1);
  }

  /** Opens the current entry, a regular file, for reading. Whoever gets the file closes it. */
  openFile(): OpenOutcome {
    return openForReading(this.#directories.fdOf(this.#parent), this.#name, this.stat, this.#device, this.path);
  }

  /** Everything about the current entry besides its stat record. Of a regular file give the opened file, or its inode flags are missing. */
  capture(file?: OpenedFile): CapturedMetadata {
    if (file !== undefined) return captureOpened(file.fd, file.stat, this.#owners);
    if ((statMode(this.stat) & S_IFMT) === S_IFDIR) {
      if (this.#currentIsAbove()) {
        return captureOpened(this.#directories.fdOf(this.#parent + 1), this.stat, this.#owners);
      }
      if (this.#openOwn() >= 0) return captureOpened(this.#ownFd, this.stat, this.#owners);
    }
    return captureAt(this.#directories.fdOf(this.#parent), this.#name, this.stat, this.#owners);
  }

  close(): void {
    this.#closeOwn();
    this.#waiting = [];
    this.#descend = 'no';
    this.#directories.closeAll();
  }

  /** Looks at what statx found: true when it is an entry, which then is the current one. */
  #decide(directory: Directory, isRoot: boolean): boolean {
    const isDirectory = (this.#statx.mode & S_IFMT) === S_IFDIR;
    this.#device = this.#statx.device;
    this.#parent = this.#directories.count - 1;
    this.#descend = 'no';
    const decision = this.#rules === undefined ? 'keep' : this.#rules.decide(this.path, isDirectory);
    if (decision === 'leave-out') return false;

    const enters = isRoot || this.#device === directory.device || this.#mayEnter(this.#mounts.judge(this.#device));
    if (!enters && !isDirectory) return false;
    this.#statx.writeRecord(this.#statWords);
    this.fileSystem = this.#mounts.numberOf(this.#device, this.path);
    if (isDirectory && enters) this.#descend = decision;
    if (decision === 'within') {
      if (enters) this.#enter();
      return false;
    }
    if (this.#heldBack.length > 0) this.#releaseHeldBack();
    return true;
  }

  /** Notes why not. */
  #mayEnter(verdict: MountVerdict): boolean {
    if (verdict.kind === 'enter') return true;
    this.#note(verdict.kind, this.path, verdict.kind === 'virtual-file-system' ? verdict.type : '');
    return false;
  }

  /** Makes the current entry, a directory, the one whose names are visited next. */
  #enter(): void {
    const mode = this.#descend;
    this.#descend = 'no';
    const fd = this.#openOwn();
    if (fd < 0) {
      this.#noteFailure(this.path, fd);
      return;
    }
    const parent = this.#directories.top!;
    const isRoot = this.#directories.count === 1;
    if (!this.#isSafeToEnter(fd, parent, isRoot)) {
      this.#closeOwn();
      return;
    }
    this.#ownFd = -1;
    const selected = isRoot ? this.#selected : selectedChild(parent, this.#name);
    const directory: Directory = {
      fd,
      name: this.#name,
      prefix: isRoot ? '' : `${this.path}/`,
      names: this.#listNames(fd, selected, isRoot),
      next: 0,
      device: this.#device,
      inode: this.#statx.inode,
      selected,
    };
    if (mode === 'within') this.#heldBack.push(this.#currentAsWaiting());
    this.#directories.push(directory);
  }

  /** What was opened is compared with what the entry says, and with the directories above. */
  #isSafeToEnter(fd: number, parent: Directory, isRoot: boolean): boolean {
    const result = this.#statx.of(fd);
    if (result < 0) {
      this.#noteFailure(this.path, result);
      return false;
    }
    if (this.#statx.device !== this.#device) {
      this.#note('replaced', this.path, '');
      return false;
    }
    if (this.#directories.has(this.#device, this.#statx.inode)) {
      this.#note('loop', this.path, '');
      return false;
    }
    return isRoot || this.#device === parent.device || this.#mayEnter(this.#mounts.judgeOpened(this.#device, fd));
  }

  #listNames(fd: number, selected: SelectedPaths, isRoot: boolean): readonly ByteString[] {
    const names: ByteString[] = selected.children === undefined ? [] : [...selected.children.keys()];
    if (selected.children === undefined) {
      const result = listing.read(fd, names);
      if (result < 0) this.#noteFailure(this.path, result);
    }
    sortNames(names);
    if (this.#options.excludeCaches === true && !isRoot && isCacheDirectory(fd)) {
      this.#note('cache-directory', this.path, '');
      return names.includes(CACHE_TAG) ? [CACHE_TAG] : [];
    }
    return names;
  }

  #leave(): void {
    const left = this.#directories.count - 1;
    if (this.#heldBack.at(-1)?.parent === left - 1) this.#heldBack.pop();
    if (this.#directories.pop()) return;
    const directory = this.#directories.top!;
    this.#note('replaced', directory.prefix.slice(0, -1), 'it was moved while its subdirectories were visited');
    this.#directories.exhaustFrom(this.#directories.count - 1);
  }

  /** An include brought back the current entry, so the directories that lead to it become entries first. */
  #releaseHeldBack(): void {
    this.#waiting = [...this.#heldBack, this.#currentAsWaiting()];
    this.#heldBack = [];
    this.#takeWaiting();
  }

  #takeWaiting(): true {
    const entry = this.#waiting.shift()!;
    this.#setCurrent(entry.path, entry.name);
    entry.stat.copy(this.stat);
    this.#device = entry.device;
    this.#parent = entry.parent;
    this.fileSystem = this.#mounts.numberOf(entry.device, entry.path);
    return true;
  }

  #currentAsWaiting(): Waiting {
    return {
      path: this.path,
      name: this.#name,
      stat: Buffer.from(this.stat),
      device: this.#device,
      parent: this.#parent,
    };
  }

  /** Whether the current entry is a directory that the walk is already in. */
  #currentIsAbove(): boolean {
    return this.#parent + 1 < this.#directories.count;
  }

  #setCurrent(path: ByteString, name: ByteString): void {
    if (this.#ownFd >= 0) this.#closeOwn();
    this.path = path;
    this.#name = name;
  }

  /** A descriptor of the current entry, a directory, kept until the next one; or −errno. */
  #openOwn(): number {
    if (this.#ownFd < 0) {
      const flags = O_DIRECTORY | O_NOFOLLOW;
      const fd = openQuietly(this.#directories.fdOf(this.#parent), this.#name, flags);
      if (fd < 0) return fd;
      this.#ownFd = fd;
    }
    return this.#ownFd;
  }

  #closeOwn(): void {
    if (this.#ownFd >= 0) closeFd(this.#ownFd);
    this.#ownFd = -1;
  }

  #noteFailure(path: ByteString, result: number): void {
    if (result === -ENOENT || result === -ESTALE) {
      this.#note(this.#directories.top?.selected.children === undefined ? 'vanished' : 'missing', path, '');
    } else if (result === -ELOOP || result === -ENOTDIR) {
      this.#note('replaced', path, '');
    } else {
      this.#note('unreadable', path, describeErrno(-result));
    }
  }

  #note(kind: WalkNoteKind, path: ByteString, message: string): void {
    this.#options.onNote({ kind, path, message });
  }
}

function selectedChild(directory: Directory, name: ByteString): SelectedPaths {
  return directory.selected.children?.get(name) ?? EVERYTHING;
}
