// The agent's copy of a source's manifest nodes: what the next backup is compared with, without asking the vault.
//
// One append-only file. A node is written once, when a backup made it; nodes of many snapshots share the file, and it is
// written anew when most of it is no longer needed. The plain payloads stand in it, so that reading it costs no
// decompression: the host's own metadata, on the host, in a directory that only its owner can read.
//
// Hazard: a cache that lies is worse than none: a backup would reuse what is not there. So every record carries a
// checksum that is compared when it is loaded, and whatever is wrong makes the cache *miss*; the base is then fetched again.
//
// Invariants (node-cache.test.ts):
//   N1 `load` returns what was appended under that id, or throws NOT_FOUND; never other bytes;
//   N2 a torn or damaged record hides at most itself and what was appended behind it.
//
// It is never synced: what a power loss takes is found by the checksums, and read from the vault.
//
// Record: total length u32 · references length u32 · id 32 · references · payload · first 8 bytes of SHA-256 of all that.

import { hash } from 'node:crypto';
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { NodeBytes, SyncNodeStore, WantedNode } from '@holdfast/shared/format/manifest/node-store';

interface Place {
  readonly offset: number;
  readonly length: number;
}

export class NodeCache implements SyncNodeStore {
  readonly #fd: number;
  readonly #places = new Map<string, Place>();
  #end = 0;

  /** Opens the file, or makes it (0600), and finds its records. A damaged tail is cut off. */
  constructor(path: string) {
    this.#fd = openSync(path, 'a+', 0o600);
    this.#findRecords();
  }

  has(id: Uint8Array): boolean {
    return this.#places.has(keyOf(id));
  }

  /** Bytes of the file. */
  get size(): number {
    return this.#end;
  }

  get ids(): IterableIterator<string> {
    return this.#places.keys();
  }

  load(wanted: Pick<WantedNode, 'id'>): NodeBytes {
    const place = this.#places.get(keyOf(wanted.id));
    if (place === undefined) throw missing(wanted.id);
    const record = Buffer.allocUnsafe(place.length);
    const got = readSync(this.#fd, record, 0, place.length, place.offset);
    if (got !== place.length || !isSound(record) || record.compare(wanted.id, 0, 32, 8, 40) !== 0) {
      this.#places.delete(keyOf(wanted.id));
      throw missing(wanted.id);
    }
    const referencesLength = record.readUInt32LE(4);
    return {
      references: record.subarray(HEADER_BYTES, HEADER_BYTES + referencesLength),
      payload: record.subarray(HEADER_BYTES + referencesLength, record.length - CHECKSUM_BYTES),
    };
  }

  /** Does nothing when the node is there already. */
  append(id: Uint8Array, node: NodeBytes): void {
    const key = keyOf(id);
    if (this.#places.has(key)) return;
    const length = HEADER_BYTES + node.references.length + node.payload.length + CHECKSUM_BYTES;
    const record = Buffer.allocUnsafe(length);
    record.writeUInt32LE(length, 0);
    record.writeUInt32LE(node.references.length, 4);
    record.set(id, 8);
    record.set(node.references, HEADER_BYTES);
    record.set(node.payload, HEADER_BYTES + node.references.length);
    checksumOf(record).copy(record, length - CHECKSUM_BYTES);
    for (let written = 0; written < length;) written += writeSync(this.#fd, record, written);
    this.#places.set(key, { offset: this.#end, length });
    this.#end += length;
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Reads the lengths alone: checksums are compared when a node is loaded. */
  #findRecords(): void {
    const size = fstatSync(this.#fd).size;
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    while (this.#end + HEADER_BYTES <= size) {
      readSync(this.#fd, header, 0, HEADER_BYTES, this.#end);
      const length = header.readUInt32LE(0);
      const referencesLength = header.readUInt32LE(4);
      const fits = length >= HEADER_BYTES + referencesLength + CHECKSUM_BYTES && this.#end + length <= size;
      if (!fits || length > MAX_RECORD_BYTES) break;
      this.#places.set(header.toString('latin1', 8, HEADER_BYTES), { offset: this.#end, length });
      this.#end += length;
    }
    if (this.#end < size) ftruncateSync(this.#fd, this.#end);
  }
}

/** Writes a new cache file with only the nodes of `keep` (ids as byte strings), in the order of the old one. */
export function compactNodeCache(path: string, keep: ReadonlySet<string>): void {
  const old = new NodeCache(path);
  rmSync(`${path}.new`, { force: true });
  const fresh = new NodeCache(`${path}.new`);
  try {
    for (const key of old.ids) {
      if (!keep.has(key)) continue;
      const id = Buffer.from(key, 'latin1');
      fresh.append(id, old.load({ id }));
    }
    renameSync(`${path}.new`, path);
  } finally {
    old.close();
    fresh.close();
  }
}

const CACHE_MISS = { cacheMiss: true };

/** Whether the error says that the cache lacks something, so that the base must be read from the vault. */
export function isCacheMiss(error: unknown): boolean {
  return error instanceof HoldfastError && error.details['cacheMiss'] === true;
}

const HEADER_BYTES = 40;
const CHECKSUM_BYTES = 8;
/** A node's payload and references are bounded by the format; this is above both together. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024;

function keyOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1');
}

function checksumOf(record: Buffer): Buffer {
  return hash('sha256', record.subarray(0, record.length - CHECKSUM_BYTES), 'buffer').subarray(0, CHECKSUM_BYTES);
}

function isSound(record: Buffer): boolean {
  return checksumOf(record).equals(record.subarray(record.length - CHECKSUM_BYTES));
}

function missing(id: Uint8Array): HoldfastError {
  return new HoldfastError('NOT_FOUND', `node ${Buffer.from(id).toString('hex', 0, 6)} is not in the cache`, {
    details: CACHE_MISS,
  });
}
