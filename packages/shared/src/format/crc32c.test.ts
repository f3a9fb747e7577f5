import { expect } from 'chai';
import fc from 'fast-check';
import { crc32cAfterZeros, crc32cOf, crc32cRegister } from './crc32c.ts';

const checksum = (bytes: Uint8Array): number => (crc32cRegister(0xffff_ffff, bytes) ^ 0xffff_ffff) >>> 0;

describe('CRC-32C', () => {
  it('is that of RFC 3720', () => {
    expect(checksum(Buffer.from('123456789'))).to.equal(0xe306_9283);
    expect(checksum(Buffer.alloc(32))).to.equal(0x8a91_36aa);
    expect(checksum(Buffer.alloc(32, 0xff))).to.equal(0x62a8_ab43);
    expect(checksum(Buffer.from(Array.from({ length: 32 }, (_, at) => at)))).to.equal(0x46dd_794e);
  });

  it('of a whole is the sum of its parts, in any order, holes left out', () => {
    const part = fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.nat(100_000));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const whole = Buffer.concat(parts.map((one) => (typeof one === 'number' ? Buffer.alloc(one) : one)));
        let sum = 0;
        let end = whole.length;
        for (const one of parts.toReversed()) {
          if (typeof one !== 'number') sum ^= crc32cAfterZeros(crc32cRegister(0, one), whole.length - end);
          end -= typeof one === 'number' ? one : one.length;
        }
        expect(crc32cOf(sum, whole.length)).to.equal(checksum(whole));
      }),
    );
  });
});
