// What an engine's producer thread writes a snapshot through, when its content is no file tree that could be walked: the files
// of a base backup as they stream in, tables of a dump, pages of a database file.
//
// Calls are synchronous and block while too much is on its way: that is the back-pressure. A producer that reads a socket
// stops reading it meanwhile, and its server waits.
//
// Paths may come in any order; each once. Missing parents are made as directories.

import type { ByteString } from '@holdfast/shared/base/byte-string';

/** What an entry has besides its content. */
export interface EntryMetadata {
  /** Permission bits; the type is that of the call. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly user: ByteString;
  readonly group: ByteString;
  readonly mtimeMs: number;
}

export interface SnapshotWriter {
  directory(path: ByteString, metadata: EntryMetadata): void;
  symlink(path: ByteString, target: ByteString, metadata: EntryMetadata): void;
  /** A few bytes: they go into a bundle. At most 256 KiB. */
  smallFile(path: ByteString, metadata: EntryMetadata, bytes: Uint8Array): void;
  /** Content-defined chunks; what the path had in the base snapshot is not stored again. One file open at a time. */
  stream(path: ByteString): OpenStream;
  /** Pages: those that the path had before are not stored again, whatever changed around them. One file open at a time. */
  pages(path: ByteString, pageBytes: number): OpenStream;
  warn(code: string, path: ByteString, message: string): void;
}

/** A file whose bytes come in order. */
export interface OpenStream {
  /** Any length; copied before it returns. */
  write(bytes: Uint8Array): void;
  /** Bytes that are zeros, not read (a hole) or known to be. */
  skip(length: number, kind: 'hole' | 'zeros'): void;
  /** Bytes so far. */
  readonly length: number;
  end(metadata: EntryMetadata): void;
  /** The file is left out. */
  abandon(): void;
}
