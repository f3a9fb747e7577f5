// The master key: what wraps the secrets that the catalog holds (the authority's key, domains' master secrets).
//
// Hazard: a stolen catalog must give nobody a secret, so the key is kept elsewhere: in the environment, or in a file of
// its own that only the controller's user can read. A catalog whose secrets don't open with this key refuses to start:
// going on would make a second authority beside the first.
//
// Invariants (master-key.test.ts): a wrapped secret opens only with the same key under the same name; any changed byte
// refuses; the key's file is created 0600 and is refused when others can read it.

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';

import { HoldfastError } from '@holdfast/shared/base/errors';

export interface MasterKey {
  /** AES-256-GCM under a random nonce; `name` says what the secret is and is authenticated with it. */
  wrap(name: string, secret: Uint8Array): Buffer;
  /** Throws FAILED_PRECONDITION when this is not the key that wrapped it, or the bytes were changed. */
  unwrap(name: string, wrapped: Uint8Array): Buffer;
  /** 32 bytes for one purpose (HKDF-SHA-256): what every replica must have and a rebuild must find again without a catalog. */
  derive(purpose: string): Buffer;
}

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** @param key 32 bytes */
export function masterKeyFrom(key: Uint8Array): MasterKey {
  return {
    derive: (purpose) => Buffer.from(hkdfSync('sha256', key, 'holdfast master key', purpose, 32)),
    wrap(name, secret) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(name));
      const sealed = Buffer.concat([cipher.update(secret), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), nonce, sealed, cipher.getAuthTag()]);
    },
    unwrap(name, wrapped) {
      try {
        if (wrapped[0] !== VERSION || wrapped.length < 1 + NONCE_BYTES + TAG_BYTES)
          throw new Error('not a wrapped secret');
        const cipher = createDecipheriv('aes-256-gcm', key, wrapped.subarray(1, 1 + NONCE_BYTES));
        cipher.setAAD(Buffer.from(name)).setAuthTag(wrapped.subarray(-TAG_BYTES));
        return Buffer.concat([cipher.update(wrapped.subarray(1 + NONCE_BYTES, -TAG_BYTES)), cipher.final()]);
      } catch (cause) {
        throw new HoldfastError('FAILED_PRECONDITION', `the master key does not open ${name}`, {
          hint: 'Give the controller the master key that this catalog was made with.',
          cause,
        });
      }
    },
  };
}

/** The key as 64 hex digits, from HOLDFAST_MASTER_KEY or the content of a file. Throws INVALID_ARGUMENT. */
export function parseMasterKey(text: string, where: string): Buffer {
  if (!/^[0-9a-fA-F]{64}$/.test(text.trim())) {
    throw new HoldfastError('INVALID_ARGUMENT', `the master key in ${where} is not 64 hexadecimal digits`);
  }
  return Buffer.from(text.trim(), 'hex');
}

/** Reads the key's file, or makes one with a new key. Throws NOT_ALLOWED when others can read it. */
export function readOrCreateMasterKey(path: string): Buffer {
  try {
    const key = randomBytes(32);
    writeFileSync(path, `${key.toString('hex')}\n`, { mode: 0o600, flag: 'wx', flush: true });
    return key;
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'EEXIST') throw error;
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new HoldfastError('NOT_ALLOWED', `${path} can be read by others`, { hint: `Run: chmod 600 ${path}` });
  }
  return parseMasterKey(readFileSync(path, 'utf8'), path);
}
