// Tags: what a piece of plain content is recognised by, inside sealed manifests alone.
//
// Hazard: a tag that leaves the agent in the clear tells who knows a file's bytes, and the domain's key, that the file is
// there. So tags are keyed, and nothing but a sealed manifest carries one.
//
// Invariants (tag.property.test.ts): equal bytes have equal tags within a domain, in every key epoch and in another domain
// a different one.

import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { DomainKeys } from './keys.ts';

export const TAG_BYTES = 16;

/**
 * HMAC-SHA-256(K_tag, bytes), its first 16 bytes, in memory of Buffer's pool: never transfer it to another thread.
 *
 * Measured for small input: `createHmac` with a key object costs 2 µs, with raw key bytes 10 µs, hence the cached key object.
 * A digest as a Buffer is memory outside the heap that a collector has to find again; with a buffer of its own for the tag
 * the two cost another 2 µs, as much as the HMAC. A string of bytes costs nothing.
 */
export function tagOf(keys: DomainKeys, bytes: Uint8Array): Buffer<ArrayBuffer> {
  const tag = Buffer.allocUnsafe(TAG_BYTES);
  tag.write(createHmac('sha256', keyObjectOf(keys)).update(bytes).digest('binary'), 0, TAG_BYTES, 'latin1');
  return tag;
}

/** The same, written into `target` at `offset`: for columns of tags. */
export function writeTag(keys: DomainKeys, bytes: Uint8Array, target: Uint8Array, offset: number): void {
  const digest = createHmac('sha256', keyObjectOf(keys)).update(bytes).digest();
  for (let i = 0; i < TAG_BYTES; i++) target[offset + i] = digest[i]!;
}

/** The tag of bytes that arrive in pieces (a file that is read in blocks). */
export class TagStream {
  readonly #hmac;

  constructor(keys: DomainKeys) {
    this.#hmac = createHmac('sha256', keyObjectOf(keys));
  }

  update(bytes: Uint8Array): void {
    this.#hmac.update(bytes);
  }

  /** Once, at the end. */
  finish(): Buffer<ArrayBuffer> {
    const tag = Buffer.allocUnsafeSlow(TAG_BYTES);
    this.#hmac.digest().copy(tag, 0, 0, TAG_BYTES);
    return tag;
  }
}

const keyObjects = new WeakMap<DomainKeys, KeyObject>();

function keyObjectOf(keys: DomainKeys): KeyObject {
  let key = keyObjects.get(keys);
  if (key === undefined) {
    key = createSecretKey(keys.tag);
    keyObjects.set(keys, key);
  }
  return key;
}
