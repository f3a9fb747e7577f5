// How far a producer is, said to the main thread a few times a second.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { ScanProgressMessage } from '../messages.ts';

const PROGRESS_MS = 100;
/** Looking at the clock for every small file would cost more than the file. */
const BYTES_BETWEEN_LOOKS = 1024 * 1024;
const ENTRIES_BETWEEN_LOOKS = 64;

export class ProducerProgress {
  readonly #post: (message: ScanProgressMessage) => void;
  readonly #onRead: (bytes: number) => void;
  #filesDone = 0;
  #bytesDone = 0;
  #bytesRead = 0;
  #total: { readonly files?: number; readonly bytes?: number } = {};
  #entriesSinceLook = 0;
  #bytesSinceLook = 0;
  #reportedAt = 0;

  /** @param onRead told of every byte that the source gave */
  constructor(post: (message: ScanProgressMessage) => void, onRead: (bytes: number) => void) {
    this.#post = post;
    this.#onRead = onRead;
  }

  /** Bytes that the source gave. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  expect(total: { readonly files?: number; readonly bytes?: number }): void {
    this.#total = { ...this.#total, ...total };
  }

  addBytesRead(bytes: number): void {
    this.#bytesRead += bytes;
  }

  /** Content of `path`: `read` bytes came from the source, `length` bytes of the file are done. */
  content(path: ByteString, length: number, read: number): void {
    this.#bytesRead += read;
    this.#onRead(read);
    this.#bytesDone += length;
    this.#bytesSinceLook += length;
    if (this.#bytesSinceLook >= BYTES_BETWEEN_LOOKS) this.#look(path);
  }

  file(path: ByteString): void {
    this.#filesDone++;
    if (++this.#entriesSinceLook >= ENTRIES_BETWEEN_LOOKS) this.#look(path);
  }

  #look(currentPath: ByteString): void {
    this.#entriesSinceLook = 0;
    this.#bytesSinceLook = 0;
    const now = performance.now();
    if (now - this.#reportedAt < PROGRESS_MS) return;
    this.#reportedAt = now;
    const { files, bytes } = this.#total;
    const done = { filesDone: this.#filesDone, bytesDone: this.#bytesDone };
    this.#post({ kind: 'progress', ...done, filesTotal: files, bytesTotal: bytes, currentPath });
  }
}
