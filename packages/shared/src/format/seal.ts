// Sealing and opening: plain bytes ⇄ envelope.
//
// Hazard: bytes that are believed before they are proven. A swapped type, a reference list of another object, a length that
// a thief of storage rewrote: each must be refused before it is decompressed, or used at all.
//
// SIV (Rogaway and Shrimpton, "Deterministic Authenticated-Encryption", EUROCRYPT 2006) with HMAC-SHA-256 as the PRF and
// AES-256-CTR as the cipher. The payload that is encrypted, integers little-endian:
//    0  1  codec: 0 stored, 1 LZ4 block, 2 Zstandard frame
//    1  4  length of the compressed bytes
//    5  4  plain length, ≤ 16 MiB
//    9  …  compressed bytes, then zeros: none, or as many as make the payload's length a Padmé length
//
// Invariants (seal.property.test.ts):
//   S1 the same input gives the same envelope, whatever thread, buffer or earlier call; what was sealed opens to itself;
//   S2 an envelope of which any byte was changed, cut off or appended is refused;
//   S3 an object is never opened as another kind, under another id, or with another domain's or epoch's keys;
//   S4 nothing is decompressed, or allocated by a claim, before the synthetic IV is verified.
//
// Elsewhere on purpose: the layout in front of the ciphertext (envelope.ts), compression (codec.ts), keys (keys.ts).

import { createCipheriv, createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';
import { HoldfastError } from '../base/errors.ts';
import { freeMemory } from '../base/free-memory.ts';
import { Codec, DEFAULT_ZSTD_LEVEL, pack, unpack, type CodecName } from './codec.ts';
import {
  FORMAT_VERSION,
  HEADER_BYTES,
  ID_BYTES,
  MAX_REFERENCES,
  objectId,
  parseHeader,
  PAYLOAD_HEADER_BYTES,
  proofOf,
  type ObjectKind,
} from './envelope.ts';
import type { DomainKeys } from './keys.ts';
import { padmeLength } from './padding.ts';

export interface SealOptions {
  /** Default zstd. What does not shrink is stored whatever is asked. */
  readonly codec?: CodecName;
  /** Zstandard's level, 1–19; default 1. */
  readonly level?: number;
  /** Padmé padding of the payload, so that lengths say less; default off. */
  readonly padding?: boolean;
}

export interface SealedObject {
  /** 32 bytes: SHA-256 of the envelope. */
  readonly id: Buffer<ArrayBuffer>;
  /** In an ArrayBuffer of its own (offset 0, exact length): it may be transferred to another thread. */
  readonly envelope: Buffer<ArrayBuffer>;
  /** 16 bytes: siv[16..32]. */
  readonly proof: Buffer<ArrayBuffer>;
}

export interface OpenedObject {
  readonly kind: ObjectKind;
  readonly keyEpoch: number;
  /** Concatenated ids, 32 × n: a view into the envelope. */
  readonly references: Uint8Array;
  /** The plain bytes. Nothing else lives in its ArrayBuffer, so it may be transferred; it need not begin at offset 0. */
  readonly plain: Buffer<ArrayBuffer>;
}

/**
 * Seals `plain` (≤ 16 MiB). `references`: ids in order of first use, one by one or concatenated (32 × n), ≤ 65,536.
 * Throws LIMIT_EXCEEDED over a limit, INVALID_ARGUMENT for references that are not 32 bytes each.
 */
export function seal(
  keys: DomainKeys,
  kind: ObjectKind,
  references: Uint8Array | readonly Uint8Array[],
  plain: Uint8Array,
  options: SealOptions = {},
): SealedObject {
  const packed = pack(plain, options.codec ?? 'zstd', options.level ?? DEFAULT_ZSTD_LEVEL);
  const ciphertextOffset = HEADER_BYTES + referenceBytes(references);
  const packedLength = packed.bytes.length;
  const contentLength = PAYLOAD_HEADER_BYTES + packedLength;
  const payloadLength = options.padding === true ? padmeLength(contentLength) : contentLength;
  const length = ciphertextOffset + payloadLength;

  const clear = scratch(length);
  writeHeader(clear, kind, keys.epoch, (ciphertextOffset - HEADER_BYTES) / ID_BYTES);
  writeReferences(clear, references);
  clear[ciphertextOffset] = packed.codec;
  clear.writeUInt32LE(packedLength, ciphertextOffset + COMPRESSED_LENGTH_AT);
  clear.writeUInt32LE(plain.length, ciphertextOffset + PLAIN_LENGTH_AT);
  clear.set(packed.bytes, ciphertextOffset + PAYLOAD_HEADER_BYTES);
  // Zstandard's output buffer is as long as what went in: without this a seal thread holds 50 MiB more.
  if (packed.codec === Codec.zstd) freeMemory(packed.bytes);
  clear.fill(0, ciphertextOffset + contentLength, length);

  const ciphers = ciphersOf(keys);
  const siv = createHmac('sha256', ciphers.mac)
    .update(clear.subarray(0, SIV_AT))
    .update(clear.subarray(HEADER_BYTES))
    .digest();
  clear.set(siv, SIV_AT);
  const envelope = encryptBehind(clear, ciphertextOffset, ciphers.enc, siv);
  return { id: objectId(envelope), envelope, proof: proofOf(envelope) };
}

/**
 * Opens an envelope. The id (when given), the kind (when given) and the synthetic IV are verified before anything is decompressed.
 * Throws DAMAGED for bytes that are not what was sealed, UNSUPPORTED_VERSION for a format this code does not know,
 * FAILED_PRECONDITION when `keys` are of another epoch than the envelope's.
 */
export function open(
  keys: DomainKeys,
  envelope: Uint8Array,
  expected: { readonly id?: Uint8Array; readonly kind?: ObjectKind } = {},
): OpenedObject {
  if (expected.id !== undefined && !objectId(envelope).equals(expected.id)) {
    throw new HoldfastError('DAMAGED', `object ${hex(expected.id)} does not hash to its id`);
  }
  const header = parseHeader(envelope);
  if (expected.kind !== undefined && header.kind !== expected.kind) {
    throw new HoldfastError('DAMAGED', `an object is of kind ${header.kind} where kind ${expected.kind} belongs`);
  }
  if (header.keyEpoch !== keys.epoch) {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `an object is sealed with keys of epoch ${header.keyEpoch}, not ${keys.epoch}`,
      {
        details: { keyEpoch: header.keyEpoch },
      },
    );
  }

  const ciphers = ciphersOf(keys);
  const siv = envelope.subarray(SIV_AT, HEADER_BYTES);
  const payload = createCipheriv(CIPHER, ciphers.enc, siv.subarray(0, IV_BYTES)).update(
    envelope.subarray(header.ciphertextOffset),
  );
  const references = envelope.subarray(HEADER_BYTES, header.ciphertextOffset);
  const expectedSiv = createHmac('sha256', ciphers.mac)
    .update(envelope.subarray(0, SIV_AT))
    .update(references)
    .update(payload)
    .digest();
  if (!timingSafeEqual(siv, expectedSiv)) {
    throw new HoldfastError('DAMAGED', 'an object was changed after it was sealed, or is sealed with other keys');
  }
  const plain = plainOf(payload);
  if (plain.buffer !== payload.buffer) freeMemory(payload);
  return { kind: header.kind, keyEpoch: header.keyEpoch, references, plain };
}

const CIPHER = 'aes-256-ctr';
const SIV_AT = 12;
const IV_BYTES = 16;
const AES_BLOCK_BYTES = 16;
const COMPRESSED_LENGTH_AT = 1;
const PLAIN_LENGTH_AT = 5;

function plainOf(payload: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  const contentLength = PAYLOAD_HEADER_BYTES + payload.readUInt32LE(COMPRESSED_LENGTH_AT);
  if (contentLength > payload.length)
    throw new HoldfastError('DAMAGED', "an object's content is longer than its envelope");
  if (payload.length !== contentLength && payload.length !== padmeLength(contentLength)) {
    throw new HoldfastError('DAMAGED', 'an object is padded to a length that nobody pads to');
  }
  for (let i = contentLength; i < payload.length; i++) {
    if (payload[i] !== 0) throw new HoldfastError('DAMAGED', "an object's padding is not zeros");
  }
  return unpack(payload[0]!, payload.subarray(PLAIN_LENGTH_AT, contentLength));
}

function writeHeader(target: Buffer, kind: ObjectKind, epoch: number, referenceCount: number): void {
  target[0] = 0x48;
  target[1] = 0x46;
  target[2] = FORMAT_VERSION;
  target[3] = kind;
  target.writeUInt16LE(epoch, 4);
  target.writeUInt16LE(0, 6);
  target.writeUInt32LE(referenceCount, 8);
}

function referenceBytes(references: Uint8Array | readonly Uint8Array[]): number {
  const wrong =
    references instanceof Uint8Array
      ? references.length % ID_BYTES !== 0
      : references.some((reference) => reference.length !== ID_BYTES);
  if (wrong) throw new HoldfastError('INVALID_ARGUMENT', 'a reference has 32 bytes');
  const count = references instanceof Uint8Array ? references.length / ID_BYTES : references.length;
  if (count > MAX_REFERENCES) {
    throw new HoldfastError('LIMIT_EXCEEDED', `an object has at most ${MAX_REFERENCES} references, not ${count}`);
  }
  return count * ID_BYTES;
}

function writeReferences(target: Buffer, references: Uint8Array | readonly Uint8Array[]): void {
  if (references instanceof Uint8Array) {
    target.set(references, HEADER_BYTES);
    return;
  }
  let at = HEADER_BYTES;
  for (const reference of references) {
    target.set(reference, at);
    at += ID_BYTES;
  }
}

/*
 * Encrypts clear[offset…] and answers the whole envelope without copying the ciphertext once more: the cipher allocates its
 * output itself, so it is given the header too, with a counter that stands as many blocks earlier, and the encrypted header
 * is overwritten. The header of 44 bytes and the references are 4 bytes short of whole blocks; those 4 go ahead, discarded.
 * Saves 0.1 ms per MiB of envelope, most of it page faults of a second buffer.
 */
function encryptBehind(clear: Buffer, offset: number, key: KeyObject, siv: Uint8Array): Buffer<ArrayBuffer> {
  const cipher = createCipheriv(CIPHER, key, counterBefore(siv, (offset + BLOCK_FILL.length) / AES_BLOCK_BYTES));
  cipher.update(BLOCK_FILL);
  const envelope = cipher.update(clear);
  envelope.set(clear.subarray(0, offset));
  return envelope;
}

const BLOCK_FILL = Buffer.alloc(AES_BLOCK_BYTES - (HEADER_BYTES % AES_BLOCK_BYTES));

/** siv[0..16] as a 128-bit big-endian counter, minus `blocks`. */
function counterBefore(siv: Uint8Array, blocks: number): Uint8Array {
  const counter = new Uint8Array(siv.subarray(0, IV_BYTES));
  let borrow = blocks;
  for (let i = IV_BYTES - 1; i >= 0 && borrow > 0; i--) {
    const difference = counter[i]! - (borrow & 0xff);
    counter[i] = difference & 0xff;
    borrow = (borrow >>> 8) + (difference < 0 ? 1 : 0);
  }
  return counter;
}

/** One buffer per thread to put payloads together in. It never leaves this module. */
let reusable = Buffer.allocUnsafeSlow(64 * 1024);
const MAX_KEPT_BYTES = 5 * 1024 * 1024;

function scratch(length: number): Buffer {
  if (length > MAX_KEPT_BYTES) return Buffer.allocUnsafeSlow(length);
  if (length > reusable.length)
    reusable = Buffer.allocUnsafeSlow(Math.min(MAX_KEPT_BYTES, 2 ** Math.ceil(Math.log2(length))));
  return reusable.subarray(0, length);
}

interface CipherKeys {
  readonly mac: KeyObject;
  readonly enc: KeyObject;
}

// Key objects cost 8 µs to make and nothing to use again; raw key bytes pay that in every call.
const cipherKeys = new WeakMap<DomainKeys, CipherKeys>();

function ciphersOf(keys: DomainKeys): CipherKeys {
  let made = cipherKeys.get(keys);
  if (made === undefined) {
    made = { mac: createSecretKey(keys.mac), enc: createSecretKey(keys.enc) };
    cipherKeys.set(keys, made);
  }
  return made;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
