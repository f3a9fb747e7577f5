// The enrolment token: everything a new host must know, in one word that survives copy and paste.
//
// "hfe_" + base64url of: version 1 (1 byte) · SHA-256 of the authority's certificate (32) · secret (32) · address (UTF-8)
// · first 4 bytes of SHA-256 over all that. The checksum tells a mangled copy from a refused token.
//
// Tested in enrolment-token.test.ts.

import { createHash } from 'node:crypto';

import { HoldfastError } from '../base/errors.ts';

export interface EnrolmentToken {
  /** host:port of the controller */
  readonly address: string;
  /** SHA-256 of the authority's certificate (DER), hex */
  readonly caFingerprint: string;
  /** 32 bytes */
  readonly secret: Uint8Array;
}

const PREFIX = 'hfe_';
const VERSION = 1;
const FIXED_BYTES = 1 + 32 + 32;
const CHECKSUM_BYTES = 4;
const ADDRESS_MAX_BYTES = 300;

export function encodeEnrolmentToken(token: EnrolmentToken): string {
  const body = Buffer.concat([
    Buffer.of(VERSION),
    Buffer.from(token.caFingerprint, 'hex'),
    token.secret,
    Buffer.from(token.address, 'utf8'),
  ]);
  return PREFIX + Buffer.concat([body, checksum(body)]).toString('base64url');
}

/** Throws INVALID_ARGUMENT when the word is not a whole token. */
export function decodeEnrolmentToken(word: string): EnrolmentToken {
  const text = word.trim();
  if (!text.startsWith(PREFIX) || !/^[A-Za-z0-9_-]+$/.test(text)) throw notAToken();
  const bytes = Buffer.from(text.slice(PREFIX.length), 'base64url');
  const body = bytes.subarray(0, -CHECKSUM_BYTES);
  const addressBytes = body.length - FIXED_BYTES;
  if (addressBytes < 3 || addressBytes > ADDRESS_MAX_BYTES || body[0] !== VERSION) throw notAToken();
  if (!checksum(body).equals(bytes.subarray(-CHECKSUM_BYTES))) throw notAToken();
  return {
    caFingerprint: body.subarray(1, 33).toString('hex'),
    secret: Buffer.from(body.subarray(33, 65)),
    address: body.subarray(FIXED_BYTES).toString('utf8'),
  };
}

function checksum(body: Uint8Array): Buffer {
  return createHash('sha256').update(body).digest().subarray(0, CHECKSUM_BYTES);
}

function notAToken(): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', 'this is not a whole enrolment token', {
    hint: 'Copy it again in full, or make a new one: holdfast host add NAME',
  });
}
