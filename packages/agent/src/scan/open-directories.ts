// The directories from the root of a walk to where it is: a stack, of which only a bounded part is open.
//
// Hazard: a tree of 400 levels and more needs more descriptors than a process may have, and its paths are too long for
// the kernel. So directories far above are closed and opened again on the way back: through `..` of the child, or name
// by name from the root, and in both cases only if it is still the same directory.
//
// Invariants (walk.test.ts): W3 at most OPEN_DIRECTORIES descriptors (and the root's two) are open; what was closed is only taken
// up again with the same device and inode.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { closeFd } from '../os/descriptors.ts';
import { ENOENT } from '../os/errno.ts';
import { O_DIRECTORY, O_NOFOLLOW } from '../os/flags.ts';
import { Statx } from '../os/statx.ts';
import { openQuietly } from './open-outcome.ts';
import { EVERYTHING, type SelectedPaths } from './selected-paths.ts';

export const OPEN_DIRECTORIES = 64;

export interface Directory {
  /** −1 while it is closed. */
  fd: number;
  readonly name: ByteString;
  /** What its entries' paths begin with: '' or 'a/b/'. */
  readonly prefix: ByteString;
  readonly names: readonly ByteString[];
  /** Index of the next name to visit. */
  next: number;
  readonly device: number;
  readonly inode: number;
  readonly selected: SelectedPaths;
}

/** Descriptors that are never closed before the end: the root's parent and the root. */
const ALWAYS_OPEN = 2;

export class OpenDirectories {
  readonly #stack: Directory[] = [];
  readonly #statx = new Statx();
  /** How many on the stack have the inode number: a directory that is not among them is not its own ancestor. */
  readonly #inodes = new Map<number, number>();
  #openCount = 0;
  /** No directory below this index is open, except the first two. */
  #lowestOpen = ALWAYS_OPEN;

  /** The bottom of the stack: the parent of the root, with the root as its only name. Takes over the descriptor. */
  start(parentFd: number, name: ByteString): void {
    this.#stack.push({
      fd: parentFd,
      name: '',
      prefix: '',
      names: [name],
      next: 0,
      device: -1,
      inode: -1,
      selected: EVERYTHING,
    });
    this.#openCount++;
  }

  get top(): Directory | undefined {
    return this.#stack[this.#stack.length - 1];
  }

  get count(): number {
    return this.#stack.length;
  }

  has(device: number, inode: number): boolean {
    if (!this.#inodes.has(inode)) return false;
    return this.#stack.some((directory) => directory.inode === inode && directory.device === device);
  }

  /** Takes over the descriptor. */
  push(directory: Directory): void {
    this.#stack.push(directory);
    this.#inodes.set(directory.inode, (this.#inodes.get(directory.inode) ?? 0) + 1);
    this.#openCount++;
    if (this.#openCount > OPEN_DIRECTORIES + ALWAYS_OPEN) this.#closeLowest();
  }

  /** Takes the top off. False when the directory beneath it can't be opened again: the rest of it is lost. */
  pop(): boolean {
    const child = this.#stack.pop();
    if (child === undefined) return true;
    const count = this.#inodes.get(child.inode) ?? 0;
    if (count <= 1) this.#inodes.delete(child.inode);
    else this.#inodes.set(child.inode, count - 1);
    const directory = this.top;
    // Also where nothing is left to visit: the way up leads through it, and `..` finds it even when it was moved.
    if (directory !== undefined && directory.fd < 0) this.#reopen(this.#stack.length - 1, child.fd);
    this.#close(child);
    return directory === undefined || directory.fd >= 0 || directory.next >= directory.names.length;
  }

  /** A descriptor of the directory at `index`, or −errno when it can't be opened again. */
  fdOf(index: number): number {
    const directory = this.#stack[index];
    if (directory === undefined) return -ENOENT;
    if (directory.fd < 0) this.#reopen(index, -1);
    return directory.fd >= 0 ? directory.fd : -ENOENT;
  }

  /** Nothing more is visited in the directories from `index` on. */
  exhaustFrom(index: number): void {
    for (const directory of this.#stack.slice(index)) directory.next = directory.names.length;
  }

  closeAll(): void {
    for (const directory of this.#stack.splice(0)) this.#close(directory);
    this.#inodes.clear();
  }

  #close(directory: Directory): void {
    if (directory.fd < 0) return;
    closeFd(directory.fd);
    directory.fd = -1;
    this.#openCount--;
  }

  #closeLowest(): void {
    for (let index = this.#lowestOpen; index < this.#stack.length - 1; index++) {
      const directory = this.#stack[index]!;
      if (directory.fd < 0) continue;
      this.#close(directory);
      this.#lowestOpen = index + 1;
      return;
    }
  }

  #reopen(index: number, childFd: number): void {
    const directory = this.#stack[index]!;
    let fd = childFd < 0 ? -1 : this.#openIfSame(childFd, '..', directory);
    if (fd < 0) fd = this.#openFromAbove(index);
    if (fd < 0) return;
    directory.fd = fd;
    this.#openCount++;
    this.#lowestOpen = Math.max(ALWAYS_OPEN, Math.min(this.#lowestOpen, index));
  }

  /** Name by name from the nearest directory above that is open. */
  #openFromAbove(index: number): number {
    let from = index - 1;
    while (from > 0 && this.#stack[from]!.fd < 0) from--;
    let fd = this.#stack[from]!.fd;
    for (let at = from + 1; at <= index; at++) {
      const next = this.#openIfSame(fd, this.#stack[at]!.name, this.#stack[at]!);
      if (at > from + 1) closeFd(fd);
      if (next < 0) return next;
      fd = next;
    }
    return fd;
  }

  #openIfSame(fd: number, name: ByteString, expected: Directory): number {
    const opened = openQuietly(fd, name, O_DIRECTORY | O_NOFOLLOW);
    if (opened < 0) return opened;
    const same =
      this.#statx.of(opened) === 0 && this.#statx.device === expected.device && this.#statx.inode === expected.inode;
    if (same) return opened;
    closeFd(opened);
    return -ENOENT;
  }
}
