import { expect } from 'chai';
import fc from 'fast-check';

import { HoldfastError } from '@holdfast/shared/base/errors';

import {
  decodeFooter,
  decodePackHeader,
  decodeRecordHeader,
  encodeFooter,
  encodePackHeader,
  encodeRecordHeader,
  footerLength,
  uuidBytes,
  uuidText,
  type PackIdentity,
  type RecordEntry,
} from './pack-format.ts';

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => Buffer.from(value));
const pack: fc.Arbitrary<PackIdentity> = fc.record({
  id: fc.uuid(),
  domainId: fc.uuid(),
  sequence: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  packClass: fc.constantFrom('nodes' as const, 'content' as const),
  marker: bytes(16),
});
const entry: fc.Arbitrary<RecordEntry> = fc.record({
  offset: fc.nat(0x7fff_ffff),
  lengthBytes: fc.nat(0x7fff_ffff),
  kind: fc.nat(255),
  id: bytes(32),
  proof: bytes(16),
});

describe('pack format', () => {
  it('PF1 headers, record headers and footers decode to what was encoded', () => {
    fc.assert(
      fc.property(pack, fc.array(entry, { maxLength: 20 }), fc.nat(2 ** 31), (identity, entries, offset) => {
        expect(decodePackHeader(encodePackHeader(identity))).to.deep.equal(identity);
        for (const { lengthBytes, kind, id } of entries) {
          const header = encodeRecordHeader(identity, offset, { lengthBytes, kind, id });
          expect(decodeRecordHeader(identity, offset, header)).to.deep.equal({ lengthBytes, kind, id });
        }
        const footer = encodeFooter(identity, offset, entries);
        expect(footerLength(footer, 2 ** 40)).to.equal(footer.length);
        expect(decodeFooter(identity, offset, footer)).to.deep.equal(entries);
        expect(uuidText(uuidBytes(identity.id))).to.equal(identity.id);
      }),
    );
  });

  it('PF2 any byte changed is refused, and so is each part at another offset or in another pack', () => {
    fc.assert(
      fc.property(
        pack,
        pack,
        fc.array(entry, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 255 }),
        (identity, another, entries, change) => {
          const header = encodePackHeader(identity);
          const record = encodeRecordHeader(identity, 5000, entries[0]!);
          const footer = encodeFooter(identity, 9000, entries);
          for (let at = 0; at < footer.length; at++) {
            if (at < header.length) expect(refused(() => decodePackHeader(changed(header, at, change)))).to.equal(true);
            if (at < record.length)
              expect(decodeRecordHeader(identity, 5000, changed(record, at, change))).to.equal(undefined);
            expect(decodeFooter(identity, 9000, changed(footer, at, change))).to.equal(undefined);
          }
          expect(decodeRecordHeader(identity, 5001, record)).to.equal(undefined);
          expect(decodeFooter(identity, 9001, footer)).to.equal(undefined);
          expect(decodeRecordHeader({ ...another, marker: identity.marker }, 5000, record)).to.equal(undefined);
          expect(decodeFooter({ ...another, marker: identity.marker }, 9000, footer)).to.equal(undefined);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('a footer that claims more than its file has is not believed', () => {
    const tail = Buffer.alloc(40);
    for (const claim of [0n, 63n, 1000n, 2n ** 63n]) {
      tail.writeBigUInt64LE(claim, 0);
      expect(footerLength(tail, 1000)).to.equal(undefined);
    }
    expect(footerLength(Buffer.alloc(10), 1000)).to.equal(undefined);
  });
});

function changed(bytesIn: Buffer, at: number, change: number): Buffer {
  const out = Buffer.from(bytesIn);
  out[at] = out[at]! ^ change;
  return out;
}

function refused(act: () => unknown): boolean {
  try {
    return act() === undefined;
  } catch (error) {
    return error instanceof HoldfastError;
  }
}
