// A regular file being restored: new, or (for a delta) the one that is there.
//
// Hazard: a file that lacks a part must not look whole, and a file that is there may be somebody else's too. A new file
// has no name of its own, or mode 0600, until `finish`; one that is there was only opened if it has a single name (threat 37).
// Writing into it in place shows the new content to whoever holds it open: a new file that replaces it does not.
//
// What is read and written: file-content.ts.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { S_IFREG, statNlink } from '@holdfast/shared/format/manifest/stat-record';
import { closeFd, setSize } from '../../os/descriptors.ts';
import { succeed } from '../../os/errno.ts';
import { FLAGS_THAT_LOCK, setMode } from '../../os/inode.ts';
import { Statx } from '../../os/statx.ts';
import type { EntryMetadata, InodeState, MetadataWriter } from './apply-metadata.ts';
import { FileContent, type LentFile } from './file-content.ts';
import type { Placed, Placement } from './placement.ts';

const statx = new Statx();

/** What a file needs of its target. */
export interface TargetFileDeps {
  readonly placement: Placement;
  readonly metadata: MetadataWriter;
  /** Inode flags that can only be set once all names of the inode are there. */
  readonly deferFlags: (path: ByteString, inodeFlags: number) => void;
}

/** Open until `finish` or `abandon`. */
export class TargetFile {
  readonly #deps: TargetFileDeps;
  readonly #state: InodeState;
  readonly #placed: Placed;
  readonly #content: FileContent;
  readonly #size: number;
  /** Whether the descriptor may be written to. */
  readonly writable: boolean;
  #fd: number;
  /** End of what was written by this thread, of a new file. */
  #end = 0;
  #inode: bigint | undefined;
  #writtenInPlace = false;

  /** Takes over the descriptor. `existing`: of a file that was there. */
  constructor(
    deps: TargetFileDeps,
    state: InodeState,
    placed: Placed,
    size: number,
    existing?: { readonly size: number; readonly writable: boolean },
  ) {
    this.#deps = deps;
    this.#state = state;
    this.#placed = placed;
    this.#size = size;
    this.#fd = state.fd;
    this.#content = new FileContent({ fd: state.fd, sizeBefore: existing?.size }, placed.path);
    this.writable = existing?.writable ?? true;
    placed.directory.users++;
  }

  /** For other threads to read and, after `beginWriting`, to write; until `finish` or `abandon`. */
  get lent(): LentFile {
    const { fd, sizeBefore } = this.#openContent();
    return { fd, sizeBefore };
  }

  /** Before anything is written into a file that was there: half-written content must not run with rights that the old content had. */
  beginWriting(): void {
    if (this.#openContent().sizeBefore === undefined || this.#writtenInPlace) return;
    this.#check(setMode(this.#fd, 0o600), 'fchmod', 'write');
    this.#writtenInPlace = true;
  }

  get fd(): number {
    return this.#fd;
  }

  /** Inode number, to tell `hardLink` with. After `finish` only for a file that has further names in the snapshot. */
  get inode(): bigint {
    if (this.#inode === undefined) {
      if (this.#fd < 0) throw new HoldfastError('INTERNAL', 'the inode number of a closed file');
      this.#check(statx.of(this.#fd), 'statx', 'look at');
      this.#inode = statx.inode64;
    }
    return this.#inode;
  }

  /** Throws STORAGE_FULL, SYSTEM_CALL_FAILED. */
  write(buffer: Buffer, offset: number, length: number, position: number): void {
    this.beginWriting();
    this.#openContent().write(buffer, offset, length, position);
    this.#end = Math.max(this.#end, position + length);
  }

  /** What is there now: bytes read, less than `length` only at the end of the file. */
  read(buffer: Buffer, offset: number, length: number, position: number): number {
    return this.#openContent().read(buffer, offset, length, position);
  }

  /** A *zeros* segment: allocated, reads as zeros. */
  writeZeros(position: number, length: number): void {
    this.beginWriting();
    this.#openContent().writeZeros(position, length);
    this.#end = Math.max(this.#end, position + length);
  }

  /** A *hole* segment: frees what is there; nothing to do in a new file. */
  makeHole(position: number, length: number): void {
    this.beginWriting();
    this.#openContent().makeHole(position, length);
  }

  /** Sets the size and the metadata, gives the file its name, closes it. On failure a new file is removed again. */
  finish(metadata: EntryMetadata): void {
    const { path } = this.#placed;
    try {
      // What other threads wrote is not known here; then the size is set once too often.
      const sizeNow = Math.max(this.#end, this.#content.sizeBefore ?? 0);
      if (sizeNow !== this.#size) this.#check(setSize(this.#fd, this.#size), 'ftruncate', 'set the size of');
      this.#deps.metadata.apply(this.#state, path, metadata);
      this.#deps.placement.finish(this.#placed, S_IFREG);
      const linked = statNlink(metadata.stat) > 1;
      if (linked) void this.inode;
      // An immutable inode takes no further names.
      const later = linked ? metadata.inodeFlags & FLAGS_THAT_LOCK : 0;
      if (later !== 0) this.#deps.deferFlags(path, metadata.inodeFlags);
      else this.#deps.metadata.applyFlags(this.#fd, path, metadata.inodeFlags, this.#state.mayHaveMore);
    } catch (error) {
      this.abandon();
      throw error;
    }
    this.#close();
  }

  /** Closes it; a new file is removed again, one that was there stays as it is by now. Again is fine. */
  abandon(): void {
    if (this.#fd < 0) return;
    if (this.#content.sizeBefore === undefined) this.#deps.placement.remove(this.#placed);
    this.#close();
  }

  #close(): void {
    closeFd(this.#fd);
    this.#fd = -1;
    this.#placed.directory.users--;
  }

  /** Its descriptor may be another file's once this one is closed. */
  #openContent(): FileContent {
    if (this.#fd < 0) throw new HoldfastError('INTERNAL', 'a file of the target was used after it was closed');
    return this.#content;
  }

  #check(result: number, syscall: string, doing: string): number {
    return succeed(result, syscall, doing, this.#placed.path);
  }
}
