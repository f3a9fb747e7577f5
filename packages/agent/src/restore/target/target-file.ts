// A regular file being restored: new, or (for a delta) the one that is there.
//
// Hazard: a file that lacks a part must not look whole, and a file that is there may be somebody else's too. A new file
// has no name of its own, or mode 0600, until `finish`; one that is there was only opened if it has a single name (threat 37).
// Writing into it in place shows the new content to whoever holds it open: a new file that replaces it does not.
//
// Ranges that are never written stay holes. Nothing is synced here: `RestoreTarget.sync` makes all of it durable.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { S_IFREG, statNlink } from '@holdfast/shared/format/manifest/stat-record';
import { allocate, closeFd, punchHole, readAt, setSize, writeAt, zeroRange } from '../../os/descriptors.ts';
import { EINVAL, ENOSYS, EOPNOTSUPP, succeed } from '../../os/errno.ts';
import { FLAGS_THAT_LOCK, setMode } from '../../os/inode.ts';
import { Statx } from '../../os/statx.ts';
import type { EntryMetadata, InodeState, MetadataWriter } from './apply-metadata.ts';
import type { Placed, Placement } from './placement.ts';

const statx = new Statx();
const zeros = Buffer.alloc(1024 * 1024);

const NOT_SUPPORTED: ReadonlySet<number> = new Set([EOPNOTSUPP, ENOSYS, EINVAL]);

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
  /** undefined for a new file. */
  readonly #sizeBefore: number | undefined;
  readonly #size: number;
  #fd: number;
  /** End of what was written, of a new file. */
  #end = 0;
  #inode: bigint | undefined;
  #writtenInPlace = false;

  /** Takes over the descriptor. `sizeBefore`: of a file that was there. */
  constructor(deps: TargetFileDeps, state: InodeState, placed: Placed, size: number, sizeBefore?: number) {
    this.#deps = deps;
    this.#state = state;
    this.#placed = placed;
    this.#size = size;
    this.#sizeBefore = sizeBefore;
    this.#fd = state.fd;
    placed.directory.users++;
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
    this.#beforeWrite();
    this.#check(writeAt(this.#fd, buffer, offset, length, position), 'pwrite', 'write');
    this.#end = Math.max(this.#end, position + length);
  }

  /** What is there now: bytes read, less than `length` only at the end of the file. */
  read(buffer: Buffer, offset: number, length: number, position: number): number {
    return this.#check(readAt(this.#fd, buffer, offset, length, position), 'pread', 'read');
  }

  /** A *zeros* segment: allocated, reads as zeros. */
  writeZeros(position: number, length: number): void {
    if (length === 0) return;
    this.#beforeWrite();
    const fill = this.#sizeBefore === undefined ? allocate : zeroRange;
    const result = fill(this.#fd, position, length);
    if (NOT_SUPPORTED.has(-result)) this.#writeZeroBytes(position, length);
    else this.#check(result, 'fallocate', 'write');
    this.#end = Math.max(this.#end, position + length);
  }

  /** A *hole* segment: frees what is there; nothing to do in a new file. */
  makeHole(position: number, length: number): void {
    if (this.#sizeBefore === undefined || position >= this.#sizeBefore || length === 0) return;
    this.#beforeWrite();
    const result = punchHole(this.#fd, position, length);
    if (NOT_SUPPORTED.has(-result)) this.#writeZeroBytes(position, Math.min(length, this.#sizeBefore - position));
    else this.#check(result, 'fallocate', 'write');
  }

  /** Sets the size and the metadata, gives the file its name, closes it. On failure a new file is removed again. */
  finish(metadata: EntryMetadata): void {
    const { path } = this.#placed;
    try {
      const sizeNow = this.#sizeBefore === undefined ? this.#end : Math.max(this.#end, this.#sizeBefore);
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
    if (this.#sizeBefore === undefined) this.#deps.placement.remove(this.#placed);
    this.#close();
  }

  #close(): void {
    closeFd(this.#fd);
    this.#fd = -1;
    this.#placed.directory.users--;
  }

  /** Half-written content must not run with rights that the old content had. */
  #beforeWrite(): void {
    if (this.#sizeBefore === undefined || this.#writtenInPlace) return;
    this.#check(setMode(this.#fd, 0o600), 'fchmod', 'write');
    this.#writtenInPlace = true;
  }

  #writeZeroBytes(position: number, length: number): void {
    for (let done = 0; done < length; done += zeros.length) {
      this.#check(
        writeAt(this.#fd, zeros, 0, Math.min(zeros.length, length - done), position + done),
        'pwrite',
        'write',
      );
    }
  }

  #check(result: number, syscall: string, doing: string): number {
    return succeed(result, syscall, doing, this.#placed.path);
  }
}
