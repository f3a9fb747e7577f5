// A tar archive as PostgreSQL streams it: entries one after the other, in pieces of any size.
// Format: POSIX ustar, with GNU's base-256 numbers for what octal digits can't say (src/port/tar.c).
//
// Hazard: what comes is another program's word. Names are checked by the snapshot's writer; sizes, types and checksums here.
//
// Tested in tar-reader.property.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';

export interface TarEntry {
  readonly type: 'file' | 'directory' | 'symlink';
  /** latin1: a byte a character. */
  readonly path: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly user: string;
  readonly group: string;
  readonly mtimeMs: number;
  readonly linkTarget: string;
}

export interface TarListener {
  entry(entry: TarEntry): void;
  /** Bytes of the newest entry; valid until it returns. */
  data(bytes: Buffer): void;
  /** The newest entry is whole. */
  end(): void;
}

const BLOCK = 512;
const HEADER_SUM_AT = 148;
const TYPES: Readonly<Record<string, TarEntry['type']>> = {
  '0': 'file',
  '\0': 'file',
  '5': 'directory',
  '2': 'symlink',
};

export class TarReader {
  readonly #listener: TarListener;
  readonly #header = Buffer.alloc(BLOCK);
  #headerBytes = 0;
  #inFile = false;
  #left = 0;
  #padding = 0;
  #ended = false;

  constructor(listener: TarListener) {
    this.#listener = listener;
  }

  /** Throws PROTOCOL_VIOLATION for what is no tar archive. */
  write(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length && !this.#ended) {
      if (this.#inFile) {
        const piece = bytes.subarray(at, at + this.#left);
        if (piece.length > 0) this.#listener.data(piece);
        at += piece.length;
        this.#left -= piece.length;
        if (this.#left === 0) this.#endEntry();
      } else if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, bytes.length - at);
        this.#padding -= skipped;
        at += skipped;
      } else {
        const copied = bytes.copy(this.#header, this.#headerBytes, at, at + BLOCK - this.#headerBytes);
        this.#headerBytes += copied;
        at += copied;
        if (this.#headerBytes === BLOCK) this.#takeHeader();
      }
    }
  }

  /** Throws PROTOCOL_VIOLATION when the archive breaks off. Servers before 15 leave out the empty blocks at the end. */
  end(): void {
    if (this.#inFile || (this.#headerBytes > 0 && !this.#ended)) throw violation('it breaks off');
  }

  #takeHeader(): void {
    this.#headerBytes = 0;
    if (this.#header.every((byte) => byte === 0)) {
      this.#ended = true;
      return;
    }
    const entry = readHeader(this.#header);
    this.#listener.entry(entry);
    this.#left = entry.type === 'file' ? entry.size : 0;
    this.#padding = (BLOCK - (this.#left % BLOCK)) % BLOCK;
    this.#inFile = this.#left > 0;
    if (!this.#inFile) this.#listener.end();
  }

  #endEntry(): void {
    this.#inFile = false;
    this.#listener.end();
  }
}

function readHeader(header: Buffer): TarEntry {
  let sum = 0;
  for (let index = 0; index < BLOCK; index++) {
    sum += index >= HEADER_SUM_AT && index < HEADER_SUM_AT + 8 ? 32 : header[index]!;
  }
  if (sum !== numberAt(header, HEADER_SUM_AT, 8)) throw violation('a header has another checksum');
  const type = TYPES[String.fromCharCode(header[156]!)];
  if (type === undefined) throw violation(`an entry has the type ${header[156]}`);
  const prefix = textAt(header, 345, 155);
  const name = textAt(header, 0, 100);
  return {
    type,
    path: (prefix === '' ? name : `${prefix}/${name}`).replace(/^\.\//, '').replace(/\/+$/, ''),
    size: numberAt(header, 124, 12),
    mode: numberAt(header, 100, 8) & 0o7777,
    uid: numberAt(header, 108, 8),
    gid: numberAt(header, 116, 8),
    user: textAt(header, 265, 32),
    group: textAt(header, 297, 32),
    mtimeMs: numberAt(header, 136, 12) * 1000,
    linkTarget: textAt(header, 157, 100),
  };
}

function textAt(header: Buffer, at: number, length: number): string {
  const text = header.toString('latin1', at, at + length);
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

function numberAt(header: Buffer, at: number, length: number): number {
  if (header[at] === 0x80) {
    let value = 0;
    for (let index = at + 1; index < at + length; index++) value = value * 256 + header[index]!;
    if (!Number.isSafeInteger(value)) throw violation('a number is too large');
    return value;
  }
  const digits = textAt(header, at, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw violation('a number is none');
  return Number.parseInt(digits, 8);
}

function violation(what: string): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', `the server sent an archive that is none: ${what}`);
}
