// Writing back early: what a restore has written goes to the disk while the rest is still on its way.
//
// Hazard: the system keeps gigabytes of written pages until somebody asks, so the sync at the end would find all of them, with
// processors and network idle meanwhile. This here is only a head start: what is durable, and what was lost, is said by the syncfs at the
// end of the restore, on a descriptor of its own that sees every error since it was opened. So errors are ignored here.
//
// Meant for disks that are slower than the restore. On the bench's (650 MB/s) nine restores of a kernel tree with and without it had the same median,
// 6.0 s, for 0.3 CPU-s more; on a slow disk it has not been measured.
//
// One sync at a time, in a thread of libuv's; the target's root tells the file system.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { closeFd, syncFileSystemLater } from '../os/descriptors.ts';
import { openTarget } from './target/open-target.ts';

/** Each sync is a commit of the journal too, which holds back whoever makes files meanwhile: not too often. */
const EVERY_BYTES = 128 * 1024 * 1024;

export class WriteBack {
  readonly #fd: number;
  #startedAtBytes = 0;
  #running: Promise<unknown> | undefined;

  constructor(target: ByteString) {
    this.#fd = openTarget(target);
  }

  /** @param bytes content written since the beginning */
  wrote(bytes: number): void {
    if (this.#running !== undefined || bytes - this.#startedAtBytes < EVERY_BYTES) return;
    this.#startedAtBytes = bytes;
    this.#running = syncFileSystemLater(this.#fd).finally(() => (this.#running = undefined));
  }

  /** After the last `wrote`. */
  async close(): Promise<void> {
    await this.#running;
    closeFd(this.#fd);
  }
}
