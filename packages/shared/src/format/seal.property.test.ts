import { createCipheriv, createHmac, hash, randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { zstdCompressSync } from 'node:zlib';
import { expect } from 'chai';
import fc from 'fast-check';
import lz4 from 'lz4-napi';
import { expectError } from '../testing/expect-error.ts';
import { seededBytes } from '../testing/seeded-bytes.ts';
import type { CodecName } from './codec.ts';
import {
  ID_BYTES,
  MAX_REFERENCES,
  MAX_ENVELOPE_BYTES,
  MAX_PLAIN_BYTES,
  ObjectKind,
  objectId,
  proofOf,
} from './envelope.ts';
import { deriveDomainKeys, type DomainKeys } from './keys.ts';
import { padmeLength } from './padding.ts';
import { open, seal, type SealOptions } from './seal.ts';

const MIB = 1024 * 1024;
const secret = new Uint8Array(32).fill(1);
const keys = deriveDomainKeys(secret, 'seal', 3);

const kinds = fc.constantFrom(...Object.values(ObjectKind));
const options = fc.record({
  codec: fc.constantFrom<CodecName>('stored', 'lz4', 'zstd'),
  padding: fc.boolean(),
});
const plains = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .tuple(fc.string({ maxLength: 30 }), fc.nat(3_000))
    .map(([text, size]) => Buffer.alloc(size, text === '' ? 'x' : text)),
);
const references = fc.array(fc.uint8Array({ minLength: ID_BYTES, maxLength: ID_BYTES }), { maxLength: 12 });

/** The format's definition, word for word, with no regard for speed. What a hostile holder of the keys would write, too. */
function sealPayload(header: Buffer, refs: Uint8Array, payload: Uint8Array, by: DomainKeys = keys): Buffer {
  const siv = createHmac('sha256', by.mac).update(header).update(refs).update(payload).digest();
  const ciphertext = createCipheriv('aes-256-ctr', by.enc, siv.subarray(0, 16)).update(payload);
  return Buffer.concat([header, siv, refs, ciphertext]);
}

function headerOf(kind: number, referenceCount: number, epoch = keys.epoch): Buffer {
  const header = Buffer.from([0x48, 0x46, 1, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt16LE(epoch, 4);
  header.writeUInt32LE(referenceCount, 8);
  return header;
}

function payloadOf(
  codec: number,
  packed: Uint8Array,
  plainLength: number,
  packedLength = packed.length,
  padding = 0,
): Buffer {
  const front = Buffer.alloc(9);
  front[0] = codec;
  front.writeUInt32LE(packedLength, 1);
  front.writeUInt32LE(plainLength, 5);
  return Buffer.concat([front, packed, Buffer.alloc(padding)]);
}

const sealRaw = (payload: Buffer): Buffer => sealPayload(headerOf(ObjectKind.chunk, 0), Buffer.alloc(0), payload);

/** One envelope of each codec, with and without padding, small enough to change every byte of it. */
function smallEnvelopes(): Buffer[] {
  const plain = Buffer.from('a file of few words, few words, few words, few words, few words, few words, few words. ');
  const refs = [seededBytes('r1', 32), seededBytes('r2', 32)];
  return (['stored', 'lz4', 'zstd'] as const).flatMap((codec) =>
    [false, true].map((padding) => seal(keys, ObjectKind.chunk, refs, plain, { codec, padding }).envelope),
  );
}

describe('sealing', () => {
  it('S1 what was sealed opens to itself: kind, references, bytes', () => {
    fc.assert(
      fc.property(kinds, references, plains, options, (kind, refs, plain, how) => {
        const sealed = seal(keys, kind, refs, plain, how);
        const opened = open(keys, sealed.envelope, { id: sealed.id, kind });
        expect(opened.kind).to.equal(kind);
        expect(opened.keyEpoch).to.equal(3);
        expect(Buffer.concat(refs).equals(opened.references)).to.equal(true);
        expect(opened.plain.equals(plain)).to.equal(true);
        expect(sealed.id.equals(hash('sha256', sealed.envelope, 'buffer'))).to.equal(true);
        expect(sealed.proof.equals(proofOf(sealed.envelope))).to.equal(true);
      }),
    );
  });

  it('S1 follows the definition to the byte', () => {
    fc.assert(
      fc.property(kinds, references, plains, fc.boolean(), (kind, refs, plain, padding) => {
        const length = 9 + plain.length;
        const payload = payloadOf(0, plain, plain.length, plain.length, padding ? padmeLength(length) - length : 0);
        const expected = sealPayload(headerOf(kind, refs.length), Buffer.concat(refs), payload);
        expect(seal(keys, kind, refs, plain, { codec: 'stored', padding }).envelope.equals(expected)).to.equal(true);
      }),
    );
  });

  it('S1 is deterministic whatever was sealed before and however references are given', () => {
    fc.assert(
      fc.property(kinds, references, plains, plains, options, (kind, refs, plain, other, how) => {
        const first = seal(keys, kind, refs, plain, how);
        const kept = Buffer.from(first.envelope);
        seal(keys, kind, [], other, how);
        const shifted = new Uint8Array(plain.length + 3);
        shifted.set(plain, 3);
        const again = seal(structuredClone(keys), kind, Buffer.concat(refs), shifted.subarray(3), how);
        expect(again.id.equals(first.id)).to.equal(true);
        expect(first.envelope.equals(kept)).to.equal(true);
      }),
    );
  });

  it('S1 counts the cipher’s blocks right across every carry', () => {
    // 65,536 references are 131,075 blocks: a borrow out of the counter's lowest bytes for almost any synthetic IV.
    for (const count of [0, 1, 7, 8, 127, 128, 2_047, 2_048, 8_191, 32_767, 32_768, MAX_REFERENCES]) {
      const refs = seededBytes(`references ${count}`, count * ID_BYTES);
      const sealed = seal(keys, ObjectKind.manifestNode, refs, Buffer.from('node'), { codec: 'stored' });
      const expected = sealPayload(headerOf(2, count), refs, payloadOf(0, Buffer.from('node'), 4));
      expect(sealed.envelope.equals(expected), `${count} references`).to.equal(true);
    }
  });

  it('S1 gives envelopes and contents in ArrayBuffers of their own, and the same in a worker thread', async () => {
    const plain = seededBytes('threads', 3 * MIB);
    plain.fill('compressible ', 0, MIB);
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      Promise.all([import(workerData.seal), import(workerData.keys)]).then(([{ seal }, { deriveDomainKeys }]) => {
        const keys = deriveDomainKeys(new Uint8Array(32).fill(1), 'seal', 3);
        const results = [200, 3 * 1024 * 1024].map((size) => seal(keys, 1, [], Buffer.from(workerData.plain.buffer, 0, size)));
        parentPort.postMessage(results, results.flatMap((r) => [r.id.buffer, r.envelope.buffer, r.proof.buffer]));
      });`;
    const url = (stem: string): string => new URL(`./${stem}.ts`, import.meta.url).href;
    const worker = new Worker(source, { eval: true, workerData: { plain, seal: url('seal'), keys: url('keys') } });
    const theirs = await new Promise<{ id: Uint8Array; envelope: Uint8Array }[]>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    for (const [i, size] of [200, 3 * MIB].entries()) {
      const ours = seal(keys, ObjectKind.chunk, [], plain.subarray(0, size));
      expect(ours.id.equals(theirs[i]!.id)).to.equal(true);
      expect(ours.envelope.equals(theirs[i]!.envelope)).to.equal(true);
      expect(ours.envelope.buffer.byteLength).to.equal(ours.envelope.length);
      for (const own of [ours.id, ours.proof]) expect(own.buffer.byteLength).to.equal(own.length);
      expect(open(keys, ours.envelope).plain.buffer.byteLength).to.be.at.most(size + 64);
    }
  });

  it('S2 refuses every changed byte of small envelopes', () => {
    for (const envelope of smallEnvelopes()) {
      for (let at = 0; at < envelope.length; at++) {
        for (const mask of [0x01, 0x80, 0xff]) {
          envelope[at]! ^= mask;
          expectError(() => open(keys, envelope), 'DAMAGED', 'UNSUPPORTED_VERSION', 'FAILED_PRECONDITION');
          envelope[at]! ^= mask;
        }
      }
      open(keys, envelope);
    }
  });

  it('S2 refuses changed bits anywhere in large envelopes', () => {
    const text = Buffer.from(seededBytes('large', MIB).toString('base64'));
    for (const codec of ['stored', 'lz4', 'zstd'] as const) {
      const { envelope } = seal(keys, ObjectKind.chunk, seededBytes('refs', 3_200), text, {
        codec,
        padding: codec !== 'lz4',
      });
      fc.assert(
        fc.property(fc.nat(envelope.length - 1), fc.nat(7), (at, bit) => {
          envelope[at]! ^= 1 << bit;
          expectError(() => open(keys, envelope), 'DAMAGED', 'UNSUPPORTED_VERSION', 'FAILED_PRECONDITION');
          envelope[at]! ^= 1 << bit;
        }),
        { numRuns: 60 },
      );
    }
  });

  it('S2 refuses envelopes cut at every length, or with anything behind them', () => {
    for (const envelope of smallEnvelopes()) {
      for (let length = 0; length < envelope.length; length++)
        expectError(() => open(keys, envelope.subarray(0, length)), 'DAMAGED');
      for (const extra of [1, 7, 32, 1_000]) {
        expectError(() => open(keys, Buffer.concat([envelope, Buffer.alloc(extra)])), 'DAMAGED');
      }
    }
  });

  it('S2 refuses references that were exchanged, dropped, added or put in another order', () => {
    const [a, b] = [seededBytes('a', 32), seededBytes('b', 32)];
    const { envelope } = seal(keys, ObjectKind.manifestNode, [a, b], Buffer.from('node'));
    const rest = envelope.subarray(44 + 64);
    for (const refs of [[b, a], [a], [], [a, b, b], [a, a]]) {
      const count = Buffer.alloc(4);
      count.writeUInt32LE(refs.length);
      const forged = Buffer.concat([envelope.subarray(0, 8), count, envelope.subarray(12, 44), ...refs, rest]);
      expectError(() => open(keys, forged), 'DAMAGED');
    }
  });

  it('S3 refuses another kind than expected, and a kind that was written over', () => {
    fc.assert(
      fc.property(kinds, kinds, plains, (kind, other, plain) => {
        fc.pre(kind !== other);
        const { envelope } = seal(keys, kind, [], plain);
        expectError(() => open(keys, envelope, { kind: other }), 'DAMAGED');
        envelope[3] = other;
        expectError(() => open(keys, envelope), 'DAMAGED');
        expectError(() => open(keys, envelope, { kind: other }), 'DAMAGED');
      }),
    );
  });

  it('S3 I1 refuses an object under another id, even a genuine one', () => {
    const one = seal(keys, ObjectKind.chunk, [], Buffer.from('one'));
    const two = seal(keys, ObjectKind.chunk, [], Buffer.from('two'));
    expectError(() => open(keys, one.envelope, { id: two.id }), 'DAMAGED');
    expectError(() => open(keys, one.envelope, { id: one.id.subarray(0, 31) }), 'DAMAGED');
  });

  it('S3 refuses the keys of another domain, secret or epoch', () => {
    const plain = Buffer.from('ours');
    const { envelope, id } = seal(keys, ObjectKind.chunk, [], plain);
    expectError(() => open(deriveDomainKeys(secret, 'other', 3), envelope, { id }), 'DAMAGED');
    expectError(() => open(deriveDomainKeys(randomBytes(32), 'seal', 3), envelope, { id }), 'DAMAGED');
    expectError(() => open(deriveDomainKeys(secret, 'seal', 4), envelope, { id }), 'FAILED_PRECONDITION');
    // The epoch is authenticated: written over, it does not fit the other epoch's keys either.
    envelope.writeUInt16LE(4, 4);
    expectError(() => open(deriveDomainKeys(secret, 'seal', 4), envelope), 'DAMAGED');
  });

  it('S4 43 verifies before it decompresses: a bomb without the right synthetic IV is never unfolded', () => {
    const bomb = zstdCompressSync(Buffer.alloc(64 * MIB));
    const envelope = sealRaw(payloadOf(2, bomb, MAX_PLAIN_BYTES));
    expect(expectError(() => open(keys, envelope), 'DAMAGED').message).to.include('unfolds');
    envelope[20]! ^= 1;
    expect(expectError(() => open(keys, envelope), 'DAMAGED').message).to.include('changed after it was sealed');
  });

  it('S4 41 43 refuses what a hostile holder of the keys seals: bombs, false lengths, unknown codecs, odd padding', () => {
    const plain = Buffer.alloc(5_000, 'abc');
    const packed = zstdCompressSync(plain);
    const block = lz4.compressSync(plain).subarray(4);
    const refused: [string, Buffer][] = [
      ['a 4 GiB plain length', payloadOf(2, packed, 0xffff_ffff)],
      ['a plain length over the limit', payloadOf(0, plain, MAX_PLAIN_BYTES + 1)],
      ['a 4 GiB compressed length', payloadOf(2, packed, plain.length, 0xffff_ffff)],
      ['a compressed length beyond the end', payloadOf(2, packed, plain.length, packed.length + 1)],
      ['a compressed length that hides the end', payloadOf(0, plain, plain.length - 1, plain.length - 1)],
      ['a plain length too short', payloadOf(2, packed, plain.length - 1)],
      ['a plain length too long', payloadOf(2, packed, plain.length + 1)],
      ['an LZ4 length too short', payloadOf(1, block, plain.length - 1)],
      ['an LZ4 length too long', payloadOf(1, block, plain.length + 1)],
      ['a Zstandard bomb', payloadOf(2, zstdCompressSync(Buffer.alloc(64 * MIB)), 1_000_000)],
      ['an LZ4 bomb', payloadOf(1, lz4.compressSync(Buffer.alloc(64 * MIB)).subarray(4), 1_000_000)],
      ['packed bytes no fewer than the plain ones', payloadOf(2, zstdCompressSync(Buffer.from('ab')), 2)],
      ['padding of another length', payloadOf(0, plain, plain.length, plain.length, 1)],
      [
        'padding that is not zeros',
        Buffer.concat([payloadOf(0, plain, plain.length), Buffer.alloc(padmeLength(5_009) - 5_009, 1)]),
      ],
    ];
    for (const [what, payload] of refused) {
      const error = expectError(() => open(keys, sealRaw(payload)), 'DAMAGED');
      expect(error.message, what).to.not.include('changed after it was sealed');
    }
    expectError(() => open(keys, sealRaw(payloadOf(3, plain, plain.length))), 'UNSUPPORTED_VERSION');
    open(keys, sealRaw(payloadOf(0, plain, plain.length, plain.length, padmeLength(5_009) - 5_009)));
  });

  it('S4 holds its own limits: references, plain bytes, and no envelope over the largest', () => {
    const tooMany = Buffer.alloc((MAX_REFERENCES + 1) * ID_BYTES);
    expectError(() => seal(keys, 1, tooMany, Buffer.alloc(0)), 'LIMIT_EXCEEDED');
    expectError(() => seal(keys, 1, Buffer.alloc(33), Buffer.alloc(0)), 'INVALID_ARGUMENT');
    expectError(() => seal(keys, 1, [Buffer.alloc(31)], Buffer.alloc(0)), 'INVALID_ARGUMENT');
    expectError(() => seal(keys, 1, [], Buffer.alloc(MAX_PLAIN_BYTES + 1)), 'LIMIT_EXCEEDED');
    const largest = seal(keys, 1, tooMany.subarray(ID_BYTES), seededBytes('16 MiB', MAX_PLAIN_BYTES), {
      padding: true,
    });
    expect(largest.envelope.length).to.equal(MAX_ENVELOPE_BYTES);
    expect(open(keys, largest.envelope).plain.length).to.equal(MAX_PLAIN_BYTES);
  });

  it('padding makes objects of similar length equally long, by at most 12 % and nothing else', () => {
    const sizes = (how: SealOptions): number[] =>
      Array.from(
        { length: 60 },
        (_, i) => seal(keys, 1, [], seededBytes('padded', 100_000 + i * 30), how).envelope.length,
      );
    expect(new Set(sizes({ padding: true })).size).to.be.at.most(2);
    expect(new Set(sizes({})).size).to.equal(60);
    fc.assert(
      fc.property(plains, (plain) => {
        const bare = seal(keys, 1, [], plain).envelope.length - 44;
        expect(seal(keys, 1, [], plain, { padding: true }).envelope.length - 44).to.equal(padmeLength(bare));
      }),
    );
  });

  it('depends on every input: kind, references, bytes, domain, epoch', () => {
    const ids = [
      seal(keys, 1, [], Buffer.from('x')),
      seal(keys, 2, [], Buffer.from('x')),
      seal(keys, 1, [Buffer.alloc(32)], Buffer.from('x')),
      seal(keys, 1, [], Buffer.from('y')),
      seal(deriveDomainKeys(secret, 'other', 3), 1, [], Buffer.from('x')),
      seal(deriveDomainKeys(secret, 'seal', 4), 1, [], Buffer.from('x')),
    ].map((sealed) => objectId(sealed.envelope).toString('hex'));
    expect(new Set(ids).size).to.equal(ids.length);
  });
});
