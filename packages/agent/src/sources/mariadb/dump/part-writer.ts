// Parts of a dump as entries of the snapshot: small ones into bundles, long ones as streams, so that a thousand little tables cost
// no thousand objects.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import type { EntryMetadata, OpenStream, SnapshotWriter } from '../../../backup/snapshot-writer.ts';
import type { PartSink } from './dump-splitter.ts';

const SMALL_BYTES = 128 * 1024;

export class PartWriter implements PartSink {
  readonly #writer: SnapshotWriter;
  readonly #metadata: EntryMetadata;
  readonly #small = Buffer.alloc(SMALL_BYTES);
  #fill = 0;
  #path: ByteString | undefined;
  #stream: OpenStream | undefined;

  constructor(writer: SnapshotWriter, metadata: EntryMetadata) {
    this.#writer = writer;
    this.#metadata = metadata;
  }

  begin(path: ByteString): void {
    this.end();
    this.#path = path;
  }

  write(bytes: Buffer): void {
    if (this.#stream === undefined && this.#fill + bytes.length <= SMALL_BYTES) {
      this.#fill += bytes.copy(this.#small, this.#fill);
      return;
    }
    this.#grown().write(bytes);
  }

  /** The last part is whole. */
  end(): void {
    if (this.#stream !== undefined) this.#stream.end(this.#metadata);
    else if (this.#path !== undefined)
      this.#writer.smallFile(this.#path, this.#metadata, this.#small.subarray(0, this.#fill));
    this.#stream = undefined;
    this.#path = undefined;
    this.#fill = 0;
  }

  #grown(): OpenStream {
    if (this.#stream !== undefined) return this.#stream;
    this.#stream = this.#writer.stream(this.#path ?? '');
    this.#stream.write(this.#small.subarray(0, this.#fill));
    return this.#stream;
  }
}
