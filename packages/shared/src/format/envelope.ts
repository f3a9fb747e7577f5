// The envelope: the bytes of an object, as far as they can be read without a key.
//
// Hazard: everything here is written by somebody else, a hostile agent or a rotten disk. A length that is believed before
// it is checked is an allocation of 4 GiB (threat 41); a flag that is skipped because it is unknown is data that is read wrong.
//
// Layout (integers little-endian):
//    0  2  magic "HF"            6  2  flags = 0             44  32 × n  references
//    2  1  version = 1           8  4  reference count n     …   rest    ciphertext
//    3  1  kind                 12 32  synthetic IV
//    4  2  key epoch
//
// Invariants (envelope.property.test.ts):
//   E1 what is not exactly this layout is refused: magic, version, kind, flags, count, lengths;
//   E2 no claim in a header makes anything be allocated: limits and the true length are checked first.
//
// Elsewhere on purpose: seal.ts makes and opens envelopes.

import { hash } from 'node:crypto';
import { HoldfastError } from '../base/errors.ts';

/** What an object is; the number is on disk. */
export const ObjectKind = {
  chunk: 1,
  manifestNode: 2,
  snapshotRecord: 3,
  logSegment: 4,
  catalogBackup: 5,
  controllerRecord: 6,
} as const;
export type ObjectKind = (typeof ObjectKind)[keyof typeof ObjectKind];

export const FORMAT_VERSION = 1;
export const ID_BYTES = 32;
export const PROOF_BYTES = 16;
export const HEADER_BYTES = 44;
export const MAX_REFERENCES = 65_536;
/** Plain bytes of one object. */
export const MAX_PLAIN_BYTES = 16 * 1024 * 1024;
/** In the encrypted payload, before the compressed bytes: codec u8, compressed length u32, plain length u32. */
export const PAYLOAD_HEADER_BYTES = 9;
/** The largest payload: the largest plain length, stored, with Padmé padding. */
export const MAX_PAYLOAD_BYTES = MAX_PLAIN_BYTES + 512 * 1024;
/** No envelope is larger, whatever it claims. */
export const MAX_ENVELOPE_BYTES = HEADER_BYTES + MAX_REFERENCES * ID_BYTES + MAX_PAYLOAD_BYTES;
export const MIN_ENVELOPE_BYTES = HEADER_BYTES + PAYLOAD_HEADER_BYTES;

export interface EnvelopeHeader {
  readonly version: typeof FORMAT_VERSION;
  readonly kind: ObjectKind;
  readonly keyEpoch: number;
  readonly flags: 0;
  readonly referenceCount: number;
  /** Where the ciphertext begins: 44 + 32 × referenceCount. */
  readonly ciphertextOffset: number;
}

/**
 * Reads and checks the header of a whole envelope. Nothing is decrypted and the id is not checked.
 * Throws UNSUPPORTED_VERSION for a version, kind or flag this code does not know, and DAMAGED for everything else that is
 * not an envelope (magic, a reference count over the limit or beyond the end, too short, too long).
 */
export function parseHeader(envelope: Uint8Array): EnvelopeHeader {
  if (envelope.length < MIN_ENVELOPE_BYTES) throw damaged(`it has ${envelope.length} bytes, fewer than any envelope`);
  if (envelope.length > MAX_ENVELOPE_BYTES) throw damaged(`it has ${envelope.length} bytes, more than any envelope`);
  if (envelope[0] !== MAGIC_0 || envelope[1] !== MAGIC_1) throw damaged('it does not begin with "HF"');
  const version = envelope[2]!;
  if (version !== FORMAT_VERSION) throw unsupported(`version ${version}`);
  const kind = envelope[3]!;
  if (!isObjectKind(kind)) throw unsupported(`object kind ${kind}`);
  const flags = envelope[6]! | (envelope[7]! << 8);
  if (flags !== 0) throw unsupported(`flags 0x${flags.toString(16)}`);
  const referenceCount = (envelope[8]! | (envelope[9]! << 8) | (envelope[10]! << 16) | (envelope[11]! << 24)) >>> 0;
  if (referenceCount > MAX_REFERENCES) throw damaged(`it claims ${referenceCount} references`);
  const ciphertextOffset = HEADER_BYTES + referenceCount * ID_BYTES;
  if (ciphertextOffset + PAYLOAD_HEADER_BYTES > envelope.length) throw damaged('it ends within its references');
  if (envelope.length - ciphertextOffset > MAX_PAYLOAD_BYTES) throw damaged('its payload is over the limit');
  return {
    version: FORMAT_VERSION,
    kind,
    keyEpoch: envelope[4]! | (envelope[5]! << 8),
    flags: 0,
    referenceCount,
    ciphertextOffset,
  };
}

export function isObjectKind(value: number): value is ObjectKind {
  return Number.isInteger(value) && value >= ObjectKind.chunk && value <= ObjectKind.controllerRecord;
}

/** The references, concatenated (32 × n), as a view into the envelope. Throws as parseHeader does. */
export function referencesOf(envelope: Uint8Array): Uint8Array {
  const header = parseHeader(envelope);
  return envelope.subarray(HEADER_BYTES, header.ciphertextOffset);
}

/** The object's id: SHA-256 of the envelope's bytes, in a buffer of its own. */
export function objectId(envelope: Uint8Array): Buffer<ArrayBuffer> {
  return hash('sha256', envelope, 'buffer');
}

/** The object's proof, siv[16..32]: who knows it has seen the object, which an id alone does not show. A copy. */
export function proofOf(envelope: Uint8Array): Buffer<ArrayBuffer> {
  if (envelope.length < HEADER_BYTES) throw damaged('it is too short for a header');
  const proof = Buffer.allocUnsafeSlow(PROOF_BYTES);
  proof.set(envelope.subarray(HEADER_BYTES - PROOF_BYTES, HEADER_BYTES));
  return proof;
}

const MAGIC_0 = 0x48;
const MAGIC_1 = 0x46;

function damaged(what: string): HoldfastError {
  return new HoldfastError('DAMAGED', `not an object's envelope: ${what}`);
}

function unsupported(what: string): HoldfastError {
  return new HoldfastError('UNSUPPORTED_VERSION', `an object has ${what}, which this version does not know`, {
    hint: 'Upgrade Holdfast on this machine to the version that wrote the repository.',
  });
}
