// Pseudo-random content that anybody can make again from a word: for tests and for the published vectors.

import { createCipheriv, hash } from 'node:crypto';

/** `length` bytes of the AES-256-CTR keystream under the key SHA-256(seed, UTF-8), counter from zero. */
export function seededBytes(seed: string, length: number): Buffer<ArrayBuffer> {
  const cipher = createCipheriv('aes-256-ctr', hash('sha256', seed, 'buffer'), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(length));
}
