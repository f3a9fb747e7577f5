import { zstdCompressSync } from 'node:zlib';
import { expect } from 'chai';
import fc from 'fast-check';
import lz4 from 'lz4-napi';
import { expectError } from '../testing/expect-error.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import { Codec, pack, PROBE_BYTES, unpack, type CodecName } from './codec.ts';
import { MAX_PLAIN_BYTES } from './envelope.ts';

const MIB = 1024 * 1024;
const codecs = fc.constantFrom<CodecName>('stored', 'lz4', 'zstd');
/** Bytes that shrink, bytes that do not, and mixtures. */
const contents = fc
  .array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 200 })), { maxLength: 20 })
  .map((runs) => Buffer.concat(runs.flatMap(([bytes, times]) => Array.from({ length: times }, () => bytes))));

function sized(plainLength: number, packed: Uint8Array): Buffer<ArrayBuffer> {
  const bytes = Buffer.allocUnsafeSlow(4 + packed.length);
  bytes.writeUInt32LE(plainLength);
  bytes.set(packed, 4);
  return bytes;
}

/** An LZ4 block decoder from the format's description alone (lz4_Block_format.md), to hold the library to it. */
function referenceLz4(block: Uint8Array): Buffer {
  const out: number[] = [];
  let at = 0;
  const lengthFrom = (start: number): number => {
    let length = start;
    if (start !== 15) return length;
    let more: number;
    do length += more = block[at++]!;
    while (more === 255);
    return length;
  };
  while (at < block.length) {
    const token = block[at++]!;
    for (let n = lengthFrom(token >> 4); n > 0; n--) out.push(block[at++]!);
    if (at >= block.length) break;
    const distance = block[at]! | (block[at + 1]! << 8);
    at += 2;
    for (let n = lengthFrom(token & 15) + 4; n > 0; n--) out.push(out[out.length - distance]!);
  }
  return Buffer.from(out);
}

describe('codecs', () => {
  it('C1 give back what was packed, in a buffer that nothing else uses', () => {
    fc.assert(
      fc.property(contents, codecs, (plain, codec) => {
        const packed = pack(plain, codec);
        expect(packed.bytes.length).to.be.at.most(plain.length);
        const plainAgain = unpack(packed.codec, sized(plain.length, packed.bytes));
        expect(plainAgain.equals(plain)).to.equal(true);
        expect(plainAgain.buffer.byteLength).to.be.at.most(plain.length + 64);
      }),
    );
  });

  it('C1 store what does not shrink, and pack what does, whatever stands at its start', () => {
    const random = seededBytes('incompressible', MIB);
    for (const codec of ['lz4', 'zstd', 'stored'] as const) {
      expect(pack(random, codec).codec).to.equal(Codec.stored);
      expect(pack(random, codec).bytes).to.equal(random);
    }
    const mixed = Buffer.concat([
      seededBytes('a picture first', PROBE_BYTES * 2),
      Buffer.alloc(MIB, 'text after it. '),
    ]);
    expect(pack(mixed, 'zstd').codec).to.equal(Codec.zstd);
    expect(pack(mixed, 'lz4').codec).to.equal(Codec.lz4);
    expect(pack(Buffer.alloc(100), 'zstd').codec).to.equal(Codec.zstd);
    expect(pack(Buffer.alloc(0), 'zstd').codec).to.equal(Codec.stored);
  });

  it('C1 take higher levels of Zstandard, and refuse those that are none', () => {
    const plain = Buffer.from(seededBytes('levels', 200_000).toString('hex'));
    for (const level of [1, 3, 9, 19]) {
      const packed = pack(plain, 'zstd', level);
      expect(unpack(packed.codec, sized(plain.length, packed.bytes)).equals(plain)).to.equal(true);
    }
    for (const level of [0, -1, 20, 1.5]) expectError(() => pack(plain, 'zstd', level), 'INVALID_ARGUMENT');
  });

  it('C1 write LZ4 blocks that a decoder made from the format’s description reads', () => {
    fc.assert(
      fc.property(contents, (plain) => {
        const packed = pack(plain, 'lz4');
        if (packed.codec === Codec.lz4) expect(referenceLz4(packed.bytes).equals(plain)).to.equal(true);
      }),
    );
  });

  it('C2 41 refuse a claim over 16 MiB before anything else, and accept 16 MiB', () => {
    for (const claim of [MAX_PLAIN_BYTES + 1, 0x7fff_ffff, 0xffff_ffff]) {
      for (const codec of [0, 1, 2, 3]) expectError(() => unpack(codec, sized(claim, Buffer.alloc(10))), 'DAMAGED');
    }
    expectError(() => pack(Buffer.alloc(MAX_PLAIN_BYTES + 1), 'stored'), 'LIMIT_EXCEEDED');
    const longest = Buffer.alloc(MAX_PLAIN_BYTES, 'x');
    for (const codec of ['lz4', 'zstd'] as const) {
      const packed = pack(longest, codec);
      expect(unpack(packed.codec, sized(longest.length, packed.bytes)).equals(longest)).to.equal(true);
    }
  });

  it('C2 43 refuse bombs of both compressors without growing to their size', () => {
    const unfolded = Buffer.alloc(256 * MIB);
    const zstdBomb = zstdCompressSync(unfolded);
    const lz4Bomb = lz4.compressSync(unfolded).subarray(4);
    for (const claim of [1, 100_000, 2 * MIB, MAX_PLAIN_BYTES]) {
      const before = process.memoryUsage().arrayBuffers;
      if (claim > zstdBomb.length) expectError(() => unpack(Codec.zstd, sized(claim, zstdBomb)), 'DAMAGED');
      expectError(() => unpack(Codec.lz4, sized(claim, lz4Bomb)), 'DAMAGED');
      expect(process.memoryUsage().arrayBuffers - before).to.be.below(4 * MAX_PLAIN_BYTES);
    }
  });

  it('C2 43 refuse a Zstandard frame that asks for a window of 128 MiB', () => {
    // Magic; no content size, no checksum; window 2^27; one raw block, last, of 5 bytes. Then the same with a window of 2^20.
    const frame = (windowByte: number): Buffer =>
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, windowByte, 0x29, 0x00, 0x00, 1, 2, 3, 4, 5]);
    const payload = (windowByte: number): Buffer<ArrayBuffer> => sized(20, frame(windowByte));
    expectError(() => unpack(Codec.zstd, payload((27 - 10) << 3)), 'DAMAGED');
    const error = expectError(() => unpack(Codec.zstd, payload((20 - 10) << 3)), 'DAMAGED');
    expect(error.message).to.include('unfolds to 5 bytes');
  });

  it('C2 refuse another length than the declared one', () => {
    fc.assert(
      fc.property(contents, codecs, fc.integer({ min: -50, max: 50 }), (plain, codec, difference) => {
        fc.pre(difference !== 0 && plain.length + difference >= 0);
        const packed = pack(plain, codec);
        expectError(() => unpack(packed.codec, sized(plain.length + difference, packed.bytes)), 'DAMAGED');
      }),
    );
  });

  it('C2 refuse garbage, frames with something behind them, and codecs of the future', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(1, 2), fc.nat(1_000), (garbage, codec, claim) => {
        const bytes = sized(claim, garbage);
        let unfolded;
        try {
          unfolded = unpack(codec, bytes);
        } catch {
          expectError(() => unpack(codec, bytes), 'DAMAGED');
          return;
        }
        // Bytes by chance may be a block; then they have the length they claim.
        expect(unfolded.length).to.equal(claim);
      }),
    );
    const plain = Buffer.alloc(1000, 'ab');
    const frame = Buffer.from(pack(plain, 'zstd').bytes);
    expectError(
      () => unpack(Codec.zstd, sized(plain.length, Buffer.concat([frame, Buffer.from('behind')]))),
      'DAMAGED',
    );
    expectError(() => unpack(Codec.zstd, sized(plain.length, Buffer.concat([frame, frame]))), 'DAMAGED');
    expectError(() => unpack(Codec.zstd, sized(plain.length, frame.subarray(0, -1))), 'DAMAGED');
    for (const codec of [3, 7, 255])
      expectError(() => unpack(codec, sized(5, Buffer.from('hello'))), 'UNSUPPORTED_VERSION');
  });
});
