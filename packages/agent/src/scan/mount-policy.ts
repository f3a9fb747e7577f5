// What a walk does where another file system begins, and the numbers by which it tells file systems apart.
//
// Hazard: inode numbers repeat from one file system to the next, and a manifest keeps entries that earlier walks made. With
// numbers in order of meeting, a mount that comes or goes, or a walk of some paths alone, gave one number to two file systems:
// files that have nothing to do with each other were restored as names of one inode. So the number is made from the path.

import { hash } from 'node:crypto';
import { type ByteString, toBytes } from '@holdfast/shared/base/byte-string';
import { FileSystems } from '../os/file-systems.ts';

export type MountVerdict =
  | { readonly kind: 'enter' }
  | { readonly kind: 'other-file-system' }
  | { readonly kind: 'virtual-file-system'; readonly type: string };

const ENTER: MountVerdict = { kind: 'enter' };
const OTHER: MountVerdict = { kind: 'other-file-system' };

export class MountPolicy {
  readonly #oneFileSystem: boolean;
  readonly #fileSystems = new FileSystems();
  readonly #numbers = new Map<number, number>();
  readonly #verdicts = new Map<number, MountVerdict>();

  constructor(oneFileSystem: boolean) {
    this.#oneFileSystem = oneFileSystem;
  }

  /** The root's file system is entered whatever it is: it was asked for. */
  start(device: number): void {
    this.#numbers.set(device, ROOT_NUMBER);
    this.#verdicts.set(device, ENTER);
  }

  /** 0 for the root's; every other has the number of the path at which it was met first: the same in every walk. */
  numberOf(device: number, path: ByteString): number {
    let number = this.#numbers.get(device);
    if (number === undefined) {
      number = 1 + hash('sha256', toBytes(path), 'buffer').readUIntLE(0, NUMBER_BYTES);
      this.#numbers.set(device, number);
    }
    return number;
  }

  /** Before anything on the device is opened. */
  judge(device: number): MountVerdict {
    let verdict = this.#verdicts.get(device);
    if (verdict === undefined) {
      const type = this.#fileSystems.virtualType(device);
      verdict = type !== undefined ? { kind: 'virtual-file-system', type } : this.#oneFileSystem ? OTHER : ENTER;
      this.#verdicts.set(device, verdict);
    }
    return verdict;
  }

  /** With an open directory: finds virtual file systems that no mount is listed for. */
  judgeOpened(device: number, fd: number): MountVerdict {
    const verdict = this.judge(device);
    if (verdict.kind !== 'enter') return verdict;
    const type = this.#fileSystems.virtualTypeOf(fd);
    if (type === undefined) return verdict;
    const virtual: MountVerdict = { kind: 'virtual-file-system', type };
    this.#verdicts.set(device, virtual);
    return virtual;
  }
}

const ROOT_NUMBER = 0;
const NUMBER_BYTES = 5;
