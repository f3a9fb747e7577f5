// Codecs: how an object's plain bytes are packed before they are encrypted.
//
// Hazard: a decompression bomb. A few bytes may claim, or really unfold to, gigabytes (threats 41, 43). So the plain length
// that stands beside the compressed bytes is checked against the format's limit first, is the only size that is ever
// allocated, and must be met exactly.
//
// Invariants (codec.property.test.ts):
//   C1 what was packed comes back; what does not shrink is stored, so packing never makes anything larger;
//   C2 unpacking allocates the declared length, never more, and refuses bytes that unfold to another length.
//
// Elsewhere on purpose: seal.ts verifies authenticity before anything here sees the bytes.

import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import lz4 from 'lz4-napi';
import { HoldfastError } from '../base/errors.ts';
import { MAX_PLAIN_BYTES } from './envelope.ts';

/** How an object's plain bytes are packed. */
export type CodecName = 'stored' | 'lz4' | 'zstd';

/** The codec's number on disk. */
export const Codec = { stored: 0, lz4: 1, zstd: 2 } as const;
export type Codec = (typeof Codec)[keyof typeof Codec];

/** LZ4 tries this much first, at the start and in the middle, and stores what shrinks at neither place. */
export const PROBE_BYTES = 16 * 1024;
export const DEFAULT_ZSTD_LEVEL = 1;
export const MIN_ZSTD_LEVEL = 1;
export const MAX_ZSTD_LEVEL = 19;

export interface Packed {
  readonly codec: Codec;
  /** Fewer than the plain bytes, or for `stored` the plain bytes themselves (not a copy). May lie in a shared pool. */
  readonly bytes: Uint8Array;
}

/**
 * Packs `plain` (≤ 16 MiB), or answers `stored` when that saves less than 1/64.
 * Throws LIMIT_EXCEEDED when plain is too long, INVALID_ARGUMENT for a level outside 1–19.
 */
export function pack(plain: Uint8Array, codec: CodecName, level: number = DEFAULT_ZSTD_LEVEL): Packed {
  if (plain.length > MAX_PLAIN_BYTES) {
    throw new HoldfastError('LIMIT_EXCEEDED', `an object holds at most ${MAX_PLAIN_BYTES} bytes, not ${plain.length}`);
  }
  if (codec === 'zstd') return smaller(plain, Codec.zstd, packZstd(plain, level));
  if (codec === 'lz4' && worthLz4(plain)) return smaller(plain, Codec.lz4, packLz4(plain));
  return { codec: Codec.stored, bytes: plain };
}

/**
 * Unpacks. `sized` is the plain length (u32, little-endian) and right behind it the compressed bytes, as in a payload: LZ4's
 * library wants them so, and nothing has to be copied. The answer lies in an ArrayBuffer that nothing else uses.
 * Throws DAMAGED for a length over 16 MiB or bytes that do not unfold to exactly it, UNSUPPORTED_VERSION for another codec.
 */
export function unpack(codec: number, sized: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  const plainLength = sized.readUInt32LE(0);
  if (plainLength > MAX_PLAIN_BYTES) throw damaged(`claims ${plainLength} plain bytes`);
  const packedLength = sized.length - LENGTH_BYTES;
  if (codec === Codec.stored) {
    if (packedLength !== plainLength) throw damaged('is stored with another length than it claims');
    return sized.subarray(LENGTH_BYTES);
  }
  if (codec !== Codec.lz4 && codec !== Codec.zstd) {
    throw new HoldfastError(
      'UNSUPPORTED_VERSION',
      `an object is packed with codec ${codec}, which this version does not know`,
    );
  }
  if (packedLength >= plainLength) throw damaged('is packed into more bytes than it had');
  const plain = codec === Codec.lz4 ? unpackLz4(sized) : unpackZstd(sized.subarray(LENGTH_BYTES), plainLength);
  if (plain.length !== plainLength) throw damaged(`unfolds to ${plain.length} bytes instead of ${plainLength}`);
  return inOwnBuffer(plain);
}

const LENGTH_BYTES = 4;

/** Below 1/64 the reader's time for unpacking costs more than the space is worth. */
function smaller(plain: Uint8Array, codec: Codec, bytes: Uint8Array): Packed {
  if (bytes.length > plain.length - Math.ceil(plain.length / 64)) return { codec: Codec.stored, bytes: plain };
  return { codec, bytes };
}

/*
 * No probe for Zstandard: level 1 passes over random bytes at 2–5 GB/s by itself, which is not slower than a probe, and a
 * bundle that begins with a picture is not stored whole by mistake.
 */
function packZstd(plain: Uint8Array, level: number): Buffer {
  if (!Number.isInteger(level) || level < MIN_ZSTD_LEVEL || level > MAX_ZSTD_LEVEL) {
    throw new HoldfastError(
      'INVALID_ARGUMENT',
      `a Zstandard level is ${MIN_ZSTD_LEVEL} to ${MAX_ZSTD_LEVEL}, not ${level}`,
    );
  }
  return zstdCompressSync(plain, {
    // One output buffer that always suffices (ZSTD_COMPRESSBOUND): otherwise Node gathers 16 KiB pieces and copies them.
    chunkSize: plain.length + (plain.length >> 8) + 128,
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      ...(level <= FAST_LEVEL ? { [constants.ZSTD_c_windowLog]: FAST_WINDOW_LOG } : {}),
    },
  });
}

function unpackZstd(packed: Buffer, plainLength: number): Buffer {
  let unpacked: ZstdResult;
  try {
    unpacked = zstdDecompressSync(packed, {
      // One byte more than can come: Node would otherwise allocate a second buffer just to see that it stays empty.
      chunkSize: Math.max(plainLength + 1, MIN_NODE_CHUNK_BYTES),
      maxOutputLength: plainLength,
      info: true,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    }) as unknown as ZstdResult;
  } catch (cause) {
    throw damaged('is not what Zstandard makes, or unfolds to more than it claims', cause);
  }
  // Node reads one frame and says nothing about what stands behind it.
  if (unpacked.engine.bytesWritten !== packed.length) throw damaged('has something behind its Zstandard frame');
  return unpacked.buffer;
}

/** What Node answers with `info: true`; its types do not say so. `bytesWritten`: compressed bytes that were consumed. */
interface ZstdResult {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

/**
 * At the fast levels a window of 256 KiB stays in the processor's cache: 530 instead of 470 MB/s, for 0.1 % more bytes
 * (kernel sources in bundles of 300 KiB).
 */
const FAST_LEVEL = 2;
const FAST_WINDOW_LOG = 18;

/** A frame may ask for a window of 2 GiB; none of ours needs more than the longest object, 2^24. */
const WINDOW_LOG_MAX = 24;
const MIN_NODE_CHUNK_BYTES = 64;

function packLz4(plain: Uint8Array): Uint8Array {
  // The library puts the plain length in front of the block; the payload has a field of its own for it.
  return lz4.compressSync(asBuffer(plain)).subarray(LENGTH_BYTES);
}

function unpackLz4(sized: Buffer): Buffer {
  try {
    return lz4.uncompressSync(sized);
  } catch (cause) {
    throw damaged('is not an LZ4 block, or unfolds to more than it claims', cause);
  }
}

/** LZ4 crawls over what does not shrink (300 MB/s), so it is tried on little of it. */
function worthLz4(plain: Uint8Array): boolean {
  if (plain.length <= 2 * PROBE_BYTES) return true;
  const middle = (plain.length - PROBE_BYTES) >>> 1;
  return (
    shrinksUnderLz4(plain.subarray(0, PROBE_BYTES)) || shrinksUnderLz4(plain.subarray(middle, middle + PROBE_BYTES))
  );
}

function shrinksUnderLz4(sample: Uint8Array): boolean {
  return packLz4(sample).length < sample.length - sample.length / 64;
}

/** Node takes small buffers from a shared pool, which must never be transferred to another thread. */
function inOwnBuffer(bytes: Buffer): Buffer<ArrayBuffer> {
  const own = bytes as Buffer<ArrayBuffer>;
  if (own.byteOffset === 0 && own.buffer.byteLength <= own.length + MIN_NODE_CHUNK_BYTES) return own;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function damaged(what: string, cause?: unknown): HoldfastError {
  return new HoldfastError('DAMAGED', `an object's content ${what}`, cause === undefined ? {} : { cause });
}
