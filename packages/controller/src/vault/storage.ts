// The port through which the vault touches bytes: files of packs on one target.
//
// Hazard: a rename, a new name and a file's bytes each survive a power cut only after their own sync. So syncing is
// explicit here, and a test double can lose whatever was not synced (testing/memory-disk.ts).
//
// Names are relative to the target, with '/' between parts, and are made by the vault alone: never from a request.
// Failures are HoldfastErrors: STORAGE_FULL (ENOSPC, EDQUOT), NOT_FOUND (no such file), otherwise STORAGE_FAILED.

/** A file that its one writer appends to. */
export interface AppendFile {
  /** Writes `parts` one after the other at `position`, all of them or it throws. */
  append(parts: readonly Uint8Array[], position: number): Promise<void>;
  /** fdatasync: what was appended survives a power cut. After a failure nothing may be assumed about unsynced bytes. */
  sync(): Promise<void>;
  /** Cuts the file at `length`, then syncs. */
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

export interface Space {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export interface VaultStorage {
  /** Creates a file that must not exist, and the directories above it, synced. Its own name is durable after `syncDirectoryOf`. */
  create(name: string): Promise<AppendFile>;
  /** Syncs the directory that holds `name`. */
  syncDirectoryOf(name: string): Promise<void>;
  /** Reads [offset, offset + length) into a new buffer; shorter where the file ends. */
  read(name: string, offset: number, length: number): Promise<Buffer>;
  /** Size in bytes, or undefined when there is no such file. */
  size(name: string): Promise<number | undefined>;
  /** Atomic; replaces `to`. */
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Every file of the target, sorted by name. */
  list(): Promise<string[]>;
  /** Of the file system that the target is on, for this user. */
  space(): Promise<Space>;
  /** Lets go of whatever is held open. */
  close(): Promise<void>;
}
