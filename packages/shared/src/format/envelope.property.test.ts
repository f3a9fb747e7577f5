import { hash } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { expectError } from '../testing/expect-error.ts';
import {
  HEADER_BYTES,
  ID_BYTES,
  MAX_ENVELOPE_BYTES,
  MAX_PAYLOAD_BYTES,
  MAX_REFERENCES,
  MIN_ENVELOPE_BYTES,
  objectId,
  ObjectKind,
  parseHeader,
  PAYLOAD_HEADER_BYTES,
  proofOf,
  referencesOf,
} from './envelope.ts';

interface Fields {
  magic?: string;
  version?: number;
  kind?: number;
  epoch?: number;
  flags?: number;
  claimedReferences?: number;
  references?: number;
  payloadBytes?: number;
}

/** Bytes laid out as the header's table says, with whatever fields a test wants. */
function envelopeOf(fields: Fields): Buffer {
  const references = fields.references ?? 0;
  const bytes = Buffer.alloc(
    HEADER_BYTES + references * ID_BYTES + (fields.payloadBytes ?? PAYLOAD_HEADER_BYTES),
    0xab,
  );
  bytes.write(fields.magic ?? 'HF', 0, 'latin1');
  bytes[2] = fields.version ?? 1;
  bytes[3] = fields.kind ?? ObjectKind.chunk;
  bytes.writeUInt16LE(fields.epoch ?? 0, 4);
  bytes.writeUInt16LE(fields.flags ?? 0, 6);
  bytes.writeUInt32LE(fields.claimedReferences ?? references, 8);
  return bytes;
}

describe('envelope headers', () => {
  it('E1 give back every field that was written', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.nat(65_535),
        fc.nat(40),
        fc.integer({ min: 9, max: 500 }),
        (kind, epoch, n, size) => {
          const envelope = envelopeOf({ kind, epoch, references: n, payloadBytes: size });
          expect(parseHeader(envelope)).to.deep.equal({
            version: 1,
            kind,
            keyEpoch: epoch,
            flags: 0,
            referenceCount: n,
            ciphertextOffset: HEADER_BYTES + n * ID_BYTES,
          });
          expect(referencesOf(envelope).length).to.equal(n * ID_BYTES);
          expect(objectId(envelope).equals(hash('sha256', envelope, 'buffer'))).to.equal(true);
          expect(proofOf(envelope).equals(envelope.subarray(28, 44))).to.equal(true);
        },
      ),
    );
  });

  it('E1 refuse another magic', () => {
    for (const magic of ['HG', 'hf', 'FH', '\0\0']) expectError(() => parseHeader(envelopeOf({ magic })), 'DAMAGED');
  });

  it('E1 refuse every version, kind and flag that this code does not know', () => {
    for (let value = 0; value < 256; value++) {
      if (value !== 1) expectError(() => parseHeader(envelopeOf({ version: value })), 'UNSUPPORTED_VERSION');
      if (value < 1 || value > 6) expectError(() => parseHeader(envelopeOf({ kind: value })), 'UNSUPPORTED_VERSION');
    }
    for (let bit = 0; bit < 16; bit++)
      expectError(() => parseHeader(envelopeOf({ flags: 1 << bit })), 'UNSUPPORTED_VERSION');
  });

  it('E2 41 refuse a reference count over the limit, and one that the bytes do not bear out', () => {
    for (const claimedReferences of [MAX_REFERENCES + 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
      expectError(() => parseHeader(envelopeOf({ claimedReferences, references: 2 })), 'DAMAGED');
    }
    expectError(() => parseHeader(envelopeOf({ claimedReferences: MAX_REFERENCES, references: 2 })), 'DAMAGED');
    expectError(() => parseHeader(envelopeOf({ claimedReferences: 3, references: 2, payloadBytes: 40 })), 'DAMAGED');
    expect(parseHeader(envelopeOf({ claimedReferences: 3, references: 2, payloadBytes: 41 })).referenceCount).to.equal(
      3,
    );
  });

  it('E2 41 refuse what is too short or too long for any object', () => {
    for (let length = 0; length < MIN_ENVELOPE_BYTES; length++) {
      expectError(() => parseHeader(envelopeOf({}).subarray(0, length)), 'DAMAGED');
    }
    expectError(() => parseHeader(envelopeOf({ payloadBytes: MAX_PAYLOAD_BYTES + 1 })), 'DAMAGED');
    expectError(() => parseHeader(Buffer.alloc(MAX_ENVELOPE_BYTES + 1)), 'DAMAGED');
    expect(parseHeader(envelopeOf({ payloadBytes: MAX_PAYLOAD_BYTES })).referenceCount).to.equal(0);
    expectError(() => proofOf(Buffer.alloc(HEADER_BYTES - 1)), 'DAMAGED');
  });

  it('E1 answer a clear error to any bytes at all', () => {
    const magic = fc.constant(new Uint8Array([0x48, 0x46, 1, 1]));
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.tuple(magic, fc.uint8Array({ maxLength: 300 })).map((parts) => Buffer.concat(parts)),
    );
    fc.assert(
      fc.property(anything, (bytes) => {
        let parsed;
        try {
          parsed = parseHeader(bytes);
        } catch {
          expectError(() => parseHeader(bytes), 'DAMAGED', 'UNSUPPORTED_VERSION');
          return;
        }
        expect(parsed.ciphertextOffset + PAYLOAD_HEADER_BYTES).to.be.at.most(bytes.length);
      }),
    );
  });
});
