// Boundary hashes: where nodes end.
//
// A node ends where a keyed hash of what it holds is small, so its boundaries depend on the content alone and not on
// what came earlier: changing one entry changes one leaf. Keyed, so that who can't read a manifest can't tell names
// from boundaries, nor craft names that make nodes of one entry each.
//
// The hash is the first 32 bits, little-endian, of HMAC-SHA-256(K_node, message); a message is
//   path                        for a leaf (a path has no NUL, so the others can't be one),
//   00 ‖ level ‖ first path     for a child of an inner node of that level,
//   00 ‖ 80 ‖ tag               for a data segment of a segment-tree node,
//   00 ‖ 80 + level ‖ id        for a child of a segment-tree inner node.
//
// HMAC is written out over two one-shot hashes: `createHmac` costs 9 µs for a path, this 0.7 µs.

import { hash } from 'node:crypto';
import type { ByteString } from '../../base/byte-string.ts';

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;
const SEGMENTS = 0x80;
const USUAL_MESSAGE_BYTES = 4096;

export class BoundaryHash {
  #inner: Buffer;
  readonly #outer: Buffer;

  /** `node` is K_node, 32 bytes. */
  constructor(node: Uint8Array) {
    this.#inner = Buffer.alloc(BLOCK_BYTES + USUAL_MESSAGE_BYTES, 0x36);
    this.#outer = Buffer.alloc(BLOCK_BYTES + HASH_BYTES, 0x5c);
    node.forEach((byte, i) => {
      this.#inner[i] = 0x36 ^ byte;
      this.#outer[i] = 0x5c ^ byte;
    });
  }

  ofPath(path: ByteString): number {
    this.#makeRoom(path.length);
    return this.#finish(BLOCK_BYTES + this.#inner.write(path, BLOCK_BYTES, 'latin1'));
  }

  ofChild(level: number, firstPath: ByteString): number {
    this.#makeRoom(2 + firstPath.length);
    this.#prefix(level);
    return this.#finish(BLOCK_BYTES + 2 + this.#inner.write(firstPath, BLOCK_BYTES + 2, 'latin1'));
  }

  ofSegment(tag: Uint8Array): number {
    this.#prefix(SEGMENTS);
    this.#inner.set(tag, BLOCK_BYTES + 2);
    return this.#finish(BLOCK_BYTES + 2 + tag.length);
  }

  ofSegmentChild(level: number, id: Uint8Array): number {
    this.#prefix(SEGMENTS + level);
    this.#inner.set(id, BLOCK_BYTES + 2);
    return this.#finish(BLOCK_BYTES + 2 + id.length);
  }

  #makeRoom(messageBytes: number): void {
    if (BLOCK_BYTES + messageBytes <= this.#inner.length) return;
    const larger = Buffer.alloc(BLOCK_BYTES + messageBytes);
    this.#inner.copy(larger, 0, 0, BLOCK_BYTES);
    this.#inner = larger;
  }

  #prefix(kind: number): void {
    this.#inner[BLOCK_BYTES] = 0;
    this.#inner[BLOCK_BYTES + 1] = kind;
  }

  #finish(end: number): number {
    this.#outer.write(hash('sha256', this.#inner.subarray(0, end), 'binary'), BLOCK_BYTES, 'latin1');
    const digest = hash('sha256', this.#outer, 'binary');
    const high = digest.charCodeAt(3) * 2 ** 24;
    return high + ((digest.charCodeAt(2) << 16) | (digest.charCodeAt(1) << 8) | digest.charCodeAt(0));
  }
}
