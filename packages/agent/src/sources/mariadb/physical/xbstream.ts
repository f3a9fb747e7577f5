// mariadb-backup's stream format, read as it comes: chunks of files, each with its place and a checksum
// (https://github.com/MariaDB/server/blob/10.11/extra/mariabackup/xbstream.h).
//
//     "XBSTCK01" · flags 1 · type 1 · path's length 4 · path · [P: length 8 · offset 8 · CRC-32 4 · bytes]
//
// Hazards: a stream that ends early (`finish` refuses it within a chunk); a file that ends early (`E` must have come for each); a
// changed byte (every chunk's checksum is checked). Chunks are given out in parts: they may be of any size.
//
// Invariant (xbstream.property.test.ts): however the bytes are cut, the files come out; a changed byte of a chunk is found.

import { crc32 } from 'node:zlib';
import { fromBytes, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

export interface FileSink {
  /** Bytes of a file at its offset. Files may alternate. The bytes may be used again when it returns. */
  write(path: ByteString, offset: number, bytes: Buffer): void;
  end(path: ByteString): void;
}

const MAGIC = Buffer.from('XBSTCK01');
const FIXED_BYTES = MAGIC.length + 1 + 1 + 4;
const PAYLOAD_BYTES = 8 + 8 + 4;
const MAX_PATH_BYTES = 4096;
const TYPE_PAYLOAD = 0x50;
const TYPE_END = 0x45;

export class XbstreamReader {
  readonly #sink: FileSink;
  #header: Buffer = Buffer.alloc(0);
  #path: ByteString = '';
  #left = 0;
  #offset = 0;
  #expected = 0;
  #crc = 0;
  readonly #unfinished = new Set<ByteString>();

  constructor(sink: FileSink) {
    this.#sink = sink;
  }

  /** Throws DAMAGED. */
  push(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      from += this.#left > 0 ? this.#payload(bytes.subarray(from)) : this.#head(bytes.subarray(from));
    }
  }

  /** Throws DAMAGED for a stream that ended early. */
  finish(): void {
    const [first] = this.#unfinished;
    if (this.#left > 0 || this.#header.length > 0 || first !== undefined) {
      throw damaged(`it ended early${first === undefined ? '' : `, within ${first}`}`);
    }
  }

  #payload(bytes: Buffer): number {
    const part = bytes.subarray(0, this.#left);
    this.#crc = crc32(part, this.#crc);
    this.#sink.write(this.#path, this.#offset, part);
    this.#offset += part.length;
    this.#left -= part.length;
    if (this.#left === 0 && this.#crc !== this.#expected)
      throw damaged(`the checksum of a part of ${this.#path} is wrong`);
    return part.length;
  }

  /** Takes what a header still needs. */
  #head(bytes: Buffer): number {
    const needed = this.#headerBytes() - this.#header.length;
    const take = Math.min(needed, bytes.length);
    this.#header = Buffer.concat([this.#header, bytes.subarray(0, take)]);
    if (take === needed && this.#headerBytes() === this.#header.length) this.#begin();
    return take;
  }

  /** As long as the header is, by what is known of it. */
  #headerBytes(): number {
    if (this.#header.length < FIXED_BYTES) return FIXED_BYTES;
    const pathBytes = this.#header.readUInt32LE(FIXED_BYTES - 4);
    if (!this.#header.subarray(0, MAGIC.length).equals(MAGIC) || pathBytes > MAX_PATH_BYTES)
      throw damaged('it is none');
    return FIXED_BYTES + pathBytes + (this.#header[MAGIC.length + 1] === TYPE_PAYLOAD ? PAYLOAD_BYTES : 0);
  }

  #begin(): void {
    const header = this.#header;
    this.#header = Buffer.alloc(0);
    const type = header[MAGIC.length + 1];
    const pathEnd = FIXED_BYTES + header.readUInt32LE(FIXED_BYTES - 4);
    this.#path = fromBytes(header.subarray(FIXED_BYTES, pathEnd));
    if (type === TYPE_END) {
      this.#unfinished.delete(this.#path);
      this.#sink.end(this.#path);
      return;
    }
    if (type !== TYPE_PAYLOAD) throw damaged(`it has a chunk of a type that is not known (${type})`);
    this.#unfinished.add(this.#path);
    this.#left = Number(header.readBigUInt64LE(pathEnd));
    this.#offset = Number(header.readBigUInt64LE(pathEnd + 8));
    this.#expected = header.readUInt32LE(pathEnd + 16);
    this.#crc = 0;
    if (this.#left === 0) this.#sink.write(this.#path, this.#offset, Buffer.alloc(0));
  }
}

function damaged(what: string): HoldfastError {
  return new HoldfastError('DAMAGED', `mariadb-backup's stream is damaged: ${what}`);
}
