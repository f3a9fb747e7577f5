// A storage target: a directory on this machine.
//
// Hazards: a short write that is taken for a whole one; a name that is not durable because only the file was synced; a path
// that leaves the target. Writes loop until all is written, directories are synced on their own, and names are checked
// although only the vault makes them.
//
// Tested in storage-conformance.test.ts, together with the double that other tests stand on.

import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, stat, statfs, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { AppendFile, Space, VaultStorage } from './storage.ts';

/** Files kept open for reading; the least recently used is closed first. */
const OPEN_FILES_MAX = 64;
/** writev takes at most this many buffers (IOV_MAX on Linux). */
const WRITE_PARTS_MAX = 1024;

/** Opens a directory, created when missing, as a target. */
export async function openLocalDirectory(root: string): Promise<VaultStorage> {
  await wrapped('create', root, () => mkdir(root, { recursive: true, mode: 0o700 }));
  return new LocalDirectory(root);
}

class LocalDirectory implements VaultStorage {
  readonly #root: string;
  readonly #readers = new Map<string, Promise<FileHandle>>();
  readonly #busy = new Map<Promise<FileHandle>, number>();
  readonly #syncedDirectories = new Set<string>();

  constructor(root: string) {
    this.#root = root;
  }

  async create(name: string): Promise<AppendFile> {
    await this.#makeDirectory(dirname(checkedName(name)));
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR;
    const file = await wrapped('create', name, () => open(this.#path(name), flags, 0o600));
    return new LocalAppendFile(name, file);
  }

  async syncDirectoryOf(name: string): Promise<void> {
    await this.#syncDirectory(dirname(checkedName(name)));
  }

  async read(name: string, offset: number, length: number): Promise<Buffer> {
    return wrapped('read', name, () => this.#withReader(name, (file) => readFully(file, offset, length)));
  }

  async size(name: string): Promise<number | undefined> {
    try {
      return (await stat(this.#path(checkedName(name)))).size;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw storageError('stat', name, error);
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await wrapped('rename', to, () => rename(this.#path(checkedName(from)), this.#path(checkedName(to))));
    await this.#forget(to);
  }

  async remove(name: string): Promise<void> {
    await wrapped('remove', name, () => unlink(this.#path(checkedName(name))));
    await this.#forget(name);
  }

  async list(): Promise<string[]> {
    const entries = await wrapped('list', '.', () => readdir(this.#root, { recursive: true, withFileTypes: true }));
    const prefix = this.#root.endsWith('/') ? this.#root.length : this.#root.length + 1;
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(prefix))
      .toSorted();
  }

  async space(): Promise<Space> {
    const { bavail, blocks, bsize } = await wrapped('statfs', '.', () => statfs(this.#root));
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#readers.keys()].map((name) => this.#forget(name)));
  }

  #path(name: string): string {
    return join(this.#root, name);
  }

  /** Creates missing directories and syncs each parent of a new one, once in this process's life. */
  async #makeDirectory(directory: string): Promise<void> {
    if (directory === '.' || this.#syncedDirectories.has(directory)) return;
    await this.#makeDirectory(dirname(directory));
    await wrapped('create', directory, async () => {
      try {
        await mkdir(this.#path(directory), { mode: 0o700 });
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
    });
    // Also when it existed: a process that was killed may have made it and not got as far as this.
    await this.#syncDirectory(dirname(directory));
    this.#syncedDirectories.add(directory);
  }

  async #syncDirectory(directory: string): Promise<void> {
    await wrapped('sync', directory, async () => {
      const handle = await open(this.#path(directory), constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  }

  async #withReader<T>(name: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
    let reader = this.#readers.get(checkedName(name));
    if (reader === undefined) reader = open(this.#path(name), constants.O_RDONLY);
    this.#readers.delete(name);
    this.#readers.set(name, reader);
    this.#busy.set(reader, (this.#busy.get(reader) ?? 0) + 1);
    try {
      return await use(await reader);
    } catch (error) {
      if (this.#readers.get(name) === reader) this.#readers.delete(name);
      throw error;
    } finally {
      await this.#release(reader, name);
      await this.#closeOldest();
    }
  }

  /** Closes a handle that nobody reads from and that is not kept. */
  async #release(reader: Promise<FileHandle>, name: string): Promise<void> {
    const uses = (this.#busy.get(reader) ?? 1) - 1;
    if (uses > 0) this.#busy.set(reader, uses);
    else this.#busy.delete(reader);
    if (uses === 0 && this.#readers.get(name) !== reader) await closeQuietly(reader);
  }

  async #closeOldest(): Promise<void> {
    for (const name of this.#readers.keys()) {
      if (this.#readers.size <= OPEN_FILES_MAX) return;
      await this.#forget(name);
    }
  }

  async #forget(name: string): Promise<void> {
    const reader = this.#readers.get(name);
    if (reader === undefined) return;
    this.#readers.delete(name);
    if (!this.#busy.has(reader)) await closeQuietly(reader);
  }
}

class LocalAppendFile implements AppendFile {
  readonly #name: string;
  readonly #file: FileHandle;

  constructor(name: string, file: FileHandle) {
    this.#name = name;
    this.#file = file;
  }

  async append(parts: readonly Uint8Array[], position: number): Promise<void> {
    await wrapped('write', this.#name, async () => {
      let at = position;
      for (let first = 0; first < parts.length; first += WRITE_PARTS_MAX) {
        at = await writeFully(this.#file, parts.slice(first, first + WRITE_PARTS_MAX), at);
      }
    });
  }

  async sync(): Promise<void> {
    await wrapped('sync', this.#name, () => this.#file.datasync());
  }

  async truncate(length: number): Promise<void> {
    await wrapped('truncate', this.#name, async () => {
      await this.#file.truncate(length);
      await this.#file.sync();
    });
  }

  async close(): Promise<void> {
    await wrapped('close', this.#name, () => this.#file.close());
  }
}

async function writeFully(file: FileHandle, parts: readonly Uint8Array[], position: number): Promise<number> {
  let rest = parts.filter((part) => part.length > 0);
  let at = position;
  while (rest.length > 0) {
    const { bytesWritten } = await file.writev(rest, at);
    at += bytesWritten;
    rest = dropBytes(rest, bytesWritten);
  }
  return at;
}

function dropBytes(parts: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  let index = 0;
  while (index < parts.length && left >= parts[index]!.length) left -= parts[index++]!.length;
  const rest = parts.slice(index);
  if (left > 0) rest[0] = rest[0]!.subarray(left);
  return rest;
}

async function readFully(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

async function closeQuietly(reader: Promise<FileHandle>): Promise<void> {
  // A handle for reading has nothing to lose; one that never opened has nothing to close.
  await reader.then((file) => file.close()).catch(() => undefined);
}

function checkedName(name: string): string {
  if (!/^[0-9a-z][0-9a-z.-]*(\/[0-9a-z][0-9a-z.-]*)*$/.test(name)) {
    throw new HoldfastError('PATH_ESCAPES', 'a name is not one that the vault makes');
  }
  return name;
}

async function wrapped<T>(operation: string, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storageError(operation, name, error);
  }
}

function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** The port's error for a failed system call. */
export function storageError(operation: string, name: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const errno = errnoOf(error);
  const message = `${operation} ${name}: ${errno === '' ? String(error) : errno}`;
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new HoldfastError('STORAGE_FULL', message, { hint: 'Free space on the target or add one.', cause: error });
  }
  if (errno === 'ENOENT') return new HoldfastError('NOT_FOUND', message, { cause: error });
  return new HoldfastError('STORAGE_FAILED', message, { cause: error });
}
