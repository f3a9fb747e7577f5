// What a walk does where another file system begins.

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
  readonly #ordinals = new Map<number, number>();
  readonly #verdicts = new Map<number, MountVerdict>();

  constructor(oneFileSystem: boolean) {
    this.#oneFileSystem = oneFileSystem;
  }

  /** The root's file system is entered whatever it is: it was asked for. */
  start(device: number): void {
    this.ordinalOf(device);
    this.#verdicts.set(device, ENTER);
  }

  /** 0, 1, 2, … in order of meeting. */
  ordinalOf(device: number): number {
    let ordinal = this.#ordinals.get(device);
    if (ordinal === undefined) this.#ordinals.set(device, (ordinal = this.#ordinals.size));
    return ordinal;
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
