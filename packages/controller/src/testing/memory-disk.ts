// A disk in memory that knows what a power cut leaves: bytes that were not synced are gone or torn, and so are names whose
// directory was not synced.

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Faults } from './faults.ts';
import type { AppendFile, Space, VaultStorage } from '../vault/storage.ts';

interface Inode {
  bytes: Buffer;
  durable: Buffer;
}

export class MemoryDisk {
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  freeBytes = 2 ** 50;
  totalBytes = 2 ** 50;
  /** Every call waits for it before it does anything; see `hang`. */
  hung: Promise<void> = Promise.resolve();

  /** The disk through the vault's port; every call that can fail asks `faults` first. A failing write is torn. */
  mount(faults: Faults): VaultStorage {
    return new MountedDisk(this, faults);
  }

  /**
   * The disk after a power cut. `keep` in [0, 1] says how much of the unsynced bytes of each file made it, and whether (at
   * 1) unsynced names did.
   */
  afterPowerCut(keep: number): MemoryDisk {
    const disk = new MemoryDisk();
    for (const [name, inode] of keep === 1 ? this.#names : this.#durableNames) {
      const kept = inode.durable.length + Math.floor((inode.bytes.length - inode.durable.length) * keep);
      const bytes = Buffer.from(inode.bytes.subarray(0, Math.max(0, kept)));
      inode.durable.copy(bytes, 0);
      const survived = { bytes, durable: Buffer.from(bytes) };
      disk.#names.set(name, survived);
      disk.#durableNames.set(name, survived);
    }
    return disk;
  }

  /** After SIGKILL of the process alone: all that was written is there. */
  afterKill(): MemoryDisk {
    return this.afterPowerCut(1);
  }

  /** From now on no call returns (threat 7), until the returned function is called: then they take effect, in their order. */
  hang(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.hung = promise;
    return () => {
      this.hung = Promise.resolve();
      resolve();
    };
  }

  names(): string[] {
    return [...this.#names.keys()].toSorted();
  }

  /** The file's bytes, to be changed at will; what is put here is durable. */
  file(name: string): Buffer {
    return this.inode(name).bytes;
  }

  replace(name: string, bytes: Buffer): void {
    const inode = { bytes, durable: Buffer.from(bytes) };
    this.#names.set(name, inode);
    this.#durableNames.set(name, inode);
  }

  inode(name: string): Inode {
    const inode = this.#names.get(name);
    if (inode === undefined) throw new HoldfastError('NOT_FOUND', `${name}: ENOENT`);
    return inode;
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  add(name: string): Inode {
    if (this.#names.has(name)) throw new HoldfastError('STORAGE_FAILED', `${name}: EEXIST`);
    const inode = { bytes: Buffer.alloc(0), durable: Buffer.alloc(0) };
    this.#names.set(name, inode);
    return inode;
  }

  rename(from: string, to: string): void {
    this.#names.set(to, this.inode(from));
    this.#names.delete(from);
  }

  remove(name: string): void {
    this.inode(name);
    this.#names.delete(name);
  }

  syncDirectory(directory: string): void {
    const within = (name: string): boolean => name.slice(0, Math.max(0, name.lastIndexOf('/'))) === directory;
    for (const name of this.#durableNames.keys())
      if (within(name) && !this.#names.has(name)) this.#durableNames.delete(name);
    for (const [name, inode] of this.#names) if (within(name)) this.#durableNames.set(name, inode);
  }
}

class MountedDisk implements VaultStorage {
  readonly #disk: MemoryDisk;
  readonly #faults: Faults;

  constructor(disk: MemoryDisk, faults: Faults) {
    this.#disk = disk;
    this.#faults = faults;
  }

  async create(name: string): Promise<AppendFile> {
    await this.#step('create');
    return new MemoryFile(this.#disk.add(name), this.#faults, this.#disk);
  }

  async syncDirectoryOf(name: string): Promise<void> {
    await this.#step('syncDirectory');
    this.#disk.syncDirectory(name.slice(0, Math.max(0, name.lastIndexOf('/'))));
  }

  async read(name: string, offset: number, length: number): Promise<Buffer> {
    await this.#step('read');
    return Buffer.from(this.#disk.inode(name).bytes.subarray(offset, offset + length));
  }

  async size(name: string): Promise<number | undefined> {
    await this.#step('size');
    return this.#disk.has(name) ? this.#disk.inode(name).bytes.length : undefined;
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step('rename');
    this.#disk.rename(from, to);
  }

  async remove(name: string): Promise<void> {
    await this.#step('remove');
    this.#disk.remove(name);
  }

  async list(): Promise<string[]> {
    await this.#step('list');
    return this.#disk.names();
  }

  async space(): Promise<Space> {
    await this.#disk.hung;
    return { freeBytes: this.#disk.freeBytes, totalBytes: this.#disk.totalBytes };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #step(call: string): Promise<void> {
    await this.#disk.hung;
    const error = this.#faults.next(call);
    if (error !== undefined) throw error;
  }
}

class MemoryFile implements AppendFile {
  readonly #inode: Inode;
  readonly #faults: Faults;
  readonly #disk: MemoryDisk;

  constructor(inode: Inode, faults: Faults, disk: MemoryDisk) {
    this.#inode = inode;
    this.#disk = disk;
    this.#faults = faults;
  }

  async append(parts: readonly Uint8Array[], position: number): Promise<void> {
    await this.#disk.hung;
    const bytes = Buffer.concat(parts);
    const wasDead = this.#faults.dead;
    const error = this.#faults.next('write');
    // The call that fails leaves half of its bytes; what comes after death leaves nothing.
    if (!wasDead) this.#put(error === undefined ? bytes : bytes.subarray(0, bytes.length / 2), position);
    if (error !== undefined) throw error;
  }

  async sync(): Promise<void> {
    await this.#disk.hung;
    const error = this.#faults.next('sync');
    if (error !== undefined) throw error;
    this.#inode.durable = Buffer.from(this.#inode.bytes);
  }

  async truncate(length: number): Promise<void> {
    await this.#disk.hung;
    const error = this.#faults.next('truncate');
    if (error !== undefined) throw error;
    this.#inode.bytes = Buffer.from(this.#inode.bytes.subarray(0, length));
    this.#inode.durable = Buffer.from(this.#inode.bytes);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #put(bytes: Buffer, position: number): void {
    const grown = Buffer.alloc(Math.max(this.#inode.bytes.length, position + bytes.length));
    this.#inode.bytes.copy(grown, 0);
    bytes.copy(grown, position);
    this.#inode.bytes = grown;
  }
}
